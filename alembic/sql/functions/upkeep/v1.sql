-- What has to be done now and then, by any worker, in bounded steps: rescue, promote, late cancels, dead workers, pruning.
-- Names of what it rescued the first 20 jobs, for the log of whoever called it; the rest are counted.
--   p_prune  false: the caller prunes in a transaction of its own. A delete that takes seconds (1,000 jobs of 256 kB), or
--            raises (a foreign key of the application's), then delays nobody's rescue
create or replace function jobforge.upkeep(
    p_worker_id uuid default null, p_limit integer default 1000, p_prune boolean default true
)
returns table (step text, moved integer, jobs json)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   timestamptz := jobforge.now();
    v_moved integer;
    v_ended jobforge.ended_run[];
    v_named json;
    c_named constant integer := 20;
begin
    perform jobforge.check_limit(p_limit);
    v_ended := jobforge.take_back(p_limit);
    if v_ended is not null then
        select json_agg(json_build_object('job_id', e.job_id, 'tenant_id', e.tenant_id, 'type', j.type, 'run', e.run,
                                          'attempt', e.attempt, 'outcome', e.outcome) order by e.job_id)
          into v_named
          from unnest(v_ended[:c_named]) e join jobforge.jobs j on j.id = e.job_id;
    end if;
    return query select 'rescued', coalesce(cardinality(v_ended), 0), v_named;
    return query select 'promoted', jobforge.promote_due(p_limit), null::json;
    return query select 'resumed', jobforge.bring_back(null, p_limit), null::json;
    return query select 'canceled', jobforge.settle_cancels(p_limit), null::json;

    delete from jobforge.heads d where d.ctid = any (array(  -- behind a held snapshot an idle tenant needs its own all the same
        select h.ctid from jobforge.heads h
         where h.marked_at < v_now - interval '1 minute' and pg_stat_get_dead_tuples('jobforge.ready'::regclass) < 20000
         limit p_limit for update of h skip locked));
    delete from jobforge.waits d where d.ctid = any (array(
        select w.ctid from jobforge.waits w where w.until < v_now limit p_limit for update of w skip locked));
    delete from jobforge.webhook_endpoints d where d.ctid = any (array(  -- a tenant may make up URLs without end
        select e.ctid from jobforge.webhook_endpoints e
         where e.disabled_at is null and e.last_failed_at < v_now - interval '90 days'
         order by e.last_failed_at limit p_limit for update of e skip locked));
    delete from jobforge.workers d where d.ctid = any (array(  -- one that is in a heartbeat just now is passed over
        select w.ctid from jobforge.workers w
         where w.alive_until < v_now - interval '1 hour' and w.worker_id is distinct from p_worker_id
           and not exists (select from jobforge.leases l where l.worker_id = w.worker_id)
           for update of w skip locked));
    get diagnostics v_moved = row_count;
    return query select 'forgotten', v_moved, null::json;
    if p_prune is not false then
        return query select 'pruned', sum(p.pruned)::integer, null::json from jobforge.prune(p_limit) p;
    end if;
end
$$;

grant execute on function jobforge.upkeep to jobforge_worker, jobforge_admin;
comment on function jobforge.upkeep is 'Rescue, promote, late cancels, dead workers, pruning; in bounded steps.';
