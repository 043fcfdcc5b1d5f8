-- What an hour of a resource costs on a cluster, for estimates: in thousand-millionths of the installation's currency.

create table cluster_prices (
    cluster_id    bigint not null references clusters,
    resource      text not null,                        -- cpu (of one), memory (of a GiB), gpu (of any one), gpu/H100
    nano_per_hour bigint not null check (nano_per_hour >= 0),
    primary key (cluster_id, resource)
);
