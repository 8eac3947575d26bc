-- Gives a worker up to p_limit jobs of its queues and types, each with a lease. Per queue it walks a ring over the
-- tenants that have work: a skip scan on (queue, suspect, tenant_id, ...) finds the next tenants behind the cursor, around
-- the ring's end; each gives an equal share of what is left, in its own order of priority and age; and again, until the
-- limit is reached or a full circle gave nothing. So a tenant with a million jobs delays another one by one round at
-- most, and 10,000 tenants cost index probes.
--   p_queue_limits  at most so many of each queue, beside p_limit for all
--   p_cursors       per queue the tenant after which to go on: the tenant of the last row that the previous claim
--                   returned for that queue. NULL: a random place.
--   p_alive         the worker lives so long without a heartbeat
--   p_suspect       one of those that run alone, in place of all others: for claim_suspect, which has its words
-- Paused tenants are steps on the ring that give nothing. Fewer rows than asked for: nothing more can be claimed now
-- (unless 10,000 jobs came due since the last claim). The payload comes as text, so that a payload that one language
-- cannot decode spoils that job only. Where there is a tenant key each job comes with a token of its tenant, good for as
-- long as the lease: before tenancy is signed too, so that nothing that runs then fails by the switch. READ COMMITTED
-- only: above it SKIP LOCKED turns into 40001.
create or replace function jobforge.claim_jobs(
    p_worker_id    uuid,
    p_queues       text[],
    p_types        text[],
    p_limit        integer   default 10,
    p_queue_limits integer[] default null,
    p_cursors      text[]    default null,
    p_alive        interval  default '30 seconds',
    p_suspect      boolean   default false
) returns table (
    job_id uuid, tenant_id text, queue text, type text, priority smallint, payload text, run integer, attempt integer,
    max_attempts integer, crashes integer, lease_token uuid, claimed_at timestamptz, deadline timestamptz,
    timeout interval, run_at timestamptz, created_at timestamptz, idempotency_key text, parent_id uuid, trace text,
    tenant_token text
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
-- a hot table that was empty at its last ANALYZE is taken for tiny: 89 ms a claim instead of 4 was seen. So the plan
-- is pinned to ordered probes of indexes; they also mark the dead entries that they pass, which a bitmap never does
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off  -- the price of what is switched off looks like a large query: 300 ms of compiling were seen
set plan_cache_mode = force_generic_plan  -- a claim of 10 spent a third of its time on planning the ring anew
as $$
#variable_conflict use_column
declare
    v_now     timestamptz;
    v_keys    boolean := exists (select from jobforge.tenant_keys k where k.retired_at is null);
    v_paused  boolean := exists (select from jobforge.tenants t where t.paused_at is not null);
    v_suspect boolean := coalesce(p_suspect, false);
    v_limit   integer := case when v_suspect then 1 else p_limit end;  -- what is left for all queues
    v_left    integer;             -- what is left for this queue
    v_after   text collate "C";    -- the ring goes on behind this tenant
    v_tenants text[];              -- the next ones on it, without those that are paused
    v_met     integer;             -- how many they are with them
    v_last    text collate "C";    -- and the last of these
    v_wrapped boolean;             -- they pass the ring's end
    v_dry     integer;             -- passages of the ring's end since a job was found
    v_taken   integer;
begin
    perform jobforge.check_claim(p_worker_id, p_queues, p_types, p_limit, p_alive);
    perform jobforge.keep_alive(p_worker_id, p_alive);
    for i in 1 .. 10 loop  -- other queues' jobs may stand before ours
        exit when jobforge.promote_due(1000) < 1000;
    end loop;
    v_now := jobforge.now();  -- behind what was due: no run begins before its job was to run

    for i in 1 .. coalesce(cardinality(p_queues), 0) loop
        v_left := least(v_limit, coalesce(p_queue_limits[i], v_limit));
        v_after := coalesce(p_cursors[i], jobforge.ring_start(p_queues[i], v_suspect));
        v_dry := 0;
        while v_left > 0 loop
            with recursive ring (tenant_id, place, wrapped) as (
                select v_after, 0, false
                union all
                select coalesce(n.tenant_id, f.tenant_id), ring.place + 1, ring.wrapped or n.tenant_id is null
                  from ring
                 cross join lateral (select (
                       select r.tenant_id from jobforge.ready r
                        where r.queue = p_queues[i] and r.suspect = v_suspect and r.tenant_id > ring.tenant_id
                        order by r.tenant_id limit 1)) n (tenant_id)
                 cross join lateral (select case when n.tenant_id is null and not ring.wrapped then (
                       select r.tenant_id from jobforge.ready r
                        where r.queue = p_queues[i] and r.suspect = v_suspect
                        order by r.tenant_id limit 1) end) f (tenant_id)
                 where ring.place < v_left and ring.tenant_id is not null
                   and not (ring.wrapped and ring.tenant_id >= v_after)
            )
            select array_agg(m.tenant_id order by m.place) filter (where m.met and not (v_paused and exists (
                       select from jobforge.tenants t where t.tenant_id = m.tenant_id and t.paused_at is not null))),
                   count(*) filter (where m.met),
                   (array_agg(m.tenant_id order by m.place desc) filter (where m.met))[1], bool_or(m.wrapped)
              into v_tenants, v_met, v_last, v_wrapped
              from (select ring.*, ring.tenant_id is not null and not (ring.wrapped and ring.tenant_id > v_after) as met
                      from ring where ring.place > 0) m;
            exit when v_met = 0;  -- nobody has work here

            return query
            with picked as materialized (
                select p.*, t.place
                  from unnest(v_tenants) with ordinality as t (tenant_id, place)
                 cross join lateral (
                       select r.ctid, r.job_id, r.type, r.queue, r.tenant_id, r.priority, r.run, r.attempt, r.crashes
                         from jobforge.ready r
                        where r.queue = p_queues[i] and r.suspect = v_suspect and r.tenant_id = t.tenant_id
                          and r.type = any (p_types)
                        order by r.priority, r.job_id
                        limit greatest(v_left / cardinality(v_tenants), 1)
                          for update skip locked) p
            ), gone as (  -- by place: the rows are locked, and nothing ever updates them
                delete from jobforge.ready r where r.ctid = any (array(select p.ctid from picked p))
            ), claimed as materialized (
                select p.*, j.payload, j.max_attempts, j.timeout, j.run_at, j.created_at, j.idempotency_key, j.parent_id,
                       j.trace, gen_random_uuid() as token,
                       -- the worker ends a run at its timeout; the lease ends a minute later, should it not
                       v_now + coalesce(j.timeout, interval '1 hour') + interval '1 minute' as deadline
                  from picked p join jobforge.jobs j on j.id = p.job_id
            ), leased as (
                insert into jobforge.leases (job_id, tenant_id, token, worker_id, run, attempt, crashes, claimed_at, deadline)
                select c.job_id, c.tenant_id, c.token, p_worker_id, c.run + 1, c.attempt + 1, c.crashes, v_now, c.deadline
                  from claimed c
            )
            select c.job_id, c.tenant_id, c.queue, c.type, c.priority, c.payload::text, c.run + 1, c.attempt + 1,
                   c.max_attempts, c.crashes, c.token, v_now, c.deadline, c.timeout, c.run_at, c.created_at,
                   c.idempotency_key, c.parent_id, c.trace::text,
                   case when v_keys then jobforge.new_token(c.tenant_id, c.deadline) end
              from claimed c order by c.place, c.priority, c.job_id;
            get diagnostics v_taken = row_count;
            v_left := v_left - v_taken;
            v_limit := v_limit - v_taken;
            v_after := v_last;
            v_dry := case when v_taken > 0 then 0 else v_dry end + v_wrapped::integer;
            -- a full circle without a job: these were all there are, or the ring's end came by often enough
            exit when v_taken = 0 and (v_met < v_left or v_dry >= 3);
        end loop;
    end loop;
end
$$;

grant execute on function jobforge.claim_jobs to jobforge_worker;
comment on function jobforge.claim_jobs is 'Give a worker jobs with leases, fairly over the tenants.';
