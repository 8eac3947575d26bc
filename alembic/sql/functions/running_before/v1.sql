-- How many jobs of each tenant, queue or task run whose leases are not marked: claimed before something was said of it.
create or replace function jobforge.running_before(p_scope text) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_object_agg(b.name, b.running), '{}')
      from (select case p_scope when 'tenant' then l.tenant_id when 'queue' then l.queue else l.type end as name, count(*) as running
              from jobforge.leases l where not l.limited group by 1) b
$$;

comment on function jobforge.running_before is 'How many unmarked leases each tenant, queue or task has.';
