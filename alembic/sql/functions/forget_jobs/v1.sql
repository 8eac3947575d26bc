-- What goes with jobs that are deleted, before they are: all that their runs have left behind.
create or replace function jobforge.forget_jobs(p_jobs uuid[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- met by key
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
begin
    delete from jobforge.results r where r.job_id = any (p_jobs);
    delete from jobforge.attempts a where a.job_id = any (p_jobs);
    delete from jobforge.webhook_deliveries d where d.job_id = any (p_jobs);
    delete from jobforge.artifacts f where f.job_id = any (p_jobs);
end
$$;

comment on function jobforge.forget_jobs(uuid[]) is 'Delete what the runs of jobs have left behind.';
