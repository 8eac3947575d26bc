-- Deletes up to p_limit results that were kept for long enough; their jobs stay. See prune_jobs.
create or replace function jobforge.prune_results(p_limit integer, p_anew boolean)
returns table (pruned integer, more boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set max_parallel_workers_per_gather = 0
set jit = off
as $$
declare
    v_now    timestamptz := jobforge.now();
    v_walk   record;
    v_due    uuid[];
    v_more   boolean;
    v_pruned integer;
    c_look   constant integer := 5 * p_limit;
begin
    select * into v_walk from jobforge.begin_walk('results', array['result'], p_anew);
    if not found then
        return query select 0, p_anew;  -- perhaps somebody else walks: ask once more
        return;
    end if;
    v_due := array(
        select m.job_id from (
            select r.job_id,
                   o.finished_at < v_now - case when own.kind is null then every.keep else own.keep end as due
              from jobforge.results r
              -- left: what is walked over is the outer side; now and then 20,000 outcomes were read for no result at all
              left join jobforge.outcomes o on o.job_id = r.job_id
              left join jobforge.jobs j on j.id = r.job_id
              left join jobforge.retention own on own.kind = 'result' and own.type = j.type
              left join jobforge.retention every on every.kind = 'result' and every.type = ''
             where r.job_id > v_walk.behind and r.job_id < v_walk.before
             order by r.job_id limit c_look) m
         where m.due limit p_limit);  -- no further than to the last of them
    v_more := jobforge.end_walk('results', case when cardinality(v_due) >= p_limit then v_due[p_limit] else (
        select r.job_id from jobforge.results r where r.job_id > v_walk.behind and r.job_id < v_walk.before
         order by r.job_id offset c_look - 1 limit 1) end);
    delete from jobforge.results d where d.ctid = any (array(
        -- its job's outcome too: prune_jobs passes over that, for it would have to wait for the result
        select r.ctid from jobforge.results r join jobforge.outcomes o on o.job_id = r.job_id
         where r.job_id = any (v_due) and o.job_id = any (v_due) for update skip locked));
    get diagnostics v_pruned = row_count;
    return query select v_pruned, v_more;
end
$$;

comment on function jobforge.prune_results is 'Delete results that were kept for long enough.';
