-- Puts a waiting job, which the caller has locked, into its place once more, as another row. A claim whose snapshot is
-- older than a new payload would read the old one from jobs; so it must not get the row that it has seen. Workers that
-- have passed it over meanwhile are woken.
create or replace function jobforge.renew_place(p_job jobforge.jobs, p_place text, p_notify boolean) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_scheduled jobforge.scheduled;
    v_ready     jobforge.ready;
begin
    if p_place = 'scheduled' then
        delete from jobforge.scheduled s where s.tenant_id = p_job.tenant_id and s.job_id = p_job.id
        returning s.* into v_scheduled;
        insert into jobforge.scheduled select v_scheduled.*;
        return;
    end if;
    for i in 0 .. 1 loop
        delete from jobforge.ready r
         where r.queue = p_job.queue and r.suspect = (i = 1) and r.tenant_id = p_job.tenant_id
           and r.priority = p_job.priority and r.job_id = p_job.id
        returning r.* into v_ready;
        exit when found;
    end loop;
    insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
    values (v_ready.queue, v_ready.tenant_id, v_ready.priority, v_ready.job_id, v_ready.type, v_ready.run,
            v_ready.attempt, v_ready.crashes);
    if p_notify then
        perform jobforge.wake(v_ready.queue);
    end if;
end
$$;

comment on function jobforge.renew_place is 'Put a waiting job into its place once more.';
