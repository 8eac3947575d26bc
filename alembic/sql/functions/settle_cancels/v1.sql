-- Cancel requests whose run ended without seeing them: they were not committed yet, or a handler's transaction above
-- READ COMMITTED completed under an old snapshot. What waits again is canceled now; for what has ended the request is
-- moot. A tenant's open transaction may hold a job's row: it is passed over and left for the next time, and nobody waits
-- for it. By chance, so that those who are held do not always stand before the others.
create or replace function jobforge.settle_cancels(p_limit integer) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_asked   uuid[];
    v_settled integer;
begin
    v_asked := array(
        select c.job_id from jobforge.cancel_requests c
         where not exists (select from jobforge.leases l where l.job_id = c.job_id)
         order by random() limit p_limit for update skip locked);
    if v_asked = '{}' then
        return 0;
    end if;
    perform jobforge.end_waiting(array(select g from jobforge.leave_places(v_asked) g), true);
    delete from jobforge.cancel_requests c
     where c.job_id = any (v_asked)
       and (exists (select from jobforge.outcomes o where o.job_id = c.job_id)
            -- purged, while the request was not committed yet
            or not exists (select from jobforge.jobs j where j.id = c.job_id));
    get diagnostics v_settled = row_count;
    return v_settled;
end
$$;

comment on function jobforge.settle_cancels is 'Cancel requests that met no run.';
