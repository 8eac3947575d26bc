-- The tenants that have something waiting or running, or of which something was said. For administrators.
create or replace function jobforge.list_tenants() returns table (
    tenant_id text, queued bigint, scheduled bigint, running bigint, paused_at timestamptz, max_waiting integer,
    max_running integer, rate double precision, burst integer, weight integer
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        select coalesce(c.tenant_id, t.tenant_id), coalesce(c.queued, 0), coalesce(c.scheduled, 0), coalesce(c.running, 0),
               t.paused_at, t.max_waiting, t.max_running, t.rate, t.burst, t.weight
          from (select p.tenant_id, sum(p.queued)::bigint as queued, sum(p.scheduled)::bigint as scheduled,
                       sum(p.running)::bigint as running
                  from (select r.tenant_id, count(*) as queued, 0 as scheduled, 0 as running
                          from jobforge.ready r group by r.tenant_id
                        union all
                        select s.tenant_id, 0, count(*), 0 from jobforge.scheduled s group by s.tenant_id
                        union all
                        select l.tenant_id, 0, 0, count(*) from jobforge.leases l group by l.tenant_id) p
                 group by p.tenant_id) c
          full join (select * from jobforge.limits l where l.scope = 'tenant') t on t.tenant_id = c.tenant_id
         order by 1;
end
$$;

grant execute on function jobforge.list_tenants() to jobforge_admin;
comment on function jobforge.list_tenants() is 'The tenants that wait, run, are paused or have a quota.';
