-- Whose an idempotency key is: one job's, until its retention ends. No row: it is p_job_id's from now on. Else the
-- original, and whether its payload differs (not, where the job itself is pruned).
create or replace function jobforge.take_idempotency_key(
    p_tenant_id text, p_type text, p_key text, p_payload json, p_job_id uuid, p_now timestamptz
) returns table (job_id uuid, payload_differs boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    loop
        insert into jobforge.idempotency_keys (tenant_id, type, key, job_id, created_at)
        values (p_tenant_id, p_type, p_key, p_job_id, p_now)
        on conflict do nothing;
        exit when found;
        return query
            select k.job_id, coalesce(j.payload::jsonb <> p_payload::jsonb, false)
              from jobforge.idempotency_keys k left join jobforge.jobs j on j.id = k.job_id
             where k.tenant_id = p_tenant_id and k.type = p_type and k.key = p_key;
        exit when found;  -- else the original's key was pruned between the two statements: it is ours now
    end loop;
end
$$;

comment on function jobforge.take_idempotency_key is 'Give an idempotency key to a job, unless another has it.';
