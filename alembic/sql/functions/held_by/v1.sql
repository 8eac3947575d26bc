-- Who has changed what is said of a tenant, a queue or a task, and not committed it: claims pass over that row until he ends.
-- His backend's pid, 0 for a prepared transaction, NULL for nobody. A claim locks the row too, for a millisecond: so it looks
-- twice. Both look at one version of the row (stable), and so for one transaction.
create or replace function jobforge.held_by(p_scope text, p_name text) returns integer
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_xid xid := (select l.xmax from jobforge.limits l where l.scope = p_scope and l.name = p_name and l.xmax <> 0);
    v_pid integer;
begin
    for v_look in 1 .. 2 loop
        v_pid := (select coalesce(k.pid, 0) from pg_locks k
                   where k.locktype = 'transactionid' and k.transactionid = v_xid and k.mode = 'ExclusiveLock' and k.granted);
        exit when v_pid is null;
        perform pg_sleep(0.1) where v_look = 1;
    end loop;
    return v_pid;
end
$$;

comment on function jobforge.held_by is 'Who has changed a limit, and not committed it.';
