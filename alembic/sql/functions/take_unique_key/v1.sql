-- Whose a unique key is: one job's at a time, as long as that is active. No row: it is p_job_id's from now on, and that
-- has to be enqueued. Else the job that keeps it, and whether its payload differed:
--   keep     one that waits or runs
--   replace  one that waits; it gets this payload. One that runs has read its own, and lets go of the key
--   merge    one that waits; it is locked, so that the caller can put both payloads together and come again with replace
-- The key's row is where all who come with it stand in line: what they have committed the statement behind it sees.
create or replace function jobforge.take_unique_key(
    p_tenant_id text, p_type text, p_key text, p_on_duplicate text, p_payload json, p_job_id uuid,
    p_notify boolean
) returns table (job_id uuid, payload_differs boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_job   jobforge.jobs;
    v_place text;
begin
    loop
        insert into jobforge.unique_keys (tenant_id, type, key, job_id)
        values (p_tenant_id, p_type, p_key, p_job_id) on conflict do nothing;
        if found then
            return;
        end if;
        perform from jobforge.unique_keys k
          where k.tenant_id = p_tenant_id and k.type = p_type and k.key = p_key for update;
        exit when found;  -- else it was pruned between the two statements
    end loop;
    select j.* into v_job from jobforge.unique_keys k join jobforge.jobs j on j.id = k.job_id
     where k.tenant_id = p_tenant_id and k.type = p_type and k.key = p_key;
    if v_job.id = p_job_id then
        return;
    end if;

    v_place := jobforge.find_place(v_job, p_on_duplicate <> 'keep');
    if v_place in ('scheduled', 'ready') or (v_place = 'leases' and p_on_duplicate = 'keep') then
        if p_on_duplicate = 'replace' then
            update jobforge.jobs j set payload = p_payload where j.id = v_job.id;
            perform jobforge.renew_place(v_job, p_notify);
        end if;
        return query select v_job.id, v_job.payload::jsonb is distinct from p_payload::jsonb;
        return;
    end if;
    update jobforge.unique_keys k set job_id = p_job_id
     where k.tenant_id = p_tenant_id and k.type = p_type and k.key = p_key;
end
$$;

comment on function jobforge.take_unique_key is 'Give a unique key to a job, unless an active one keeps it.';
