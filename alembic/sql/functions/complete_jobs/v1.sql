-- Ends runs: an array of {job_id, lease_token, outcome, ...}, outcome being succeeded, failed, timed_out, snoozed,
-- released or canceled. The token is the right to end the run, and deleting its lease is the fence: one of two
-- completions finds the row. Optional per item: result, error (JSON), delay (seconds), final (true: a failure that
-- no retry can cure), run_ms. Called in a handler's own transaction it makes the completion part of it.
-- Answers per item: done · already_done (this very completion was done before: its answer got lost) · lost (the
-- lease is no longer there: roll back, nothing counts) · refused (with the reason; the run goes on).
create or replace function jobforge.complete_jobs(p_results json)
returns table (item integer, job_id uuid, answer text, reason text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
-- leases are met by key; a plan made while the table was empty would read and hash all of it
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off  -- the price of what is switched off looks like a large query: 300 ms of compiling were seen
as $$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_ended  jobforge.ended_run[];
begin
    if json_typeof(p_results) is distinct from 'array' then
        raise exception 'jobforge: p_results must be a JSON array of objects'
            using errcode = 'JF003', hint = 'Pass [{"job_id": ..., "lease_token": ..., "outcome": "succeeded"}, ...].';
    end if;

    with valid as materialized (
        -- one order for all who lock several leases; of two ends of one run the first counts
        select distinct on (r.job_id, r.token) * from jobforge.parse_results(p_results) r where r.fault is null
         order by r.job_id, r.token, r.item
    ), held as materialized (  -- each by its key: an ANALYZE of few rows among many dead ones made a join 13 times as slow
        select v.*, h.ctid as place
          from valid v cross join lateral (
               select l.ctid from jobforge.leases l
                where l.job_id = v.job_id and l.token = v.token and l.tenant_id = coalesce(v_tenant, l.tenant_id)
                limit 1) h
    ), gone as (  -- by place: nothing ever updates them
        delete from jobforge.leases l using held v where l.ctid = v.place
        returning row(v.item, l.job_id, l.tenant_id, l.token, l.worker_id, l.run, l.attempt, l.crashes, l.claimed_at,
                      v.outcome, v.run_ms, v.error, v.result, v.delay, v.final, l.ordering_key, l.limited)::jobforge.ended_run as ended
    )
    select array_agg(g.ended) into v_ended from gone g;

    if v_ended is not null then
        perform jobforge.settle(v_ended);
        return query select e.item, e.job_id, 'done', null from unnest(v_ended) e;
    end if;
    if coalesce(cardinality(v_ended), 0) < json_array_length(p_results) then
        return query
            select r.item, r.job_id,
                   case when r.fault is not null then 'refused'
                        when a.outcome = r.outcome then 'already_done' else 'lost' end,
                   r.fault
              from jobforge.parse_results(p_results) r
              left join jobforge.attempts a on a.job_id = r.job_id and a.token = r.token
                    and a.tenant_id = coalesce(v_tenant, a.tenant_id)
             where r.item <> all (array(select e.item from unnest(v_ended) e));
    end if;
end
$$;

grant execute on function jobforge.complete_jobs to jobforge_app, jobforge_worker;
comment on function jobforge.complete_jobs is 'End runs by their lease tokens; an answer for each.';
