-- Whether a JSON value is a number between two bounds, of at most 20 decimals: 1e-16383 is eight bytes on the way in,
-- and 16 kB whenever it is read. In order, so that only a number is ever cast.
create or replace function jobforge.check_number(p_value jsonb, p_low numeric, p_high numeric) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if jsonb_typeof(p_value) is distinct from 'number' then
        return false;
    end if;
    return p_value::numeric between p_low and p_high and scale(p_value::numeric) <= 20;
end
$$;

comment on function jobforge.check_number is 'Whether a JSON value is a number between two bounds.';
