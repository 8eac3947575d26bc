-- How many bytes an artifact may have that is kept in the database. For everybody: an application can say so before it
-- makes one.
create or replace function jobforge.artifact_limit() returns integer
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select coalesce((select s.artifact_bytes from jobforge.settings s), 1048576)
$$;

grant execute on function jobforge.artifact_limit() to jobforge_app, jobforge_worker, jobforge_admin;
comment on function jobforge.artifact_limit() is 'How many bytes an artifact in the database may have.';
