-- How many jobs of a tenant, a queue or a task run. Leases that were claimed when something was said of it are marked, and
-- an index has them; those from before it was said are looked for among all, until there can be none (budget).
--   p_before  running_before, for who asks for many
create or replace function jobforge.running_of(p_limit jobforge.limits, p_before jsonb default null) returns integer
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_running integer;
begin
    case p_limit.scope
        when 'tenant' then select count(*) into v_running from jobforge.leases l where l.limited and l.tenant_id = p_limit.name;
        when 'queue' then select count(*) into v_running from jobforge.leases l where l.limited and l.queue = p_limit.name;
        else select count(*) into v_running from jobforge.leases l where l.limited and l.type = p_limit.name;
    end case;
    if not p_limit.counted then
        v_running := v_running
                     + coalesce((coalesce(p_before, jobforge.running_before(p_limit.scope)) ->> p_limit.name)::integer, 0);
    end if;
    return v_running;
end
$$;

comment on function jobforge.running_of is 'How many jobs of a tenant, a queue or a task run.';
