-- Cancels all jobs of this tenant that are about a row of the application's and have not ended: those that wait at once,
-- running ones are told. In order of their ids, as any other cancel of several would. Answers how many they were.
create or replace function jobforge.cancel_jobs_of(p_subject text, p_notify boolean default true) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenant text := jobforge.require_tenant(null);
    v_job    uuid;
    v_count  integer := 0;
begin
    for v_job in
        select j.id from jobforge.jobs j
         where j.tenant_id = v_tenant and j.subject = p_subject
           and not exists (select from jobforge.outcomes o where o.job_id = j.id)
         order by j.id
    loop
        perform jobforge.cancel_now(v_tenant, v_job, p_notify);
        v_count := v_count + 1;
    end loop;
    return v_count;
end
$$;

grant execute on function jobforge.cancel_jobs_of to jobforge_app, jobforge_admin;
comment on function jobforge.cancel_jobs_of is 'Cancel the jobs of a row that have not ended.';
