-- Puts a waiting job, which the caller has locked, into its place once more, as another row. A claim whose snapshot is
-- older than a new payload would read the old one from jobs; so it must not get the row that it has seen. Workers that
-- have passed it over meanwhile are woken.
create or replace function jobforge.renew_place(p_job jobforge.jobs, p_notify boolean) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_gone jobforge.scheduled := jobforge.leave_place(p_job);
begin
    if v_gone.run_at is not null then
        insert into jobforge.scheduled select v_gone.*;
        return;
    end if;
    insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
    values (v_gone.queue, v_gone.tenant_id, v_gone.priority, v_gone.job_id, v_gone.type, v_gone.run, v_gone.attempt,
            v_gone.crashes);
    if p_notify then
        perform jobforge.wake(v_gone.queue);
    end if;
end
$$;

comment on function jobforge.renew_place is 'Put a waiting job into its place once more.';
