-- When nodes are worked on: nothing starts there within these times.

create table maintenance_windows (
    id         bigint generated always as identity primary key,
    node_id    bigint not null references nodes on delete cascade,
    starts_at  timestamptz not null,
    ends_at    timestamptz not null check (ends_at > starts_at),
    reason     text not null,
    planned_by text not null,
    unique (node_id, starts_at)
);
