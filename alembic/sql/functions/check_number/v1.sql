-- Whether a JSON value is a number between two bounds. In order, so that only a number is ever cast.
create or replace function jobforge.check_number(p_value jsonb, p_low numeric, p_high numeric) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if jsonb_typeof(p_value) is distinct from 'number' then
        return false;
    end if;
    return p_value::numeric between p_low and p_high;
end
$$;

comment on function jobforge.check_number is 'Whether a JSON value is a number between two bounds.';
