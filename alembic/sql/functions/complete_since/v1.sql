-- Since when all jobs are still there: what pruning may have deleted was enqueued before. NULL: nothing is ever deleted.
-- Of the shortest time that any kind of job is kept. Tenants may know it: it says of nobody anything.
create or replace function jobforge.complete_since() returns timestamptz
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select jobforge.now() - min(r.keep) from jobforge.retention r where r.kind in ('succeeded', 'dead', 'canceled')
$$;

grant execute on function jobforge.complete_since() to jobforge_app, jobforge_admin;
comment on function jobforge.complete_since() is 'Since when all jobs are still there.';
