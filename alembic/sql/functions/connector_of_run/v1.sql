-- What a run of a built-in handler needs: its tenant's configuration (that of p_type over that of every connector, key by
-- key) and the secrets that it names. The token is the right, as in complete_jobs: only while the lease lives, which a rescue
-- would leave alone, and only of the job's own tenant; a tenant, where one is set, must be that. Anything else: no row.
-- unsure: an earlier run of the job may have had effects outside of the database.
create or replace function jobforge.connector_of_run(
    p_job_id uuid, p_lease_token uuid, p_type text, p_secrets text[] default '{}'
) returns table (config json, secrets json, at timestamptz, unsure boolean)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    timestamptz := jobforge.now();
    v_tenant text;
begin
    if cardinality(p_secrets) > 20 then
        raise exception 'jobforge: a run may have 20 secrets at most'
            using errcode = 'JF003', hint = 'Name those that this run sends.';
    end if;
    select l.tenant_id into v_tenant
      from jobforge.leases l join jobforge.workers w on w.worker_id = l.worker_id
     where l.job_id = p_job_id and l.token = p_lease_token
       and l.tenant_id = coalesce(jobforge.current_tenant(), l.tenant_id)
       and l.deadline > v_now and w.alive_until > v_now;
    if not found then
        return;
    end if;
    return query
        select (coalesce((select c.config::jsonb from jobforge.connectors c
                           where c.tenant_id = v_tenant and c.type = ''), '{}')
                || coalesce((select c.config::jsonb from jobforge.connectors c
                              where c.tenant_id = v_tenant and c.type = nullif(p_type, '')), '{}'))::json,
               coalesce((select json_object_agg(s.name, json_build_object(
                             'kind', s.kind, 'value', s.value, 'hosts', s.hosts,
                             'previous', case when s.previous_until > v_now then
                                 json_build_object('kind', s.previous_kind, 'value', s.previous_value) end))
                           from jobforge.connector_secrets s
                          where s.tenant_id = v_tenant and s.name = any (p_secrets)), '{}'),
               v_now,
               -- what such a run did nobody has heard: one that was released or canceled before it began did nothing
               exists (select from jobforge.attempts a
                        where a.job_id = p_job_id
                          and (a.outcome in ('lost', 'timed_out')
                               or a.outcome in ('released', 'canceled') and a.run_ms is not null));
end
$$;

grant execute on function jobforge.connector_of_run to jobforge_app, jobforge_worker;
comment on function jobforge.connector_of_run is 'The configuration and secrets of a live run''s tenant, by its token.';
