-- Canaries: what of a run is done first and what its gates came to; versions that are not current before the gates hold.

alter table runs
    add column canary jsonb;                            -- null: the run has none. {"state", "sample", "compared_with", "outcomes", …}

alter table dataset_versions
    add column withheld boolean not null default false; -- committed for the stages after it, but never current: the gates did not hold yet
