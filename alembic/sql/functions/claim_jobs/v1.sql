-- Gives a worker up to p_limit jobs of its queues and types, each with a lease; fairly over the tenants, as claim_lane says.
--   p_queue_limits  at most so many of each queue, beside p_limit for all
--   p_cursors       per queue the tenant after which to go on
--   p_alive         the worker lives so long without a heartbeat
-- Suspects, which may have killed their last workers, are passed over: claim_suspect has them. READ COMMITTED only.
create or replace function jobforge.claim_jobs(
    p_worker_id    uuid,
    p_queues       text[],
    p_types        text[],
    p_limit        integer   default 10,
    p_queue_limits integer[] default null,
    p_cursors      text[]    default null,
    p_alive        interval  default '30 seconds'
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
    return query select * from jobforge.claim_lane(
        false, p_worker_id, p_queues, p_types, p_limit, p_queue_limits, p_cursors, p_alive);
end
$$;

grant execute on function jobforge.claim_jobs to jobforge_worker;
comment on function jobforge.claim_jobs is 'Give a worker jobs with leases, fairly over the tenants.';
