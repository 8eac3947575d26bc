-- The states that a bulk call is for: the one that is asked for, or all that it can change.
create or replace function jobforge.check_states(p_state text, p_states text[]) returns text[]
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_state <> all (p_states) then
        raise exception 'jobforge: this call changes no job with the state %', quote_literal(left(p_state, 50))
            using errcode = 'JF003', hint = 'States: ' || array_to_string(p_states, ', ') || '.';
    end if;
    return case when p_state is null then p_states else array[p_state] end;
end
$$;

comment on function jobforge.check_states is 'The states that a bulk call is for.';
