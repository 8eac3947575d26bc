-- Whether an interval lies between two bounds, and is what it looks like. Postgres compares months as 30 days, so
-- '60000000 months -1799999999 days' would pass for a day and overflow when it is added to a time: no part of it may
-- be negative. NULL passes as NULL.
create or replace function jobforge.check_interval(p_value interval, p_low interval, p_high interval) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_value is null or not p_value between p_low and p_high then
        return case when p_value is null then null else false end;
    end if;
    return extract(year from p_value) >= 0 and extract(month from p_value) >= 0 and extract(day from p_value) >= 0
       and extract(hour from p_value) >= 0 and extract(minute from p_value) >= 0 and extract(second from p_value) >= 0;
end
$$;

comment on function jobforge.check_interval is 'Whether an interval lies between two bounds, without negative parts.';
