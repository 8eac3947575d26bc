-- Brings up to p_limit dead or canceled jobs that fit back to the queue, newest first, with all their attempts anew. In
-- batches as cancel_jobs; skipped are those that moved meanwhile, or whose unique key another has. A quota that is used up
-- refuses the batch; over all tenants it skips that tenant's part of it, which is counted in over_quota, too.
--   p_state  dead or canceled. NULL: both
--   p_error  stands somewhere in "Type: message" of the last run's error
create or replace function jobforge.retry_jobs(
    p_state       text        default null,
    p_type        text        default null,
    p_queue       text        default null,
    p_since       timestamptz default null,
    p_until       timestamptz default null,
    p_subject     text        default null,
    p_error       text        default null,
    p_limit       integer     default 1000,
    p_cursor      uuid        default null,
    p_all_tenants boolean     default false,
    p_dry_run     boolean     default false,
    p_notify      boolean     default true
) returns table (changed integer, skipped integer, next_cursor uuid, over_quota integer)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenant  text := case when p_all_tenants is not true then jobforge.require_tenant(null) end;
    v_states  text[] := jobforge.check_states(p_state, array['dead', 'canceled']);
    v_met     uuid[];
    v_cursor  uuid;
    v_back    integer;
    v_changed integer := 0;
    v_over    integer := 0;
    v_part    record;
begin
    perform jobforge.check_bulk(p_all_tenants, p_limit);
    select m.met, m.next_cursor into v_met, v_cursor
      from jobforge.meet_jobs(v_tenant, v_states, p_type, p_queue, p_subject, p_since, p_until, p_error, p_limit, p_cursor) m;
    if p_dry_run then
        return query select cardinality(v_met), 0, v_cursor, 0;
        return;
    end if;
    for v_part in
        select t.tenant_id, array_agg(j.id) as jobs
          from unnest(jobforge.free_keys(v_met)) as f (id)
         cross join lateral (select * from jobforge.jobs k where k.id = f.id limit 1) j
          left join jobforge.limits t on t.scope = 'tenant' and t.name = j.tenant_id and t.max_waiting is not null
         group by t.tenant_id order by t.tenant_id
    loop
        begin
            v_back := jobforge.revive(v_part.jobs, p_notify);
            if v_part.tenant_id is not null then
                perform jobforge.check_quota(v_part.tenant_id);
            end if;
            v_changed := v_changed + v_back;
        exception when sqlstate 'JF007' then
            if v_tenant is not null then
                raise;
            end if;
            v_over := v_over + cardinality(v_part.jobs);
        end;
    end loop;
    return query select v_changed, cardinality(v_met) - v_changed, v_cursor, v_over;
end
$$;

grant execute on function jobforge.retry_jobs to jobforge_app, jobforge_admin;
comment on function jobforge.retry_jobs is 'Bring the dead or canceled jobs that fit back, batch by batch.';
