-- How long what has ended is kept: kinds first, then the types that differ. For administrators.
create or replace function jobforge.list_retention() returns setof jobforge.retention
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select * from jobforge.retention r order by r.type, r.kind
$$;

grant execute on function jobforge.list_retention() to jobforge_admin;
comment on function jobforge.list_retention() is 'How long ended jobs, results and idempotency keys are kept.';
