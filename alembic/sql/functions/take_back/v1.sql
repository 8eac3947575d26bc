-- Takes back the leases whose worker is dead (a crash, not charged) or whose deadline has passed (timed out,
-- charged). No leader: whoever calls it passes over what others hold, and over a lease whose completion is under way.
-- Gives the runs that it ended; NULL where there were none.
create or replace function jobforge.take_back(p_limit integer) returns jobforge.ended_run[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   timestamptz := jobforge.now();
    v_ended jobforge.ended_run[];
begin
    perform jobforge.check_limit(p_limit);
    with expired as (
        select l.job_id, l.deadline > v_now as lost
          from jobforge.leases l
         where l.worker_id not in (select w.worker_id from jobforge.workers w where w.alive_until > v_now)
            or l.deadline <= v_now
         order by l.job_id limit p_limit for update of l skip locked
    ), gone as (
        delete from jobforge.leases l using expired x where l.job_id = x.job_id returning l.*, x.lost
    )
    select array_agg(row(0, g.job_id, g.tenant_id, g.token, g.worker_id, g.run, g.attempt, g.crashes, g.claimed_at,
                         case when g.lost then 'lost' else 'timed_out' end, null,
                         case when g.lost then '{"type": "WorkerLost", "message": "the worker stopped sending heartbeats"}'
                              else '{"type": "TimedOut", "message": "the lease passed its deadline"}' end::json,
                         null, null, false, g.ordering_key, g.limited)::jobforge.ended_run)
      into v_ended from gone g;
    if v_ended is not null then
        perform jobforge.settle(v_ended);
    end if;
    return v_ended;
end
$$;

comment on function jobforge.take_back is 'End the runs of dead workers and passed deadlines, and give them.';
