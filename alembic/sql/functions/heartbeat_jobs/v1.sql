-- A worker's sign of life, for all its runs at once: one update of its own row, none of its leases.
--   p_runs         the lease tokens that it holds. NULL: it does not say, and hears of nothing.
--   p_alive        it lives so long without another heartbeat; 0 takes leave
--   p_connections  so many it opens at most, for the doctor's arithmetic
-- Answers, none where all is well: 'lost' (that lease is gone: stop, nothing more will count), 'cancel' (somebody
-- wants that run to stop), 'released' (a lease that the worker did not name, claimed more than p_alive ago: the
-- claim's answer never arrived; the job is queued again, uncharged).
create or replace function jobforge.heartbeat_jobs(
    p_worker_id   uuid,
    p_runs        uuid[]   default null,
    p_alive       interval default '30 seconds',
    p_name        text     default null,
    p_queues      text[]   default null,
    p_types       text[]   default null,
    p_connections integer  default null
) returns table (signal text, job_id uuid, lease_token uuid)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now   timestamptz := jobforge.now();
    v_ended jobforge.ended_run[];
begin
    perform jobforge.require_read_committed();
    if p_alive = interval '0' then
        delete from jobforge.workers w
         where w.worker_id = p_worker_id
           and not exists (select from jobforge.leases l where l.worker_id = p_worker_id);
        update jobforge.workers set alive_until = v_now where worker_id = p_worker_id;
        return;
    end if;
    perform jobforge.check_claim(p_worker_id, '{}', '{}', 1, p_alive);
    insert into jobforge.workers (worker_id, alive_until, started_at, name, queues, types, connections)
    values (p_worker_id, v_now + p_alive, v_now, left(p_name, 200), p_queues, p_types,
            case when p_connections between 0 and 100000 then p_connections end)
    on conflict (worker_id) do update
       set alive_until = excluded.alive_until, name = coalesce(excluded.name, workers.name),
           queues = coalesce(excluded.queues, workers.queues), types = coalesce(excluded.types, workers.types),
           connections = coalesce(excluded.connections, workers.connections);
    if p_runs is null then
        return;
    end if;

    return query
        select 'lost', null::uuid, held.token
          from unnest(p_runs) as held (token)
         where not exists (select from jobforge.leases l where l.token = held.token and l.worker_id = p_worker_id);
    return query
        select 'cancel', l.job_id, l.token
          from jobforge.leases l join jobforge.cancel_requests c on c.job_id = l.job_id
         where l.worker_id = p_worker_id and l.token = any (p_runs);

    with unknown as (
        select l.job_id from jobforge.leases l
         where l.worker_id = p_worker_id and l.claimed_at < v_now - p_alive and l.token <> all (p_runs)
         order by l.job_id for update skip locked
    ), gone as (
        delete from jobforge.leases l using unknown u where l.job_id = u.job_id returning l.*
    )
    select array_agg(row(0, g.job_id, g.tenant_id, g.token, g.worker_id, g.run, g.attempt, g.crashes, g.claimed_at,
                         'released', null, null, null, null, false, g.ordering_key, g.limited)::jobforge.ended_run)
      into v_ended from gone g;
    if v_ended is not null then
        perform jobforge.settle(v_ended);
        return query select 'released', e.job_id, e.token from unnest(v_ended) e;
    end if;
end
$$;

grant execute on function jobforge.heartbeat_jobs to jobforge_worker;
comment on function jobforge.heartbeat_jobs is 'A worker''s sign of life; tells it which runs are lost or shall stop.';
