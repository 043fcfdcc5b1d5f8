-- Data sets: where they are stored, their immutable versions, what came from what, and who still needs them.

create table storage_places (
    id           bigint generated always as identity primary key,
    scope_id     bigint not null references scopes,    -- projects at and below it may store there
    name         text not null,
    url          text not null,                        -- /folder or s3://bucket/prefix; never changes
    jurisdiction text not null default '',             -- what lies here is under this law
    sites        text[] not null default '{}',         -- only tasks at these sites reach it; empty: all do
    options      jsonb not null default '{}',          -- endpoint, region
    secrets      jsonb not null default '{}',          -- access_key_id, secret_access_key → names of secrets, never values
    created_at   timestamptz not null default now(),
    unique (scope_id, name)
);

create table datasets (
    id             bigint generated always as identity primary key,
    project_id     bigint not null references scopes,
    name           text not null,                      -- drive/frames
    description    text not null default '',
    place_ids      bigint[] not null,
    labels         jsonb not null default '{}',        -- declared; versions inherit the rest
    released       boolean not null default false,     -- its versions may leave the jurisdiction of what they were made of
    keep_versions  int,                                -- retention: so many of the newest stay; null: all
    keep_days      int,                                -- and whatever is younger
    version_count  int not null default 0,             -- numbers given so far
    current_number int,                                -- what @latest is: what was committed last
    created_by     bigint not null references principals,
    created_at     timestamptz not null default now(),
    unique (project_id, name)
);

create table dataset_versions (
    id             bigint generated always as identity primary key,
    dataset_id     bigint not null references datasets,
    number         int not null,
    digest         bytea not null,                     -- of the manifest: the same content is the same version
    labels         jsonb not null,
    schema         jsonb not null,
    statistics     jsonb not null,
    part_count     int not null,
    file_count     bigint not null,
    size_bytes     bigint not null,
    record_count   bigint not null,
    places         jsonb not null,                     -- place number → jurisdictions of what lies there
    produced_by    jsonb not null,                     -- pipeline, run, stage, or who sent it
    committed_by   text not null,
    committed_at   timestamptz not null default now(),
    written_places bigint[] not null default '{}',     -- where the manifest object lies by now
    manifest_due   boolean not null default true,      -- somewhere it does not
    deleted_at     timestamptz,
    unique (dataset_id, number)
);
create unique index dataset_versions_content on dataset_versions (dataset_id, digest) where deleted_at is null;
create index dataset_versions_due on dataset_versions (id) where manifest_due and deleted_at is null;

create table dataset_version_parts (                   -- 1,024 parts to a row, in the order of the version
    version_id bigint not null references dataset_versions,
    chunk      int not null,
    names      text[] not null,
    digests    bytea[] not null,
    place_ids  bigint[] not null,
    files      int[] not null,
    sizes      bigint[] not null,
    records    bigint[] not null,
    made_by    jsonb not null,                         -- for each part: the attempt and where it ran, as it said
    sources    jsonb not null,                         -- for each part: what it read, as it said
    primary key (version_id, chunk)
);
create index dataset_version_parts_digests on dataset_version_parts using gin (digests);

create table dataset_inputs (                          -- what a version was made of
    version_id       bigint not null references dataset_versions,
    input_version_id bigint not null references dataset_versions,
    primary key (version_id, input_version_id)
);
create index dataset_inputs_from on dataset_inputs (input_version_id);

create table dataset_pins (
    version_id bigint not null references dataset_versions,
    consumer   text not null,                          -- who needs it: a model, a team, a run
    reason     text not null default '',
    pinned_by  bigint not null references principals,
    pinned_at  timestamptz not null default now(),
    primary key (version_id, consumer)
);

create table lineage_events (                          -- OpenLineage, in the order in which they were written
    id         bigint generated always as identity primary key,
    project_id bigint not null references scopes,
    version_id bigint references dataset_versions,
    at         timestamptz not null default now(),
    body       jsonb not null
);
create index lineage_events_project on lineage_events (project_id, id);
create index lineage_events_version on lineage_events (version_id) where version_id is not null;
