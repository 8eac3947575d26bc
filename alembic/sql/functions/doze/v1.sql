-- A worker says on the connection on which it listens that it sleeps, and wants to be woken for these queues; and that it
-- does no longer. Look once more behind the first: what was committed before sent no hint. Who never says it finds jobs by
-- polling alone. It is a lock of the session's, one for each queue: a connection that ends says so by itself, and who
-- enqueues asks for it without reading anything (see wake). Such locks are counted, and saying it twice says it once: so
-- what the session holds is looked up.
-- False, and nothing said: somebody was asking at this very moment. Say it again.
create or replace function jobforge.doze(p_queues text[], p_asleep boolean default true) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    c_asleep constant integer := 1785686131;  -- as in wake
    v_keys   integer[] := array(select distinct hashtext(q.queue) from unnest(p_queues) as q (queue));
    v_held   integer[] := array(  -- a key is an oid there, which has no sign
        select k.key from unnest(v_keys) as k (key)
         where exists (select from pg_locks l
                        where l.locktype = 'advisory' and l.classid = c_asleep::oid and l.objsubid = 2 and l.granted
                          and l.mode = 'ShareLock' and l.objid::bigint = k.key::bigint & 4294967295
                          and l.pid = pg_backend_pid()));
begin
    if p_asleep is not false then
        v_keys := array(select unnest(v_keys) except select unnest(v_held));
        v_held := array(select k.key from unnest(v_keys) as k (key) where pg_try_advisory_lock_shared(c_asleep, k.key));
        if cardinality(v_held) = cardinality(v_keys) then
            return true;
        end if;
    end if;
    perform pg_advisory_unlock_shared(c_asleep, h.key) from unnest(v_held) as h (key);
    return p_asleep is false;
end
$$;

grant execute on function jobforge.doze to jobforge_worker;
comment on function jobforge.doze is 'Say that a worker sleeps, and wants to be woken; or that it does no longer.';
