-- Deletes up to p_limit idempotency keys that were kept for long enough and whose job has ended, or is gone. See prune_jobs.
create or replace function jobforge.prune_keys(p_limit integer, p_anew boolean)
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
    select * into v_walk from jobforge.begin_walk('idempotency_keys', array['idempotency_key'], p_anew);
    if not found then
        return query select 0, p_anew;  -- perhaps somebody else walks: ask once more
        return;
    end if;
    v_due := array(
        select m.job_id from (
            select k.job_id,
                   k.created_at < v_now - case when own.kind is null then every.keep else own.keep end
                       and (o.job_id is not null or not exists (select from jobforge.jobs j where j.id = k.job_id)) as due
              from jobforge.idempotency_keys k
              left join jobforge.outcomes o on o.job_id = k.job_id
              left join jobforge.retention own on own.kind = 'idempotency_key' and own.type = k.type
              left join jobforge.retention every on every.kind = 'idempotency_key' and every.type = ''
             where k.job_id > v_walk.behind and k.job_id < v_walk.before
             order by k.job_id limit c_look) m
         where m.due limit p_limit);  -- no further than to the last of them
    v_more := jobforge.end_walk('idempotency_keys', case when cardinality(v_due) >= p_limit then v_due[p_limit] else (
        select k.job_id from jobforge.idempotency_keys k where k.job_id > v_walk.behind and k.job_id < v_walk.before
         order by k.job_id offset c_look - 1 limit 1) end);
    delete from jobforge.idempotency_keys d where d.ctid = any (array(
        select k.ctid from jobforge.idempotency_keys k where k.job_id = any (v_due) for update skip locked));
    get diagnostics v_pruned = row_count;
    return query select v_pruned, v_more;
end
$$;

comment on function jobforge.prune_keys is 'Delete idempotency keys that were kept for long enough.';
