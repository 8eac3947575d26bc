-- What has to be done now and then, by any worker, in bounded steps: rescue, promote, late cancels, dead workers.
create or replace function jobforge.upkeep(p_worker_id uuid default null, p_limit integer default 1000)
returns table (step text, moved integer)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_moved integer;
begin
    perform jobforge.check_limit(p_limit);
    return query select 'rescued', jobforge.rescue_expired_jobs(p_limit);
    return query select 'promoted', jobforge.promote_due(p_limit);
    return query select 'canceled', jobforge.settle_cancels(p_limit);

    delete from jobforge.waits d where d.ctid = any (array(
        select w.ctid from jobforge.waits w where w.until < jobforge.now() limit p_limit for update of w skip locked));
    delete from jobforge.workers d where d.ctid = any (array(  -- one that is in a heartbeat just now is passed over
        select w.ctid from jobforge.workers w
         where w.alive_until < jobforge.now() - interval '1 hour' and w.worker_id is distinct from p_worker_id
           and not exists (select from jobforge.leases l where l.worker_id = w.worker_id)
           for update of w skip locked));
    get diagnostics v_moved = row_count;
    return query select 'forgotten', v_moved;
end
$$;

grant execute on function jobforge.upkeep to jobforge_worker, jobforge_admin;
comment on function jobforge.upkeep is 'Rescue, promote, late cancels, dead workers; in bounded steps.';
