-- Gives a worker one suspect: a job that has lost its worker in its last two runs or more. It may be what killed them, so
-- whoever asks holds nothing else, and claims nothing else until this run has ended; then a crash is its own doing.
-- A tenant by chance, its first by priority and age: one whose jobs all kill their workers does not stand before others.
create or replace function jobforge.claim_suspect(
    p_worker_id uuid,
    p_queues    text[],
    p_types     text[],
    p_alive     interval default '30 seconds'
) returns table (
    job_id uuid, tenant_id text, queue text, type text, priority smallint, payload text, run integer, attempt integer,
    max_attempts integer, crashes integer, lease_token uuid, claimed_at timestamptz, deadline timestamptz,
    timeout interval, run_at timestamptz, created_at timestamptz, idempotency_key text, parent_id uuid, trace text,
    tenant_token text
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- as in claim_jobs
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    perform jobforge.check_claim(p_worker_id, p_queues, p_types, 1, p_alive);
    perform jobforge.keep_alive(p_worker_id, p_alive);
    perform jobforge.make_ready();
    return query
        select * from jobforge.claim_alone(p_worker_id, p_queues, p_types, exists (select from jobforge.limits));
end
$$;

grant execute on function jobforge.claim_suspect to jobforge_worker;
comment on function jobforge.claim_suspect is 'Give a worker one job that has to run alone.';
