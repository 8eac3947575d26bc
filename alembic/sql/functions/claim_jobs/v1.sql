-- Gives a worker up to p_limit jobs of its queues and types, each with a lease, fairly over the tenants: claim_ring.
--   p_queue_limits  at most so many of each queue, beside p_limit for all
--   p_cursors       per queue the tenant after which to go on: the tenant of the last row that the previous claim
--                   returned for that queue. NULL: a random place.
--   p_alive         the worker lives so long without a heartbeat
--   p_alone         the worker holds nothing: where there is no other job it gets one that has to run alone (claim_suspect)
-- Limited and paused tasks have a lane of their own, into which claims put what they meet of them; it is walked for as many
-- as may run. So the rest never waits behind them, and who is not limited pays nothing. Fewer rows than asked for: nothing
-- more can be claimed now, unless 10,000 jobs came due or 5,000 were put aside. The payload comes as text, so that a
-- payload that one language cannot decode spoils that job only. Where there is a tenant key each job comes with a token of its
-- tenant, good for as long as the lease: before tenancy is signed too, so that nothing that runs then fails by the
-- switch. READ COMMITTED only: above it SKIP LOCKED turns into 40001.
create or replace function jobforge.claim_jobs(
    p_worker_id    uuid,
    p_queues       text[],
    p_types        text[],
    p_limit        integer   default 10,
    p_queue_limits integer[] default null,
    p_cursors      text[]    default null,
    p_alive        interval  default '30 seconds',
    p_alone        boolean   default false
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
set enable_material = off
set jit = off  -- the price of what is switched off looks like a large query: 300 ms of compiling were seen
set plan_cache_mode = force_generic_plan  -- a claim of 10 spent a third of its time on planning the ring anew
as $$
#variable_conflict use_column
declare
    v_said    boolean;
    v_heads   boolean;
    v_limited text[] := '{}';         -- of its types those that are limited or paused
    v_types   text[] := p_types;      -- and the others
    v_lanes   text[];
    v_left    integer;                -- what is left for all queues
    v_queue   integer;                -- and for this one
    v_budget  integer;
    v_before  integer;
    v_marked  boolean;                -- something was said of the queue
    v_taken   integer;
    v_share   integer;
    v_task    record;
    v_look    boolean;                -- it looks in spite of the heads; NULL: there are none
begin
    perform jobforge.check_claim(p_worker_id, p_queues, p_types, p_limit, p_alive);
    perform jobforge.keep_alive(p_worker_id, p_alive);
    perform jobforge.make_ready();
    select exists (select from jobforge.limits), exists (select from jobforge.heads) or s.last_value > 1
      into v_said, v_heads from jobforge.turn_lanes s;
    if v_said then
        v_limited := array(
            select distinct t.type from unnest(p_types) t (type) cross join lateral (
                   select from jobforge.limits l
                    where l.scope = 'task' and l.name = t.type
                      and (l.paused_at is not null or l.max_running is not null or l.rate is not null) limit 1) l);
        if v_limited <> '{}' then
            v_types := array(select unnest(p_types) except select unnest(v_limited));
        end if;
    end if;
    v_left := p_limit;

    for i in 1 .. coalesce(cardinality(p_queues), 0) loop
        v_queue := least(v_left, p_queue_limits[i]);
        v_marked := false;
        if v_said then
            select least(v_queue, b.budget), true into v_budget, v_marked from jobforge.budget('queue', array[p_queues[i]]) b;
            v_marked := coalesce(v_marked, false);
            v_queue := case when v_marked then v_budget else v_queue end;
        end if;
        continue when v_queue <= 0;
        v_before := v_queue;
        v_look := case when v_heads then jobforge.look_due('!main', p_queues[i]) end;
        v_lanes := jobforge.lanes_of(p_queues[i], p_types, v_look);
        if v_limited <> '{}' then
            v_lanes := array(select unnest(v_lanes) except all select unnest(v_limited));
        end if;
        for v_pass in 1 .. 2 loop  -- limited tasks have their share, all others theirs, and then limited ones what is left
            if v_limited <> '{}' then
                for v_task in
                    select b.name, b.budget, row_number() over (order by random()) as place
                      from jobforge.budget('task', jobforge.lanes_of(p_queues[i], v_limited, v_look)) b
                     where b.budget > 0 order by place desc
                loop
                    exit when v_queue <= 0;
                    -- an equal part for each that is left, and for the rest: of a claim of one job by chance, or the rest
                    -- had none
                    v_share := least(v_task.budget, case v_pass when 1 then floor(v_queue / (v_task.place + 1.0) + random())
                                                                else v_queue end);
                    continue when v_share = 0;
                    return query
                        select * from jobforge.claim_ring(p_worker_id, p_queues[i], array[v_task.name], array[v_task.name],
                                                          v_share, null, v_said, true,
                                                          case when v_heads then jobforge.look_due(v_task.name, p_queues[i]) end);
                    get diagnostics v_taken = row_count;
                    perform jobforge.spend('task', v_task.name, v_taken);
                    v_queue := v_queue - v_taken;
                end loop;
            end if;
            exit when v_pass = 2 or v_queue <= 0;
            return query
                select * from jobforge.claim_ring(p_worker_id, p_queues[i], v_lanes, v_types, v_queue, p_cursors[i], v_said,
                                                  v_marked, v_look);
            get diagnostics v_taken = row_count;
            v_queue := v_queue - v_taken;
            exit when v_limited = '{}';
        end loop;
        v_left := v_left - (v_before - v_queue);
        if v_said then
            perform jobforge.spend('queue', p_queues[i], v_before - v_queue);
        end if;
    end loop;
    if p_alone and v_left = p_limit then
        return query select * from jobforge.claim_alone(p_worker_id, p_queues, p_types, v_said);
    end if;
end
$$;

grant execute on function jobforge.claim_jobs to jobforge_worker;
comment on function jobforge.claim_jobs is 'Give a worker jobs with leases, fairly over the tenants.';
