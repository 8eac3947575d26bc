-- Who could run a job of this queue and type: how many workers of the queue live, how many of those know the type, and when
-- one of the queue was last taken for alive, in the past or ahead; and until and since when a certain worker is. One that does not say
-- what it works on might do anything.
create or replace function jobforge.workers_of(p_queue text, p_type text, p_worker_id uuid default null)
returns table (living integer, knowing integer, last_alive timestamptz, alive_until timestamptz, started_at timestamptz)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select count(*) filter (where w.here and w.lives)::integer,
           count(*) filter (where w.here and w.lives and (w.types is null or p_type = any (w.types)))::integer,
           max(w.alive_until) filter (where w.here),
           max(w.alive_until) filter (where w.worker_id = p_worker_id),
           max(w.started_at) filter (where w.worker_id = p_worker_id)
      from (select k.*, k.queues is null or p_queue = any (k.queues) as here, k.alive_until > n.now as lives
              from jobforge.workers k cross join (select jobforge.now() as now) n) w
$$;

grant execute on function jobforge.workers_of to jobforge_admin;
comment on function jobforge.workers_of is 'How many workers live that could run such a job.';
