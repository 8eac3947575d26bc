-- Moves what is due from scheduled to ready, oldest first; returns how many. Workers of other queues than the
-- caller's are woken: they may sleep for up to a second.
create or replace function jobforge.promote_due(p_limit integer) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    -- not in the query: a volatile function is asked for each row, and no index searched. All that is due later was read
    -- for every claim, a second for 1,000,000 jobs
    v_now   timestamptz := jobforge.now();
    v_moved integer;
begin
    with due as (
        select s.ctid from jobforge.scheduled s where s.run_at <= v_now
         order by s.run_at, s.job_id limit p_limit for update skip locked
    ), gone as (  -- by place: the rows are locked, and nothing ever updates them
        delete from jobforge.scheduled s where s.ctid = any (array(select due.ctid from due)) returning s.*
    ), moved as (
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
        select queue, tenant_id, priority, job_id, type, run, attempt, crashes from gone
        returning queue
    ), woken as (
        select count(jobforge.wake(q.queue)) from (select distinct queue from moved) q
    )
    select count(*) into v_moved from moved cross join woken;
    return v_moved;
end
$$;

comment on function jobforge.promote_due(integer) is 'Scheduled jobs that are due become queued.';
