-- Moves what is due from scheduled to ready, oldest first; returns how many. Workers of other queues than the
-- caller's are woken: they may sleep for up to a second.
-- Every claim looks here, and behind a held snapshot what was promoted stays in front: 44,000 pages for 1,000,000 jobs. So a
-- session that has passed many of those begins where it ended, and from the beginning only once a second, or less often:
-- never for more than a twentieth of its time. What was committed late, or put back, is found that much later then.
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
    v_began timestamptz := clock_timestamp();
    v_read  bigint := pg_stat_get_xact_blocks_fetched('jobforge.scheduled'::regclass);
    v_until timestamptz := to_timestamp(nullif(current_setting('jobforge.due_look_at', true), '')::float8);  -- in any DateStyle
    v_after timestamptz := '-infinity';
    v_last  timestamptz;
    v_moved integer := 0;
begin
    if v_began < v_until then
        v_after := least(to_timestamp(current_setting('jobforge.due_after')::float8), v_now);
    end if;
    -- a probe first: to begin the statement costs five times as much, and most often nothing is due
    if exists (select from jobforge.scheduled s where s.run_at >= v_after and s.run_at <= v_now) then
        with due as materialized (
            select s.ctid, s.run_at from jobforge.scheduled s where s.run_at >= v_after and s.run_at <= v_now
             order by s.run_at, s.job_id limit p_limit for update skip locked
        ), gone as (  -- by place: the rows are locked, and nothing ever updates them
            delete from jobforge.scheduled s where s.ctid = any (array(select due.ctid from due)) returning s.*
        ), moved as (
            insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
            select queue, tenant_id, priority, job_id, type, run, attempt, crashes,
                   case when crashes < 2 then (select jobforge.lane_back()) end from gone
            returning queue
        ), woken as (
            select count(jobforge.wake(q.queue)) from (select distinct queue from moved) q
        )
        select (select count(*) from moved), (select max(due.run_at) from due) into v_moved, v_last from woken;
    end if;
    v_read := pg_stat_get_xact_blocks_fetched('jobforge.scheduled'::regclass) - v_read;
    if v_after > '-infinity' or v_read > 100 + 5 * v_moved then
        perform set_config('jobforge.due_after', extract(epoch from case when v_moved < p_limit then v_now else v_last end)::text, false);
        if v_after = '-infinity' then
            perform set_config('jobforge.due_look_at', extract(epoch from jobforge.next_look(v_began))::text, false);
        end if;
    end if;
    return v_moved;
end
$$;

comment on function jobforge.promote_due(integer) is 'Scheduled jobs that are due become queued.';
