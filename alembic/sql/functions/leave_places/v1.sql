-- Takes many jobs out of the places where they wait, and gives what stood there: leave_place for a set that waits for
-- nobody. A job that somebody holds (a claim, a promotion, a transaction that is left open) is passed over, so none of the
-- calls that come in batches can stand in the way of a claim, or in a deadlock with it.
create or replace function jobforge.leave_places(p_jobs uuid[]) returns setof jobforge.scheduled
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- met by key
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
begin
    return query
    with job as materialized (
        select j.id, j.tenant_id from jobforge.jobs j where j.id = any (p_jobs)
    ), later as (  -- a sub-select that locks is asked for each job, by key, whatever the planner thinks of the table
        select w.ctid from job j cross join lateral (
            select s.ctid from jobforge.scheduled s where s.tenant_id = j.tenant_id and s.job_id = j.id
               for update skip locked) w
    ), sooner as (
        select w.ctid from job j cross join lateral (
            select r.ctid from jobforge.ready r where r.tenant_id = j.tenant_id and r.job_id = j.id
               for update skip locked) w
    ), gone as (  -- by place: the rows are locked, and nothing ever updates them
        delete from jobforge.scheduled s where s.ctid = any (array(select l.ctid from later l)) returning s.*
    ), gone_too as (
        delete from jobforge.ready r where r.ctid = any (array(select s.ctid from sooner s))
        returning r.tenant_id, r.job_id, null::timestamptz, r.queue, r.priority, r.type, r.run, r.attempt, r.crashes
    )
    select * from gone union all select * from gone_too;
end
$$;

comment on function jobforge.leave_places is 'Take jobs out of the places where they wait.';
