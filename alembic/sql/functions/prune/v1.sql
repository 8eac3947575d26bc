-- Deletes what was kept for long enough, up to p_limit of each kind, oldest first. Every worker's upkeep does; this is for
-- who wants it now: with p_anew once, then without until nothing is left to look at.
create or replace function jobforge.prune(p_limit integer default 1000, p_anew boolean default false)
returns table (kind text, pruned integer, more boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform jobforge.check_limit(p_limit);
    return query select 'jobs', p.pruned, p.more from jobforge.prune_jobs(p_limit, coalesce(p_anew, false)) p;
    return query select 'results', p.pruned, p.more from jobforge.prune_results(p_limit, coalesce(p_anew, false)) p;
    return query select 'idempotency_keys', p.pruned, p.more from jobforge.prune_keys(p_limit, coalesce(p_anew, false)) p;
end
$$;

grant execute on function jobforge.prune to jobforge_worker, jobforge_admin;
comment on function jobforge.prune is 'Delete what was kept for long enough, in bounded steps.';
