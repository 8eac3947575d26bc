-- How many jobs of a tenant, a queue or a task run whose leases are not marked: claimed before something was said of it.
create or replace function jobforge.running_before(p_limit jobforge.limits) returns integer
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select count(*)::integer from jobforge.leases l
     where not l.limited
       and case p_limit.scope when 'tenant' then l.tenant_id when 'queue' then l.queue else l.type end = p_limit.name
$$;

comment on function jobforge.running_before is 'How many unmarked leases a tenant, a queue or a task has.';
