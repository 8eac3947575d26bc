-- complete_jobs for one run, for those who have one.
create or replace function jobforge.complete_job(
    p_job_id uuid, p_lease_token uuid, p_outcome text, p_result json default null, p_error json default null,
    p_delay interval default null, p_final boolean default false
) returns table (answer text, reason text)
language sql
set search_path = pg_catalog, pg_temp
as $$
    select c.answer, c.reason
      from jobforge.complete_jobs(json_build_array(json_build_object(
               'job_id', p_job_id, 'lease_token', p_lease_token, 'outcome', p_outcome, 'result', p_result,
               'error', p_error, 'delay', extract(epoch from p_delay), 'final', p_final))) c
$$;

grant execute on function jobforge.complete_job to jobforge_app, jobforge_worker;
comment on function jobforge.complete_job is 'End one run by its lease token.';
