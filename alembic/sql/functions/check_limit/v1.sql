-- Refuses a bound under which a maintenance step would do nothing, or everything at once.
create or replace function jobforge.check_limit(p_limit integer) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_limit is null or p_limit not between 1 and 100000 then
        raise exception 'jobforge: p_limit must be between 1 and 100000'
            using errcode = 'JF003', hint = 'Call it again until it has nothing left to do.';
    end if;
    perform jobforge.require_read_committed();
end
$$;

comment on function jobforge.check_limit(integer) is 'Raises JF003 or JF005 for a maintenance step that could not work.';
