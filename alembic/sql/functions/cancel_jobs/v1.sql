-- Cancels up to p_limit jobs that fit and have not ended, newest first: what waits at once, what runs is told. Commit, and
-- pass next_cursor as the next p_cursor, until that is NULL. Skipped are those that moved meanwhile or that somebody
-- holds; where there are some, the same p_cursor once more meets those alone.
--   p_state        scheduled, queued or running. NULL: all three
--   p_all_tenants  jobforge_admin, in a transaction without a tenant: whosever they are
--   p_dry_run      counts only: changed says how many it would be
create or replace function jobforge.cancel_jobs(
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
set lock_timeout = '2s'
set enable_seqscan = off  -- leases are met by key
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
declare
    v_tenant text := case when p_all_tenants is not true then jobforge.require_tenant(null) end;
    v_states text[] := jobforge.check_states(p_state, array['scheduled', 'queued', 'running']);
    v_met    uuid[];
    v_cursor uuid;
    v_told   uuid[] := '{}';
    v_gone   jobforge.scheduled[] := '{}';
begin
    perform jobforge.check_bulk(p_all_tenants, p_limit);
    select m.met, m.next_cursor into v_met, v_cursor
      from jobforge.meet_jobs(v_tenant, v_states, p_type, p_queue, p_subject, p_since, p_until, null, p_limit, p_cursor) m;
    if p_dry_run then
        return query select cardinality(v_met), 0, v_cursor;
        return;
    end if;
    -- requests first and in the order of ids, as who cancels one by one: another's, in a transaction that is open, is
    -- waited for, and then these are skipped. Behind that nothing waits. No lock on a lease: see cancel_now
    if 'running' = any (v_states) then
        begin
            with told as (
                insert into jobforge.cancel_requests (job_id, tenant_id, requested_at)
                select l.job_id, l.tenant_id, jobforge.now() from jobforge.leases l
                 where l.job_id = any (v_met) order by l.job_id
                on conflict do nothing returning job_id
            )
            select coalesce(array_agg(t.job_id), '{}') into v_told from told t;
        exception when lock_not_available then
            v_told := '{}';
        end;
        if v_told <> '{}' and p_notify is not false then
            perform jobforge.wake(':cancel');
        end if;
    end if;
    if v_states <> array['running'] then
        v_gone := array(select g from jobforge.leave_places(
            array(select m from unnest(v_met) m except select t from unnest(v_told) t)) g);
        perform jobforge.end_waiting(v_gone, p_notify);
    end if;
    return query
        select cardinality(v_told) + cardinality(v_gone), cardinality(v_met) - cardinality(v_told) - cardinality(v_gone),
               v_cursor;
end
$$;

grant execute on function jobforge.cancel_jobs to jobforge_app, jobforge_admin;
comment on function jobforge.cancel_jobs is 'Cancel the jobs that fit, batch by batch.';
