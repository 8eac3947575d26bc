-- Up to p_limit jobs that fit, newest first, and behind which to go on; NULL: there are no more. Looks at 20 times as many
-- at most, and at none again that an earlier call has passed. Locks nothing: whoever changes them looks at each once more.
--   p_states  those that have ended so, or those that have not ended and stand so
create or replace function jobforge.meet_jobs(
    p_tenant_id text, p_states text[], p_type text, p_queue text, p_subject text, p_since timestamptz,
    p_until timestamptz, p_error text, p_limit integer, p_cursor uuid
) returns table (met uuid[], next_cursor uuid)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- all is met by key
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
set plan_cache_mode = force_custom_plan  -- what is not asked for costs nothing
as $$
declare
    v_ended  boolean := p_states && array['dead', 'canceled'];
    -- an id is of the time of its enqueue, and in a call of many up to a microsecond later for each
    v_before uuid := least(p_cursor, jobforge.first_job_id(
        least(greatest(coalesce(p_until, 'infinity'), '1970-01-01 00:00+00'), '3000-01-01 00:00+00') + interval '1 minute'));
    v_after  uuid := jobforge.first_job_id(least(greatest(p_since, '1970-01-01 00:00+00'), '3000-01-01 00:00+00'));
    v_walk   uuid[];
    v_met    uuid[] := '{}';
    v_over   boolean;
begin
    for i in 1 .. 20 loop
        v_walk := jobforge.walk_jobs(p_tenant_id, p_subject, case when v_ended then p_states end, v_before, v_after, p_limit);
        v_before := v_walk[cardinality(v_walk)];
        v_over := cardinality(v_walk) < p_limit;
        with near as materialized (  -- narrow, and most have ended or none has: before their wide rows are read
            select w.id, w.place, o.state, o.run
              from unnest(v_walk) with ordinality as w (id, place)
              -- "limit 1": each by key, whatever the planner thinks of the tables
              left join lateral (select e.state, e.run from jobforge.outcomes e where e.job_id = w.id limit 1) o on true
             where case when v_ended then o.state = any (p_states) else o.state is null end
        )
        select v_met || array_agg(n.id order by n.place) into v_met
          from near n cross join lateral (select * from jobforge.jobs k where k.id = n.id limit 1) j
         where (p_type is null or j.type = p_type) and (p_queue is null or j.queue = p_queue)
           and (p_subject is null or j.subject = p_subject)
           and (p_since is null or j.created_at >= p_since) and (p_until is null or j.created_at < p_until)
           and (v_ended or case
                    when exists (select from jobforge.leases l where l.job_id = j.id)
                        then 'running' = any (p_states)
                             and not exists (select from jobforge.cancel_requests c where c.job_id = j.id)  -- it was told
                    when exists (select from jobforge.scheduled s where s.tenant_id = j.tenant_id and s.job_id = j.id)
                        then 'scheduled' = any (p_states)
                    else 'queued' = any (p_states) end)
           and (p_error is null or exists (
                    select from jobforge.attempts a
                     where a.job_id = n.id and a.run = n.run
                       and strpos(concat(a.error ->> 'type', ': ', a.error ->> 'message'), p_error) > 0));
        if cardinality(v_met) >= p_limit then
            v_met := v_met[:p_limit];
            v_before := v_met[p_limit];
            v_over := false;
        end if;
        exit when v_over or cardinality(v_met) = p_limit;
    end loop;
    return query select v_met, case when not v_over then v_before end;
end
$$;

comment on function jobforge.meet_jobs is 'Jobs that fit, newest first, in bounded steps.';
