-- Ended jobs that come back to life stand in their lines again, before all that came later.
create or replace function jobforge.enter_lines(p_jobs uuid[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- met by key
as $$
begin
    insert into jobforge.lines (tenant_id, ordering_key, job_id)
    select j.tenant_id, j.ordering_key, j.id from jobforge.jobs j where j.id = any (p_jobs) and j.ordering_key is not null;
end
$$;

comment on function jobforge.enter_lines(uuid[]) is 'Jobs that come back to life stand in their lines again.';
