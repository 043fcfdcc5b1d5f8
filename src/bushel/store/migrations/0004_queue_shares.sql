-- What queues are promised, lend and borrow, and what is known of those who may be stopped for others.

alter table queues
    add column guarantee jsonb not null default '{}',  -- resource name → what it can have back whenever it wants it
    add column lending   jsonb not null default '{}',  -- resource name → how much of its guarantee others may use; not named: all
    add column borrowing jsonb not null default '{}',  -- resource name → how much beyond its guarantee it may use; not named: any amount
    drop constraint queues_weight_check,
    add constraint queues_weight_check check (weight >= 0);  -- 0: only what nobody else wants

alter table attempts add column checkpoint_at timestamptz;  -- when it last reported another checkpoint than before

alter table retries add column preemptions int not null default 0;  -- how often it was stopped for others

create table queue_use (                               -- past use, halved every half-life, as of a moment; rows only where there is any
    queue_id         bigint not null references queues on delete cascade,
    resource         text not null,
    resource_seconds double precision not null,        -- smallest units × seconds
    as_of            timestamptz not null,             -- the same in all rows of a queue
    primary key (queue_id, resource)
);
create index queue_use_as_of on queue_use (as_of);     -- for seeing quickly whether there is news
