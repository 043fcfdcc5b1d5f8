-- Where a result was made that was taken over: the element that did the work, however often its result was taken over since.

alter table element_results
    add column made_job_id bigint,                      -- null: by the element of its own row
    add column made_index int;
