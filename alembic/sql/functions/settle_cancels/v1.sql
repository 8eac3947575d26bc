-- Cancel requests whose run ended without seeing them: they were not committed yet, or a handler's transaction above
-- READ COMMITTED completed under an old snapshot. What waits again is canceled now; for what has ended the request is
-- moot. A tenant's open transaction may hold the job's row: it is left for the next time, and nobody waits for it.
create or replace function jobforge.settle_cancels(p_limit integer) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '50ms'
as $$
declare
    v_request record;
    v_settled integer := 0;
    v_held    integer := 0;
begin
    for v_request in
        select c.job_id, c.tenant_id from jobforge.cancel_requests c
         where not exists (select from jobforge.leases l where l.job_id = c.job_id)
         limit p_limit for update skip locked
    loop
        begin
            delete from jobforge.cancel_requests c where c.job_id = v_request.job_id;
            perform jobforge.cancel_now(v_request.tenant_id, v_request.job_id);
            v_settled := v_settled + 1;
        exception when lock_not_available then
            v_held := v_held + 1;
            exit when v_held = 3;
        end;
    end loop;
    return v_settled;
end
$$;

comment on function jobforge.settle_cancels is 'Cancel requests that met no run.';
