-- Results go some time after their run has ended, and the sweep of places finds by index which results name a part.

alter table runs
    add column results_freed_at timestamptz,            -- when they were last looked through, past their retention; nothing may stand on them
    add column results_left boolean not null default true;
create index runs_results on runs (ended_at) where results_left and ended_at is not null;
create index runs_base on runs (base_id) where base_id is not null;

create index element_results_parts on element_results using gin (jsonb_path_query_array(body, '$.outputs.*.digest')) where body is not null;
