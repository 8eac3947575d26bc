-- The worker lives for p_alive from now, if less than half of that is left: one small update now and then, also for
-- a client that claims without ever sending a heartbeat.
create or replace function jobforge.keep_alive(p_worker_id uuid, p_alive interval) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now timestamptz := jobforge.now();
begin
    if not exists (select from jobforge.workers where worker_id = p_worker_id and alive_until > v_now + p_alive / 2) then
        insert into jobforge.workers (worker_id, alive_until, started_at) values (p_worker_id, v_now + p_alive, v_now)
        on conflict (worker_id) do update set alive_until = greatest(workers.alive_until, excluded.alive_until);
    end if;
end
$$;

comment on function jobforge.keep_alive is 'A claim is a sign of life.';
