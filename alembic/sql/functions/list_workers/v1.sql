-- The workers that live, or were lost in the last hour without taking leave: what they work on, and how much they hold.
create or replace function jobforge.list_workers() returns table (
    worker_id uuid, name text, started_at timestamptz, alive_until timestamptz, queues text[], types text[], running bigint
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select w.worker_id, w.name, w.started_at, w.alive_until, w.queues, w.types, coalesce(h.running, 0)
      from jobforge.workers w
      left join (select l.worker_id, count(*) as running from jobforge.leases l group by l.worker_id) h
             on h.worker_id = w.worker_id
     order by w.started_at, w.worker_id
$$;

grant execute on function jobforge.list_workers() to jobforge_admin;
comment on function jobforge.list_workers() is 'The workers that live, or were lost without taking leave.';
