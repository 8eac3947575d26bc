-- Which marked leases of a tenant, a queue or a task there are: those behind p_from, and what is left of p_runs.
create or replace function jobforge.runs_of(p_scope text, p_name text, p_from bigint, p_runs bigint[]) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- met by key
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off  -- the price of what is switched off looks like a large query
as $$
begin
    case p_scope
        when 'tenant' then return array(
            select l.nth from jobforge.leases l where l.limited and l.tenant_id = p_name and l.nth > p_from
            union all
            select l.nth from unnest(p_runs) r (nth) cross join lateral (
                   select l.nth from jobforge.leases l where l.limited and l.tenant_id = p_name and l.nth = r.nth limit 1) l);
        when 'queue' then return array(
            select l.nth from jobforge.leases l where l.limited and l.queue = p_name and l.nth > p_from
            union all
            select l.nth from unnest(p_runs) r (nth) cross join lateral (
                   select l.nth from jobforge.leases l where l.limited and l.queue = p_name and l.nth = r.nth limit 1) l);
        else return array(
            select l.nth from jobforge.leases l where l.limited and l.type = p_name and l.nth > p_from
            union all
            select l.nth from unnest(p_runs) r (nth) cross join lateral (
                   select l.nth from jobforge.leases l where l.limited and l.type = p_name and l.nth = r.nth limit 1) l);
    end case;
end
$$;

comment on function jobforge.runs_of is 'Which jobs of a tenant, a queue or a task run.';
