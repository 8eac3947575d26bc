-- Whether this session looks at a lane of a queue from the very beginning again. It keeps that in a setting, which anybody may
-- change who can use the session: what cannot be the time of a look counts as none.
create or replace function jobforge.look_due(p_lane text, p_queue text) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_at  text := current_setting('jobforge.look_' || md5(p_lane || ' ' || p_queue), true);
    v_now float8 := extract(epoch from clock_timestamp());
begin
    if v_at !~ '^[0-9]{1,12}([.][0-9]{1,9})?$' then
        return true;
    end if;
    return coalesce(v_at::float8 not between v_now and v_now + 3600, true);
end
$$;

comment on function jobforge.look_due is 'Whether this session looks at a lane from the beginning again.';
