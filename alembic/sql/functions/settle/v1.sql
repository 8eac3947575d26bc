-- Where a run ends, whoever ended it: complete, rescue or heartbeat has deleted the lease (that is the fence) and
-- passes what it held. Writes the attempt, and either the final state or the job's next place: ready or scheduled.
-- A failure charges the attempt; released, snoozed and lost runs do not, and lost ones count as crashes instead. Those
-- are counted in a row: a handler that came to an end has not killed its worker.
-- A job that somebody has deleted by hand has no place to go to, and keeps nobody else from his.
-- A later statement than the caller's delete, so that it sees a cancel that was committed meanwhile.
create or replace function jobforge.settle(p_ended jobforge.ended_run[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
-- jobs and cancel_requests are met by key, whatever the planner thinks of an array or of an empty table
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off  -- the price of what is switched off looks like a large query: 300 ms of compiling were seen
as $$
declare
    v_now     timestamptz := jobforge.now();
    v_woken   integer;
    c_crashes constant integer := 5;  -- as many lost workers, and the job is taken for their killer
begin
    with ended as (
        select e.*, j.queue, j.type, j.priority, j.max_attempts, j.retry, c.job_id is not null as cancel
          from unnest(p_ended) e
          left join jobforge.jobs j on j.id = case when e.outcome <> 'succeeded' then e.job_id end
          left join jobforge.cancel_requests c on c.job_id = e.job_id
    ), verdict as materialized (
        select e.*,
               case when e.outcome = 'succeeded' then 'succeeded'
                    when e.outcome = 'canceled' or e.cancel then 'canceled'
                    when e.outcome in ('failed', 'timed_out') and (e.final or e.attempt >= e.max_attempts) then 'dead'
                    when e.outcome = 'lost' and e.crashes + 1 >= c_crashes then 'dead'
               end as final_state,
               case when e.outcome in ('failed', 'timed_out') then coalesce(e.delay, jobforge.retry_delay(e.retry, e.attempt))
                    when e.outcome = 'lost' and e.crashes > 0 then jobforge.retry_delay('{"jitter": 1}', e.crashes)
                    else coalesce(e.delay, interval '0') end as wait,
               case when e.outcome in ('failed', 'timed_out') then e.attempt else e.attempt - 1 end as charged,
               case when e.outcome = 'lost' then e.crashes + 1 else e.crashes end as crashed,
               -- as an item it was told by its worker (0: by a rescue); a released run may not have been started
               case when e.outcome in ('failed', 'timed_out', 'snoozed') and e.item > 0 then 0
                    when e.outcome = 'lost' then e.crashes + 1 else e.crashes end as carried
          from ended e
    ), recorded as (
        insert into jobforge.attempts (job_id, run, tenant_id, attempt, outcome, worker_id, token, claimed_at, finished_at, run_ms, error)
        select job_id, run, tenant_id, attempt, outcome, worker_id, token, claimed_at, v_now, run_ms, error from verdict
    ), finished as (
        insert into jobforge.outcomes (job_id, tenant_id, state, run, attempt, crashes, finished_at)
        select job_id, tenant_id, final_state, run, case when final_state = 'succeeded' then attempt else charged end,
               crashed, v_now from verdict where final_state is not null
    ), returned as (
        insert into jobforge.results (job_id, tenant_id, value)
        select job_id, tenant_id, result from verdict where final_state = 'succeeded' and result is not null
    ), later as (
        insert into jobforge.scheduled (job_id, run_at, queue, tenant_id, priority, type, run, attempt, crashes)
        select job_id, v_now + wait, queue, tenant_id, priority, type, run, charged, carried
          from verdict where final_state is null and wait > interval '0' and queue is not null
    ), again as (
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
        select queue, tenant_id, priority, job_id, type, run, charged, carried, case when carried < 2 then (select jobforge.lane_back()) end
          from verdict where final_state is null and wait <= interval '0' and queue is not null
        returning queue
    ), left_line as (
        delete from jobforge.lines d where d.ctid = any (array(
            select l.ctid from verdict v cross join lateral (select l.ctid from jobforge.lines l  -- by a probe each
             where (l.tenant_id, l.ordering_key, l.job_id) = (v.tenant_id, v.ordering_key, v.job_id) limit 1) l
             where v.final_state is not null))
    ), turned as (  -- whatever became of it, nothing of its line runs now
        insert into jobforge.turns (tenant_id, ordering_key)
        select distinct tenant_id, ordering_key from verdict where ordering_key is not null
    ), answered as (
        delete from jobforge.cancel_requests c where c.job_id = any (array(select v.job_id from verdict v where v.cancel))
    )
    select count(jobforge.wake(q.queue)) into v_woken from (select distinct queue from again) q;
    perform jobforge.wake_kept(p_ended) from unnest(p_ended) e where e.limited or e.ordering_key is not null limit 1;
    perform jobforge.tell_waiting(array(select e.job_id from unnest(p_ended) e));
end
$$;

comment on function jobforge.settle is 'Where a run ends: its attempt is recorded, and the job finds its next place.';
