-- The spine: tenancy, fleet, jobs, attempts, events. Migrations only expand, then contract; this one starts from nothing.

create sequence event_ids;

-- Who ---------------------------------------------------------------------------------------------------------------

create table scopes (
    id          bigint generated always as identity primary key,
    kind        text not null check (kind in ('org', 'team', 'project')),
    parent_id   bigint references scopes,
    name        text not null,
    path        text not null unique,                  -- acme/research/vision
    queue_id    bigint,                                -- a project's default queue; a team's own queue
    created_at  timestamptz not null default now(),
    check ((kind = 'org') = (parent_id is null))
);
create index scopes_parent on scopes (parent_id);

create table principals (
    id          bigint generated always as identity primary key,
    kind        text not null check (kind in ('user', 'service', 'agent')),
    name        text not null unique,
    scope_id    bigint references scopes,              -- whose admins administer it; agents have none
    cluster_id  bigint,                                -- agents only: the one cluster it speaks for
    disabled_at timestamptz,
    created_at  timestamptz not null default now(),
    check ((kind = 'agent') = (cluster_id is not null))
);

create table role_bindings (
    principal_id bigint not null references principals,
    scope_id     bigint not null references scopes,
    role         text not null check (role in ('viewer', 'member', 'manager', 'admin')),
    created_at   timestamptz not null default now(),
    primary key (principal_id, scope_id)
);

create table tokens (
    id           text primary key,                     -- the public half of the token
    principal_id bigint not null references principals,
    secret_hash  bytea not null,                       -- SHA-256 of 256 random bits
    name         text not null,
    scopes       text[] not null,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz,
    revoked_at   timestamptz
);
create index tokens_principal on tokens (principal_id);

create table secrets (
    scope_id    bigint not null references scopes,
    name        text not null,
    nonce       bytea not null,
    ciphertext  bytea not null,                        -- AES-256-GCM; the key lies outside the database
    key_id      text not null,
    changed_at  timestamptz not null default now(),
    changed_by  bigint not null references principals,
    primary key (scope_id, name)
);

create table audit (
    id           bigint generated always as identity primary key,
    at           timestamptz not null default now(),
    principal_id bigint not null,
    token_id     text,
    action       text not null,                        -- job:cancel, role:change, …
    object       text not null,                        -- kind/name
    scope_path   text not null,
    request_id   text not null,
    detail       jsonb not null default '{}'
);
create index audit_scope on audit (scope_path text_pattern_ops, id);

create table queues (
    id             bigint generated always as identity primary key,
    scope_id       bigint not null references scopes,  -- the team that owns it
    parent_id      bigint references queues,
    name           text not null unique,
    weight         bigint not null default 1000 check (weight > 0),
    resource_quota jsonb not null default '{}',        -- resource name → hard limit in its smallest unit, over live attempts
    job_quota      bigint check (job_quota >= 0),      -- hard limit of jobs that have not ended
    version        bigint not null default 1,
    created_at     timestamptz not null default now()
);

alter table scopes add foreign key (queue_id) references queues;

create table idempotency_keys (
    principal_id bigint not null,
    key          text not null,
    method_path  text not null,
    body_hash    bytea not null,
    answer       jsonb not null,
    created_at   timestamptz not null default now(),
    primary key (principal_id, key)
);

-- Where -------------------------------------------------------------------------------------------------------------

create table sites (
    id           bigint generated always as identity primary key,
    name         text not null unique,
    jurisdiction text not null default '',
    created_at   timestamptz not null default now()
);

create table clusters (
    id               bigint generated always as identity primary key,
    site_id          bigint not null references sites,
    name             text not null unique,
    engine           text not null default 'local',
    capabilities     jsonb not null default '{}',
    epoch            bigint not null default 0,        -- grows whenever the lease passes to somebody new
    incarnation      text,                             -- the agent's state folder that holds the lease
    lease_expires_at timestamptz,                      -- null: no lease; infinity: parked, nothing may start elsewhere
    lease_free_at    timestamptz,                      -- no attempt of an older epoch can still run after this
    desired_version  bigint not null default 0,        -- grows in each transaction that changes what the agent should do
    started_count    bigint not null default 0,        -- attempts ever placed here: who places more must know of all before
    version          bigint not null default 1,
    agent            jsonb not null default '{}',      -- version, host, clock skew: for people
    removed_at       timestamptz,
    created_at       timestamptz not null default now()
);
alter table principals add foreign key (cluster_id) references clusters;

create table nodes (
    id          bigint generated always as identity primary key,
    cluster_id  bigint not null references clusters,
    name        text not null,
    capacity    jsonb not null,                        -- resource name → amount in its smallest unit
    labels      jsonb not null default '{}',
    topology    jsonb not null default '[]',           -- [["rack", "r14"], ["host", "n03"]], outermost first
    state       text not null default 'ready' check (state in ('ready', 'lost')),
    cordoned_at timestamptz,
    detail      jsonb not null default '{}',           -- how limits are enforced, kernel, devices: for people
    version     bigint not null default 1,
    reported_at timestamptz not null default now(),
    unique (cluster_id, name)
);

-- What --------------------------------------------------------------------------------------------------------------

create table jobs (
    id              bigint generated always as identity primary key,
    project_id      bigint not null references scopes,
    queue_id        bigint not null references queues,
    submitter_id    bigint not null references principals,
    retry_of        bigint,
    name            text not null,
    labels          jsonb not null default '{}',
    spec            jsonb not null,                    -- the canonical document
    state           text not null,
    reason          text,
    message         text,
    priority        smallint not null,
    user_hold       boolean not null default false,
    unmet           int not null default 0,            -- dependencies not yet satisfied
    cancelling      boolean not null default false,
    element_count   int not null check (element_count > 0),
    pending         int4multirange not null,           -- indices that may start now
    pending_count   int not null,
    delayed_count   int not null default 0,            -- wait for their back-off, rows of `retries`
    starting_count  int not null default 0,
    running_count   int not null default 0,
    stopping_count  int not null default 0,
    succeeded_count int not null default 0,
    failed_count    int not null default 0,
    cancelled_count int not null default 0,
    exit_code       int,
    failure_class   text,
    progress        jsonb,
    version         bigint not null default 1,
    submitted_at    timestamptz not null default now(),
    started_at      timestamptz,
    ended_at        timestamptz,
    first_failure   jsonb,                             -- of an array: {reason, message} of the first element that failed for good
    dependents_due  boolean not null default false,    -- it ended, and jobs that wait for it have not been told yet
    check (pending_count + delayed_count + starting_count + running_count + stopping_count
           + succeeded_count + failed_count + cancelled_count = element_count)
) with (fillfactor = 80);
create index jobs_project on jobs (project_id, id);
create index jobs_project_state on jobs (project_id, state, id);
create index jobs_project_name on jobs (project_id, name text_pattern_ops, id);
create index jobs_live on jobs (queue_id, id) where ended_at is null;
create index jobs_dependents_due on jobs (id) where dependents_due;
create index jobs_submitter on jobs (submitter_id, id);
create index jobs_queue on jobs (queue_id, id);
create index jobs_workdir on jobs (project_id, (spec ->> 'workdir')) where spec ->> 'workdir' is not null;  -- whether an upload is in use

create table job_labels (                              -- so that a page of one label's jobs costs the same however common it is
    project_id bigint not null,
    label      text not null,                          -- key=value
    job_id     bigint not null,
    primary key (project_id, label, job_id)
);

create table array_results (                           -- finished indices of arrays, 4,096 to a row, so that no update grows with the array
    job_id    bigint not null,
    chunk     int not null,
    succeeded int4multirange not null default '{}',
    failed    int4multirange not null default '{}',
    cancelled int4multirange not null default '{}',
    primary key (job_id, chunk)
);

create table retries (                                 -- only elements that have had an attempt which was not their last
    job_id             bigint not null,
    index              int not null,
    attempts           int not null,
    counted_failures   int not null default 0,
    uncounted_failures int not null default 0,
    checkpoints        int not null default 0,
    due_at             timestamptz,                    -- null: not waiting
    excluded_nodes     bigint[] not null default '{}', -- where this element failed through the node
    resume_from        text,
    primary key (job_id, index)
);
create index retries_due on retries (due_at) where due_at is not null;

create table dependencies (
    job_id    bigint not null,
    on_job_id bigint not null,
    condition text not null check (condition in ('success', 'failure', 'end')),
    met_at    timestamptz,
    primary key (job_id, on_job_id, condition)
);
create index dependencies_on on dependencies (on_job_id) where met_at is null;

create table attempts (
    job_id          bigint not null,
    index           int not null,
    number          int not null,
    cluster_id      bigint not null references clusters,
    queue_id        bigint not null,
    epoch           bigint not null,                   -- of the cluster's lease under which it was made
    state           text not null default 'starting' check (state in ('starting', 'running', 'stopping', 'ended')),
    placement       jsonb not null,                    -- [{"group": "main", "ranks": [0, 4], "node": 17, "amounts": {"cpu": 4000}}, …]; ranks half-open, amounts of one task
    stop_reason     text,
    stop_grace_seconds double precision,
    outcome         text,
    failure_class   text,
    reason          text,
    message         text,
    exit_code       int,
    signal          int,
    tasks           jsonb not null default '[]',       -- what each rank reported last
    usage           jsonb not null default '{}',       -- summed: cpu_seconds, peak_memory_bytes, read_bytes, written_bytes
    progress        jsonb,
    desired_version bigint not null,                   -- the cluster's version when what is wanted of it last changed
    report_version  bigint not null default 0,         -- of the agent's newest report that was applied; an older one changes nothing
    version         bigint not null default 1,
    created_at      timestamptz not null default now(),
    started_at      timestamptz,
    ended_at        timestamptz,
    primary key (job_id, index, number),
    check ((state = 'ended') = (ended_at is not null)),
    check ((state = 'ended') = (outcome is not null))
) with (fillfactor = 80);
create unique index attempts_one_live on attempts (job_id, index) where state <> 'ended';
create index attempts_live on attempts (cluster_id, epoch) where state <> 'ended';
create index attempts_desired on attempts (cluster_id, desired_version);

-- Facts -------------------------------------------------------------------------------------------------------------

create table leases (                                  -- who leads, by name; every commit of a leader checks its epoch
    name       text primary key,
    holder     text not null,
    epoch      bigint not null,
    expires_at timestamptz not null
);

create table events (
    id         bigint not null default nextval('event_ids'),
    at         timestamptz not null default now(),
    written_by xid8 not null default pg_current_xact_id(),
    kind       text not null,                          -- job.submitted, attempt.ended, …
    scope_path text not null,                          -- who may read it
    job_id     bigint,
    object     text not null,                          -- kind/name of what it is about
    actor      text not null,                          -- principal, controller or agent
    body       jsonb not null default '{}',
    primary key (at, id)
) partition by range (at);
create index events_order on events (written_by, id);
create index events_job on events (job_id, written_by, id) where job_id is not null;

-- Bounds are midnights in UTC, whoever calls: else partitions made under two time zones would leave a gap or overlap.
create function make_event_partitions(first_day date, weeks int) returns void language plpgsql set timezone = 'UTC' as $$
declare
    monday date := date_trunc('week', first_day)::date;
begin
    for week in 0 .. weeks - 1 loop
        execute format('create table if not exists %I partition of events for values from (%L) to (%L)',
                       'events_' || to_char(monday + 7 * week, 'YYYYMMDD'), monday + 7 * week, monday + 7 * (week + 1));
    end loop;
end $$;
select make_event_partitions(current_date - 7, 10);

create table event_horizon (                           -- one row: behind this position every event is still kept
    only_row   boolean primary key default true check (only_row),
    written_by xid8 not null default '0',
    id         bigint not null default 0
);
insert into event_horizon default values;

create table blobs (
    project_id  bigint not null references scopes,
    digest      text not null,                         -- sha256:…
    size_bytes  bigint not null,
    uploaded_by bigint not null references principals,
    created_at  timestamptz not null default now(),
    primary key (project_id, digest)
);

create table log_streams (                             -- one task of one attempt; the bytes lie in the log folder
    job_id      bigint not null,
    index       int not null,
    attempt     int not null,
    rank        int not null,
    first_byte  bigint not null default 0,             -- older bytes were dropped by the limit
    size_bytes  bigint not null default 0,             -- length of the logical stream so far
    ended_at    timestamptz,
    primary key (job_id, index, attempt, rank)
);
