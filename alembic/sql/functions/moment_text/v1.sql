-- A moment as people read it, whatever the session's DateStyle and TimeZone.
create or replace function jobforge.moment_text(p_at timestamptz) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
$$;

grant execute on function jobforge.moment_text(timestamptz) to jobforge_app, jobforge_admin;
comment on function jobforge.moment_text(timestamptz) is 'A moment as people read it.';
