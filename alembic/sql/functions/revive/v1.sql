-- Brings ended jobs back to where they are claimed, with all their attempts anew, and answers how many. One that somebody
-- holds (another retry, who prunes), or that is neither dead nor canceled any more, is passed over.
create or replace function jobforge.revive(p_jobs uuid[], p_notify boolean) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- met by key
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
declare
    v_back jobforge.scheduled[];
begin
    with gone as (
        delete from jobforge.outcomes d where d.ctid = any (array(
            select o.ctid from jobforge.outcomes o
             where o.job_id = any (p_jobs) and o.state in ('dead', 'canceled') for update skip locked))
        returning d.job_id, d.run
    ), late as (  -- one that came too late for an earlier run
        delete from jobforge.cancel_requests c where c.job_id = any (array(select g.job_id from gone g))
    )
    select array_agg(row(j.tenant_id, j.id, null, j.queue, j.priority, j.type, g.run, 0, 0)::jobforge.scheduled) into v_back
      from gone g cross join lateral (select * from jobforge.jobs k where k.id = g.job_id limit 1) j;
    perform jobforge.enter_lines(array(select b.job_id from unnest(v_back) b));
    perform jobforge.enter_places(v_back, p_notify);
    return coalesce(cardinality(v_back), 0);
end
$$;

comment on function jobforge.revive is 'Bring ended jobs back to where they are claimed.';
