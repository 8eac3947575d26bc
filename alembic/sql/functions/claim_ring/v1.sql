-- Claims up to p_limit jobs of a queue's lanes, walking a ring over the tenants that have work there: a skip scan on the index
-- ready_ring finds the next tenants behind p_after, around the ring's end; each gives an equal share of what is left (by
-- their weights, where they have any), in its own order of priority and age; and again, until the limit is reached or a
-- full circle gave nothing. So a tenant with a million jobs delays another one by one round at most, and 10,000 tenants
-- cost index probes. Tenants that are paused or run as many as they may are steps that give nothing; where paused ones are many
-- they are put aside too, and bring_back has them again.
-- What is deleted before a tenant's first job is not passed each time: heads say where it stands. They are hints, and each
-- session looks in spite of them once a second (less often where that takes more than 50 ms): so a retry, a job of a better
-- priority or one that was committed late, of a tenant with ten thousands of jobs that were deleted since the last vacuum,
-- may be found that much later.
-- What stands before a tenant's jobs and may not run here is put aside, so that it is read once and not by each claim.
create or replace function jobforge.claim_ring(
    p_worker_id uuid, p_queue text, p_lanes text[], p_types text[], p_limit integer, p_after text, p_said boolean, p_limited boolean,
    p_look boolean
) returns table (
    job_id uuid, tenant_id text, queue text, type text, priority smallint, payload text, run integer, attempt integer,
    max_attempts integer, crashes integer, lease_token uuid, claimed_at timestamptz, deadline timestamptz,
    timeout interval, run_at timestamptz, created_at timestamptz, idempotency_key text, parent_id uuid, trace text,
    tenant_token text
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_keys    boolean := exists (select from jobforge.tenant_keys k where k.retired_at is null);
    v_alone   boolean := p_lanes = '{!suspect}';
    v_read    bigint := jobforge.pages_read();
    v_heads   boolean := exists (select from jobforge.heads h where h.queue = p_queue);
    v_all     boolean := p_look and v_heads;  -- a full look, in spite of them
    v_seen    text[] := '{}';      -- the tenants that were visited
    v_chance  bytea := uuid_send(gen_random_uuid());  -- secret: what makes this claim's tokens
    v_left    integer := p_limit;
    v_after   text collate "C";    -- the ring goes on behind this tenant
    v_again   boolean := p_said and random() > p_limit / (  -- smaller claims than a tenant's weight: it has its share in several
                  select l.weight from jobforge.limits l where l.scope = 'tenant' and l.name = p_after)::float8;
    v_page    integer;             -- so many tenants are looked at in one statement
    v_tenants text[];              -- the next ones on the ring
    v_shares  integer[];           -- how many jobs each may give; NULL: as many as any other
    v_met     integer;             -- how many they are
    v_last    text collate "C";    -- and the last of these
    v_wrapped boolean;             -- they pass the ring's end
    v_dry     integer := 0;        -- passages of the ring's end since a job was found
    v_taken   integer;
    v_limited text[] := '{}';      -- of the page those of whom something was said: an index counts their leases
    v_stopped text[];              -- of the page those that give none until somebody says otherwise
    v_steps   integer := 0;        -- how many such were met
    v_short   text[];              -- gave less than they should, in the round before
    v_moved   integer;             -- rows put aside in this round
    v_aside   integer := 0;        -- and by all
    c_none    constant uuid := '00000000-0000-0000-0000-000000000000';
    c_many    constant integer := 100;  -- pages of deleted jobs, before anybody does something about it
begin
    v_heads := v_heads and not v_all;
    v_after := coalesce(p_after, (  -- a random place in a lane that has any: with '' the first tenants would come first, always
        select s.start from (select jobforge.ring_start(p_queue, l.lane, v_heads) as start
                               from (select u.lane from unnest(p_lanes) u (lane) order by random()) l) s
         where s.start <> '' limit 1), '');
    while v_left > 0 loop
        -- where the first page did not give enough many may be stopped or at their limits
        v_page := case when p_said and v_last is not null then greatest(v_left, 100) else v_left end;
        with recursive ring (tenant_id, place, wrapped) as (
            select v_after, 0, false
            union all
            select coalesce(n.tenant_id, f.tenant_id), ring.place + 1, ring.wrapped or n.tenant_id is null
              from ring
             cross join lateral (select min(case when v_heads then jobforge.next_tenant(p_queue, l.lane, ring.tenant_id) else (
                   select r.tenant_id from jobforge.ready r
                    where r.queue = p_queue and r.lane = l.lane and r.tenant_id > ring.tenant_id
                    order by r.tenant_id limit 1) end) from unnest(p_lanes) l (lane)) n (tenant_id)
             cross join lateral (select case when n.tenant_id is null and not ring.wrapped then (
                   select min(case when v_heads then jobforge.next_tenant(p_queue, l.lane, '') else (
                   select r.tenant_id from jobforge.ready r
                    where r.queue = p_queue and r.lane = l.lane
                    order by r.tenant_id limit 1) end) from unnest(p_lanes) l (lane)) end) f (tenant_id)
             where ring.place < v_page and ring.tenant_id is not null
               and not (ring.wrapped and ring.tenant_id >= v_after)
        )
        select array_agg(m.tenant_id order by m.place) filter (where m.met), count(*) filter (where m.met),
               (array_agg(m.tenant_id order by m.place desc) filter (where m.met))[1], bool_or(m.wrapped)
          into v_tenants, v_met, v_last, v_wrapped
          from (select ring.*, ring.tenant_id is not null and not (ring.wrapped and ring.tenant_id > v_after) as met
                  from ring where ring.place > 0) m;
        if v_again then
            v_tenants := p_after || array_remove(v_tenants, p_after);
            v_met := cardinality(v_tenants);
            v_again := false;
        end if;
        exit when v_met = 0;  -- nobody has work here
        v_moved := 0;
        if v_short is not null then
            v_moved := jobforge.put_aside(p_queue, p_lanes, v_short, p_types, 1000, not v_heads);
            v_short := null;
        end if;
        if p_said then
            select s.tenants, s.shares, coalesce(s.last, v_last), s.stopped, s.limited
              into v_tenants, v_shares, v_last, v_stopped, v_limited
              from jobforge.shares(v_tenants, v_left) s;
            v_steps := v_steps + coalesce(cardinality(v_stopped), 0);
            if v_steps > 20 and v_stopped is not null then  -- a few may stay: each is a probe
                v_moved := v_moved + jobforge.put_aside(p_queue, p_lanes, v_stopped, p_types, 1000, not v_heads, '!stopped');
            end if;
        end if;

        return query
        with clock as materialized (  -- behind the snapshot: a run begins after what it sees has ended
            select jobforge.now() as now
        ), visit as materialized (  -- a coalesce in its place would keep the comparison of a head out of the index
            select t.tenant_id, t.place, coalesce(t.share, greatest(v_left / v_met, 1)) as share, l.lane,
                   coalesce(h.priority, -32768)::smallint as priority, coalesce(h.job_id, c_none) as job_id
              from unnest(v_tenants, v_shares) with ordinality t (tenant_id, share, place)
             cross join unnest(p_lanes) l (lane)
              left join lateral (select * from jobforge.heads h
                     where v_heads and h.queue = p_queue and h.lane = l.lane and h.tenant_id = t.tenant_id) h on true
        ), picked as materialized (
            select p.*, t.place, t.share, row_number() over (partition by t.place order by p.priority, p.job_id) as rank
              from visit t
             cross join lateral (
                   select r.ctid, r.job_id, r.type, r.queue, r.tenant_id, r.priority, r.run, r.attempt, r.crashes
                     from jobforge.ready r
                    where r.queue = p_queue and r.lane = t.lane and r.tenant_id = t.tenant_id
                      and (r.priority, r.job_id) >= (t.priority, t.job_id)
                      and (not v_alone or (r.type = any (p_types) and not exists (  -- who waits in line keeps no other suspect
                           select from jobforge.jobs j where j.id = r.job_id and j.ordering_key is not null
                              and jobforge.waits_in_line(r.tenant_id, j.ordering_key, r.job_id))))
                    order by r.priority, r.job_id
                    limit t.share
                      for update skip locked) p
        ), claimed as materialized (
            select p.*, j.payload, j.max_attempts, j.timeout, j.run_at, j.created_at, j.idempotency_key, j.parent_id,
                   j.trace, j.ordering_key,
                   -- nobody can guess one from another; a gen_random_uuid() for each took 1 to 3 us, for this asks the system once
                   encode(substr(sha256(v_chance || uuid_send(p.job_id)), 1, 16), 'hex')::uuid as token,
                   -- the worker ends a run at its timeout; the lease ends a minute later, should it not
                   clock.now + coalesce(j.timeout, interval '1 hour') + interval '1 minute' as deadline, clock.now
              from picked p join jobforge.jobs j on j.id = p.job_id cross join clock
             where p.rank <= p.share and p.type = any (p_types)
               and (j.ordering_key is null or not jobforge.waits_in_line(p.tenant_id, j.ordering_key, p.job_id))
        ), leased as (
            insert into jobforge.leases (job_id, tenant_id, queue, type, limited, token, worker_id, run, attempt, crashes,
                                         claimed_at, deadline)
            select c.job_id, c.tenant_id, c.queue, c.type, p_limited or c.tenant_id = any (v_limited), c.token,
                   p_worker_id, c.run + 1, c.attempt + 1, c.crashes, c.now, c.deadline
              from claimed c where c.ordering_key is null
        -- two of one line: who was claimed first runs, and the other stays where it is. Apart from the rest, for an insert
        -- that minds conflicts logs each row twice
        ), in_line as (
            insert into jobforge.leases (job_id, tenant_id, queue, type, ordering_key, limited, token, worker_id, run, attempt,
                                         crashes, claimed_at, deadline)
            select c.job_id, c.tenant_id, c.queue, c.type, c.ordering_key,
                   p_limited or c.tenant_id = any (v_limited), c.token,
                   p_worker_id, c.run + 1, c.attempt + 1, c.crashes, c.now, c.deadline
              from claimed c where c.ordering_key is not null
            on conflict do nothing returning job_id
        ), given as materialized (
            select * from claimed c where c.ordering_key is null or c.job_id in (select i.job_id from in_line i)
        ), gone as (  -- by place: the rows are locked, and nothing ever updates them
            delete from jobforge.ready r where r.ctid = any (array(select g.ctid from given g))
        ), spent as (
            update jobforge.limits l set bucket = jobforge.tokens_of(l) - t.taken, refilled_at = jobforge.now()
              from (select g.tenant_id, count(*) as taken from given g where g.tenant_id = any (v_limited) group by g.tenant_id) t
             cross join lateral (select r.ctid from jobforge.limits r  -- by a probe each: a join would read all rows
                                  where r.scope = 'tenant' and r.name = t.tenant_id and r.rate is not null limit 1) r
             where l.ctid = r.ctid
        )
        select g.job_id, g.tenant_id, g.queue, g.type, g.priority, g.payload::text, g.run + 1, g.attempt + 1,
               g.max_attempts, g.crashes, g.token, g.now, g.deadline, g.timeout, g.run_at, g.created_at,
               g.idempotency_key, g.parent_id, g.trace::text,
               case when v_keys then jobforge.new_token(g.tenant_id, g.deadline) end
          from given g order by g.place, g.priority, g.job_id;
        get diagnostics v_taken = row_count;
        if not v_alone and v_taken = 0 then
            v_moved := v_moved + jobforge.put_aside(p_queue, p_lanes, v_tenants, p_types, 1000, not v_heads);
        elsif not v_alone and v_taken < v_left then
            v_short := v_tenants;  -- if there still is work: most often there is none
        end if;
        v_seen := v_seen || v_tenants;
        v_left := v_left - v_taken;
        v_aside := v_aside + v_moved;
        v_after := v_last;
        v_dry := case when v_taken > 0 then 0 else v_dry end + v_wrapped::integer;
        -- a full circle without a job: these were all there are, or the ring's end came by often enough
        exit when v_taken = 0 and v_moved = 0 and (v_met < v_page or v_dry >= 3);
        exit when v_aside >= case when v_left < p_limit then 1000 else 5000 end;  -- the next claim goes on
    end loop;
    -- a step reads some ten pages, a job three; and what mark_heads leaves as it is
    if v_all or jobforge.pages_read() - v_read > c_many + 60 * cardinality(v_seen) + 4 * (p_limit - v_left) then
        perform jobforge.mark_heads(p_queue, p_lanes, v_seen, v_all);
    end if;
end
$$;

comment on function jobforge.claim_ring is 'Claim jobs of a queue''s lanes, fairly over the tenants.';
