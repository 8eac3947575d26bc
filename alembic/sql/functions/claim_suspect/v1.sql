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
as $$
begin
    -- a wrapper around both would cost each claim of jobs 20 to 30 us: up to five of a hundred
    return query select * from jobforge.claim_jobs(p_worker_id, p_queues, p_types, p_alive => p_alive, p_suspect => true);
end
$$;

grant execute on function jobforge.claim_suspect to jobforge_worker;
comment on function jobforge.claim_suspect is 'Give a worker one job that has to run alone.';
