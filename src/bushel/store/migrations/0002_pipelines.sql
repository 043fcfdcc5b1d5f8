-- Pipelines: documents and their versions, partitions, runs. Where a run stands is ranges of the elements of its jobs, never a row a partition.

alter table jobs
    add column gated int4multirange not null default '{}',   -- indices that wait for what they are made of; a run's controller opens them
    add column gated_count int not null default 0,
    add column is_stage boolean not null default false;      -- of a run: whoever finishes its elements leaves word in `stage_news`
alter table jobs drop constraint jobs_check;
alter table jobs add constraint jobs_check check (
    pending_count + delayed_count + starting_count + running_count + stopping_count
    + succeeded_count + failed_count + cancelled_count + gated_count = element_count
);

create table pipelines (
    id         bigint generated always as identity primary key,
    project_id bigint not null references scopes,
    name       text not null,
    version    int not null default 0,                 -- the newest
    run_count  int not null default 0,
    paused     boolean not null default false,         -- nothing of any of its runs is started
    created_at timestamptz not null default now(),
    unique (project_id, name)
);

create table pipeline_versions (
    pipeline_id bigint not null references pipelines,
    version     int not null,
    document    json not null,                         -- canonical, its stages in their order
    digest      bytea not null,                        -- of the document: applying the same again makes no version
    applied_by  bigint not null references principals,
    applied_at  timestamptz not null default now(),
    primary key (pipeline_id, version)
);

create table partition_sets (                          -- immutable once made, so that runs can share one
    id         bigint generated always as identity primary key,
    project_id bigint not null references scopes,
    count      int not null,
    sites      jsonb not null default '{}',            -- site → which indices may be worked on there alone, as the text of a multirange
    windows    jsonb,                                  -- {"from": …, "every_seconds": …} of time windows
    created_at timestamptz not null default now()
);

create table partition_names (                         -- 1,024 to a row
    set_id  bigint not null references partition_sets,
    chunk   int not null,
    names   text[] not null,
    digests text[],                                    -- of the content behind the name, where it is known
    primary key (set_id, chunk)
);

create table runs (
    id           bigint generated always as identity primary key,
    pipeline_id  bigint not null references pipelines,
    project_id   bigint not null references scopes,
    queue_id     bigint not null references queues,
    submitter_id bigint not null references principals,
    number       int not null,                         -- within the pipeline
    version      int not null,                         -- of the document
    base_id      bigint references runs,               -- the run that this one does again in part
    state        text not null default 'running' check (state in ('running', 'stopping', 'succeeded', 'failed', 'cancelled')),
    reason       text,
    message      text,
    backfill     boolean not null default false,
    paused       boolean not null default false,
    parameters   jsonb not null default '{}',
    inputs       jsonb not null default '{}',          -- stage → input → the version that was current when the run began
    redo         jsonb not null default '{}',          -- what was asked to be done again, for people
    deadline_at  timestamptz,
    due          boolean not null default true,        -- the controller has something to look at
    row_version  bigint not null default 1,
    submitted_at timestamptz not null default now(),
    ended_at     timestamptz,
    unique (pipeline_id, number)
);
create index runs_due on runs (id) where due;
create index runs_live on runs (pipeline_id, id) where ended_at is null;
create index runs_deadline on runs (deadline_at) where ended_at is null and deadline_at is not null;
create index runs_project on runs (project_id, id);

create table run_stages (
    id            bigint generated always as identity primary key,
    run_id        bigint not null references runs,
    position      int not null,                        -- in an order in which nothing comes before what it needs
    name          text not null,
    set_id        bigint references partition_sets,    -- null: not known yet
    element_count int,
    state         text not null default 'waiting' check (state in ('waiting', 'running', 'succeeded', 'failed', 'cancelled')),
    message       text,
    parts         jsonb not null,                      -- digests of what a result depends on, but for the inputs: code, environment, parameters
    base_stage_id bigint references run_stages,        -- whose results stand for those of `carried`
    carried       int4multirange not null default '{}',
    left_out      int4multirange not null default '{}',-- neither done before nor asked for
    cached_count  int not null default 0,
    records_total bigint not null default 0,
    records_bad   bigint not null default 0,
    samples       jsonb not null default '{}',         -- {"durations": […seconds], "done": [[time, count], …]}: the last few
    outputs       jsonb,                               -- output → the version that was made of it
    ended_at      timestamptz,
    unique (run_id, position),
    unique (run_id, name)
);

create table stage_jobs (                              -- one array job for each stage, and for each site where partitions have to stay
    job_id   bigint primary key references jobs,
    stage_id bigint not null references run_stages,
    site     text,
    ready    int4multirange not null default '{}'      -- gated, and nothing is missing but room under the limits
);
create index stage_jobs_stage on stage_jobs (stage_id);

create table stage_news (                              -- what finished and was not looked at; the queue of the controller
    id        bigint generated always as identity primary key,
    job_id    bigint not null,
    succeeded int4multirange not null,
    failed    int4multirange not null,
    cancelled int4multirange not null
);

create table element_results (                         -- of elements that said something, or whose work others may use
    job_id    bigint not null,
    index     int not null,
    attempt   int not null,                            -- 0: taken over from the result with the same key
    body      jsonb,                                   -- what the task wrote
    names     text,                                    -- the partitions that it listed, compressed
    key       bytea,                                   -- digest of all that it depends on
    digest    bytea,                                   -- of what it came to
    bad_count bigint not null default 0,
    made_at   timestamptz not null default now(),
    primary key (job_id, index)
);
create index element_results_key on element_results (key, job_id desc) where key is not null;
create index element_results_bad on element_results (job_id, index) where bad_count > 0;
