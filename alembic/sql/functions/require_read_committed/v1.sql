-- Claims and rescues pass over what others hold and must see what was committed a moment ago. With one snapshot
-- for the whole transaction they would meet 40001 instead of work.
create or replace function jobforge.require_read_committed() returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'jobforge: this function runs at READ COMMITTED only'
            using errcode = 'JF005', hint = 'Use a connection of its own, or: set transaction isolation level read committed;';
    end if;
end
$$;

comment on function jobforge.require_read_committed() is 'Raises JF005 above READ COMMITTED.';
