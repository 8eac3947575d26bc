-- In which table a job stands; with p_lock it stays there, if it waits, until this transaction ends: claims pass over it.
-- Without a lock one statement looks, so that a job on its way between two tables is seen in one of them.
create or replace function jobforge.find_place(p_job jobforge.jobs, p_lock boolean) returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_place text;
begin
    for i in 1 .. 100 loop  -- who was waited for has moved it
        if p_lock then
            perform from jobforge.scheduled s where s.tenant_id = p_job.tenant_id and s.job_id = p_job.id for update;
            if found then
                return 'scheduled';
            end if;
            perform from jobforge.ready r where r.tenant_id = p_job.tenant_id and r.job_id = p_job.id for update;
            if found then
                return 'ready';
            end if;
        end if;
        v_place := (
            select 'leases' from jobforge.leases l where l.job_id = p_job.id
            union all
            select 'outcomes' from jobforge.outcomes o where o.job_id = p_job.id
            union all
            select 'scheduled' from jobforge.scheduled s where s.tenant_id = p_job.tenant_id and s.job_id = p_job.id
            union all
            select 'ready' from jobforge.ready r where r.tenant_id = p_job.tenant_id and r.job_id = p_job.id);
        exit when not p_lock or v_place is null or v_place in ('leases', 'outcomes');
    end loop;
    return v_place;
end
$$;

comment on function jobforge.find_place is 'The table in which a job stands.';
