-- Cancel requests whose run ended without seeing them: they were not committed yet, or a handler's transaction above
-- READ COMMITTED completed under an old snapshot. What waits again is canceled now; for what has ended the request is
-- moot. A tenant's open transaction may hold a job's row: it is passed over and left for the next time, and nobody waits
-- for it. By chance, so that those who are held do not always stand before the others.
create or replace function jobforge.settle_cancels(p_limit integer) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_settled  integer;
    v_canceled uuid[];
begin
    with request as materialized (
        select c.job_id as id, j.tenant_id
          from (select c.job_id from jobforge.cancel_requests c
                 where not exists (select from jobforge.leases l where l.job_id = c.job_id)
                 order by random() limit p_limit for update skip locked) c
          left join jobforge.jobs j on j.id = c.job_id  -- purged, while the request was not committed yet
    ), later as (
        select s.ctid from jobforge.scheduled s join request r on s.tenant_id = r.tenant_id and s.job_id = r.id
           for update of s skip locked
    ), sooner as (
        select w.ctid from jobforge.ready w join request r on w.tenant_id = r.tenant_id and w.job_id = r.id
           for update of w skip locked
    ), gone (job_id, tenant_id, run, attempt, crashes) as (
        delete from jobforge.scheduled s where s.ctid = any (array(select l.ctid from later l))
        returning s.job_id, s.tenant_id, s.run, s.attempt, s.crashes
    ), gone_too (job_id, tenant_id, run, attempt, crashes) as (
        delete from jobforge.ready w where w.ctid = any (array(select o.ctid from sooner o))
        returning w.job_id, w.tenant_id, w.run, w.attempt, w.crashes
    ), canceled as (
        insert into jobforge.outcomes (job_id, tenant_id, state, run, attempt, crashes, finished_at)
        select g.job_id, g.tenant_id, 'canceled', g.run, g.attempt, g.crashes, jobforge.now()
          from (select * from gone union all select * from gone_too) g
        returning job_id
    ), answered as (
        delete from jobforge.cancel_requests c using request r
         where c.job_id = r.id
           and (r.tenant_id is null or r.id in (select n.job_id from canceled n)
                or exists (select from jobforge.outcomes o where o.job_id = r.id))
        returning c.job_id
    )
    select count(*), array_agg(n.job_id) filter (where n.job_id is not null) into v_settled, v_canceled
      from answered a left join canceled n on n.job_id = a.job_id;
    if v_canceled is not null then
        perform jobforge.leave_line(v_canceled);
    end if;
    return v_settled;
end
$$;

comment on function jobforge.settle_cancels is 'Cancel requests that met no run.';
