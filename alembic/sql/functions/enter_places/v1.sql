-- Puts jobs where they wait from now on: those with a run_at ahead of us are scheduled, all others claimable.
create or replace function jobforge.enter_places(p_jobs jobforge.scheduled[], p_notify boolean) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now timestamptz := jobforge.now();
begin
    insert into jobforge.scheduled select w.* from unnest(p_jobs) w where w.run_at > v_now;
    insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
    select w.queue, w.tenant_id, w.priority, w.job_id, w.type, w.run, w.attempt, w.crashes
      from unnest(p_jobs) w where w.run_at is null or w.run_at <= v_now;
    if found and p_notify is not false then
        perform jobforge.wake(q.queue)
           from (select distinct w.queue from unnest(p_jobs) w where w.run_at is null or w.run_at <= v_now) q;
    end if;
end
$$;

comment on function jobforge.enter_places is 'Put jobs where they wait from now on.';
