-- Whether a retry policy is one: {"base", "factor", "max", "jitter"} or {"delays": [...]}, in seconds. Unknown keys
-- are refused, so that a typing error does not become the default policy in silence.
create or replace function jobforge.check_retry(p_retry jsonb) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_key   text;
    v_value jsonb;
    c_month constant integer := 2592000;  -- seconds
begin
    if jsonb_typeof(p_retry) <> 'object' then
        return false;
    end if;
    for v_key, v_value in select * from jsonb_each(p_retry) loop
        if not (case v_key
            when 'base' then jobforge.check_number(v_value, 0, c_month)
            when 'max' then jobforge.check_number(v_value, 0, c_month)
            when 'factor' then jobforge.check_number(v_value, 1, 100)
            when 'jitter' then jobforge.check_number(v_value, 0, 1)
            when 'delays' then jsonb_typeof(v_value) = 'array'
            else false end)
        then
            return false;
        end if;
    end loop;
    return p_retry -> 'delays' is null
        or jsonb_array_length(p_retry -> 'delays') between 1 and 100
           and not exists (select from jsonb_array_elements(p_retry -> 'delays') d (value)
                            where not jobforge.check_number(d.value, 0, c_month));
end
$$;

comment on function jobforge.check_retry(jsonb) is 'Whether a retry policy is well formed.';
