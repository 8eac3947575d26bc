-- Deletes what was kept for long enough, up to p_limit of each kind, oldest first. Every worker's upkeep does; this is for
-- who wants it now: with p_anew once, then without until nothing is left to look at. What is kept by number is counted in
-- one such round, and what is too many goes in the next.
create or replace function jobforge.prune(p_limit integer default 1000, p_anew boolean default false)
returns table (kind text, pruned integer, more boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_counting boolean;
begin
    perform jobforge.check_limit(p_limit);
    v_counting := jobforge.count_newest('newest_succeeded', array['succeeded'], p_limit, coalesce(p_anew, false));
    v_counting := jobforge.count_newest('newest_failed', array['dead', 'canceled'], p_limit, coalesce(p_anew, false))
                  or v_counting;
    return query select 'jobs', p.pruned, p.more or v_counting from jobforge.prune_jobs(p_limit, coalesce(p_anew, false)) p;
    return query select 'results', p.pruned, p.more from jobforge.prune_results(p_limit, coalesce(p_anew, false)) p;
    return query select 'idempotency_keys', p.pruned, p.more from jobforge.prune_keys(p_limit, coalesce(p_anew, false)) p;
end
$$;

grant execute on function jobforge.prune to jobforge_worker, jobforge_admin;
comment on function jobforge.prune is 'Delete what was kept for long enough, in bounded steps.';
