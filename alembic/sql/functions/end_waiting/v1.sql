-- Where jobs end without a run: they were taken out of the places where they waited, and are canceled.
create or replace function jobforge.end_waiting(p_jobs jobforge.scheduled[], p_notify boolean) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into jobforge.outcomes (job_id, tenant_id, state, run, attempt, crashes, finished_at)
    select w.job_id, w.tenant_id, 'canceled', w.run, w.attempt, w.crashes, jobforge.now() from unnest(p_jobs) w;
    if not found then
        return;
    end if;
    perform jobforge.leave_line(array(select w.job_id from unnest(p_jobs) w));
    if p_notify is not false then
        perform jobforge.tell_waiting(array(select w.job_id from unnest(p_jobs) w));
    end if;
end
$$;

comment on function jobforge.end_waiting is 'Where jobs end without a run.';
