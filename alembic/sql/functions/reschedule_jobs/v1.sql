-- Moves up to p_limit waiting jobs that fit to another time, newest first: p_run_at, or p_delay from now; neither: now.
-- Attempts stay. In batches as cancel_jobs; skipped are those that started or ended meanwhile.
--   p_state  scheduled or queued. NULL: both
create or replace function jobforge.reschedule_jobs(
    p_run_at      timestamptz default null,
    p_delay       interval    default null,
    p_state       text        default null,
    p_type        text        default null,
    p_queue       text        default null,
    p_since       timestamptz default null,
    p_until       timestamptz default null,
    p_subject     text        default null,
    p_limit       integer     default 1000,
    p_cursor      uuid        default null,
    p_all_tenants boolean     default false,
    p_dry_run     boolean     default false,
    p_notify      boolean     default true
) returns table (changed integer, skipped integer, next_cursor uuid)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenant text := case when p_all_tenants is not true then jobforge.require_tenant(null) end;
    v_states text[] := jobforge.check_states(p_state, array['scheduled', 'queued']);
    v_met    uuid[];
    v_cursor uuid;
    v_moved  jobforge.scheduled[];
begin
    perform jobforge.check_bulk(p_all_tenants, p_limit);
    perform jobforge.check_job(null, 'type', '{}', null, null, p_run_at, p_delay, null, null, null, null, null, null);
    select m.met, m.next_cursor into v_met, v_cursor
      from jobforge.meet_jobs(v_tenant, v_states, p_type, p_queue, p_subject, p_since, p_until, null, p_limit, p_cursor) m;
    if p_dry_run then
        return query select cardinality(v_met), 0, v_cursor;
        return;
    end if;
    v_moved := array(
        select row(g.tenant_id, g.job_id, coalesce(p_run_at, jobforge.now() + p_delay), g.queue, g.priority, g.type, g.run,
                   g.attempt, g.crashes)::jobforge.scheduled
          from jobforge.leave_places(v_met) g);
    perform jobforge.enter_places(v_moved, p_notify);
    return query select cardinality(v_moved), cardinality(v_met) - cardinality(v_moved), v_cursor;
end
$$;

grant execute on function jobforge.reschedule_jobs to jobforge_app, jobforge_admin;
comment on function jobforge.reschedule_jobs is 'Move the waiting jobs that fit to another time, batch by batch.';
