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
    v_alone   boolean := p_lanes = '{!suspect}';
    v_heads   boolean := false;
    v_all     boolean := false;    -- a full look, in spite of them
    v_chance  bytea := uuid_send(gen_random_uuid());  -- secret: what makes this claim's tokens
    v_names   text[];              -- by the heads: whom to visit
    v_lanes   text[];              -- in which lane,
    v_firsts  smallint[];          -- from where on
    v_jobs    uuid[];
    v_places  integer[];           -- and which of the page it is
    v_kept    integer[];           -- which of the page are left
    v_read    bigint;
    v_passed  bigint;              -- entries of the index that were read in vain
    v_mark    boolean;             -- many deleted jobs were passed: it notes where those begin whom it visits
    v_began   timestamptz := clock_timestamp();
    v_behind  boolean := false;    -- of the page some had no share
    v_cut     boolean := false;    -- the page ends before many tenants that have nothing
    v_luck    integer := random() * 1000;
    v_same    boolean := false;    -- the tenants of this page are all, or the next ones: another round goes to them again
    v_mine    text;                -- the session's own place on the ring
    v_said    text;
    v_noted   jsonb;               -- what the claim has met, of each tenant, lane and priority
    v_left    integer := p_limit;
    v_after   text collate "C";    -- the ring goes on behind this tenant
    v_again   boolean := false;
    v_page    integer;             -- so many tenants are looked at in one statement
    v_tenants text[];              -- the next ones on the ring
    v_shares  integer[];           -- how many jobs each may give; NULL: as many as any other
    v_met     integer;             -- how many they are
    v_many    integer;             -- and so many share what is left
    v_last    text collate "C";    -- and the last of these
    v_wrapped boolean;             -- they pass the ring's end
    v_dry     integer := 0;        -- passages of the ring's end since a job was found
    v_taken   integer;
    v_limited text[] := '{}';      -- of the page those of whom something was said: an index counts their leases
    v_stopped text[];              -- of the page those that give none until somebody says otherwise
    v_short   text[];              -- gave less than they should, for something stands there that may not run
    v_steps   integer := 0;        -- how many such were met
    v_moved   integer;             -- rows put aside in this round
    v_aside   integer := 0;        -- and by all
    c_none    constant uuid := '00000000-0000-0000-0000-000000000000';
begin
    -- each query costs a claim of one job a hundredth of its time, be it as small as these: none is asked in vain
    if p_look is not null then
        v_heads := exists (select from jobforge.heads h where h.queue = p_queue);
        v_all := p_look and v_heads;
        v_heads := v_heads and not v_all;
    end if;
    if p_said then
        v_again := random() > p_limit / (  -- smaller claims than a tenant's weight: it has its share in several
            select l.weight from jobforge.limits l where l.scope = 'tenant' and l.name = p_after)::float8;
    end if;
    if v_heads and p_after is null then  -- it goes on where it ended: to begin by chance would pass deleted ones, or idle tenants
        v_mine := 'jobforge.after_' || md5(p_lanes[1] || ' ' || p_queue);
        v_after := nullif(current_setting(v_mine, true), '');
    end if;
    v_after := coalesce(p_after, v_after);
    if v_after is null then
        v_after := coalesce((  -- a random place in a lane that has any: with '' the first tenants would come first, always
            select s.start from (select jobforge.ring_start(p_queue, l.lane, v_heads) as start
                                   from (select u.lane from unnest(p_lanes) u (lane) order by random()) l) s
             where s.start <> '' limit 1), '');
    end if;
    while v_left > 0 loop
        -- where the first page did not give enough many may be stopped or at their limits
        v_page := case when p_said and v_last is not null then greatest(v_left, 100) else v_left end;
        if not v_same then
            v_read := pg_stat_get_xact_blocks_fetched('jobforge.ready_ring'::regclass);
            v_passed := pg_stat_get_xact_tuples_returned('jobforge.ready_ring'::regclass)
                        - pg_stat_get_xact_tuples_fetched('jobforge.ready_ring'::regclass);
            if v_heads then
                select r.tenants, r.met, r.last, r.wrapped, r.cut, r.names, r.lanes, r.priorities, r.jobs, r.places
                  into v_tenants, v_met, v_last, v_wrapped, v_cut, v_names, v_lanes, v_firsts, v_jobs, v_places
                  from jobforge.ring_of(p_queue, p_lanes, v_after, coalesce(v_again, false), v_page) r;
                v_again := false;
            else
                with recursive ring (tenant_id, place, wrapped) as (
                    select v_after, 0, false
                    union all
                    select coalesce(n.tenant_id, f.tenant_id), ring.place + 1, ring.wrapped or n.tenant_id is null
                      from ring
                     cross join lateral (select min((
                           select r.tenant_id from jobforge.ready r
                            where r.queue = p_queue and r.lane = l.lane and r.tenant_id > ring.tenant_id
                            order by r.tenant_id limit 1)) from unnest(p_lanes) l (lane)) n (tenant_id)
                     cross join lateral (select case when n.tenant_id is null and not ring.wrapped then (
                           select min((
                           select r.tenant_id from jobforge.ready r
                            where r.queue = p_queue and r.lane = l.lane
                            order by r.tenant_id limit 1)) from unnest(p_lanes) l (lane)) end) f (tenant_id)
                     where ring.place < v_page and ring.tenant_id is not null
                       and not (ring.wrapped and ring.tenant_id >= v_after)
                )
                select array_agg(m.tenant_id order by m.place) filter (where m.met), count(*) filter (where m.met),
                       (array_agg(m.tenant_id order by m.place desc) filter (where m.met))[1], bool_or(m.wrapped)
                  into v_tenants, v_met, v_last, v_wrapped
                  from (select ring.*, ring.tenant_id is not null and not (ring.wrapped and ring.tenant_id > v_after) as met
                          from ring where ring.place > 0) m;
            end if;
            v_passed := pg_stat_get_xact_tuples_returned('jobforge.ready_ring'::regclass)
                        - pg_stat_get_xact_tuples_fetched('jobforge.ready_ring'::regclass) - v_passed;
            v_mark := not v_alone and (
                v_passed > case when v_heads then 40 + 2 * v_met else 200 + 3 * v_met * cardinality(p_lanes) + 2 * v_left end
                -- those that could be removed cost less: an index has a hundred on a page
                or pg_stat_get_xact_blocks_fetched('jobforge.ready_ring'::regclass) - v_read > 100 + 30 * v_met + v_left);
            if v_again then
                v_tenants := p_after || array_remove(v_tenants, p_after);
                v_met := cardinality(v_tenants);
                v_again := false;
            end if;
        end if;
        exit when v_met = 0;  -- nobody has work here
        v_many := v_met + case when v_cut then 4 else 0 end;  -- others stand behind, and shall have a share too
        v_moved := 0;
        if p_said then
            select s.tenants, s.shares, coalesce(s.last, v_last), s.stopped, s.limited, s.places, s.last is not null
              into v_tenants, v_shares, v_last, v_stopped, v_limited, v_kept, v_behind
              from jobforge.shares(v_tenants, v_left, v_many - v_met) s;
            v_wrapped := v_wrapped and (not v_behind or v_last <= v_after);
            v_steps := v_steps + coalesce(cardinality(v_stopped), 0);
            if v_steps > 20 and v_stopped is not null then  -- a few may stay: each is a probe
                v_moved := jobforge.put_aside(p_queue, p_lanes, v_stopped, p_types, 1000, v_names, v_lanes, v_firsts, v_jobs,
                                              v_mark or v_heads, '!stopped');
            end if;
        end if;

        v_said := set_config('jobforge.noted', '', true);
        return query
        with clock as materialized (  -- behind the snapshot: a run begins after what it sees has ended
            select jobforge.now() as now
        ), visit as materialized (
            select t.tenant_id, t.place, coalesce(t.share, greatest(v_left / v_met, 1)) as share, l.lane,
                   (-32768)::smallint as priority, c_none as job_id, 32767::smallint as upto
              from unnest(v_tenants, v_shares) with ordinality t (tenant_id, share, place)
             cross join unnest(p_lanes) l (lane) where not v_heads
            union all  -- what it does not divide by is given to some of them, by chance: another round passes all of them again
            select w.tenant_id, p.place, coalesce(v_shares[p.place], greatest(v_left / v_many, 1) + (
                   v_left > v_met and (p.place + v_luck) % v_met < v_left % v_met)::integer), w.lane, w.priority, w.job_id, w.priority
              from unnest(v_names, v_lanes, v_firsts, v_jobs, v_places)
                   w (tenant_id, lane, priority, job_id, place)
             cross join lateral (
                   select case when p_said then array_position(v_kept, w.place) else w.place end as place) p
             where v_heads and p.place is not null and (v_left >= v_met or p_said or (p.place + v_luck) % v_met < v_left)
        ), picked as materialized (
            select p.*, t.lane, t.place, t.share, row_number() over (partition by t.place order by p.priority, p.job_id) as rank
              from visit t
             cross join lateral (
                   select r.ctid, r.job_id, r.type, r.queue, r.tenant_id, r.priority, r.run, r.attempt, r.crashes
                     from jobforge.ready r
                    where r.queue = p_queue and r.lane = t.lane and r.tenant_id = t.tenant_id
                      and (r.priority, r.job_id) >= (t.priority, t.job_id) and r.priority <= t.upto
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
            insert into jobforge.leases (job_id, tenant_id, queue, type, limited, nth, token, worker_id, run, attempt, crashes,
                                         claimed_at, deadline)
            select c.job_id, c.tenant_id, c.queue, c.type, p_limited or c.tenant_id = any (v_limited),
                   case when p_limited or c.tenant_id = any (v_limited) then nextval('jobforge.leases_nth') end, c.token,
                   p_worker_id, c.run + 1, c.attempt + 1, c.crashes, c.now, c.deadline
              from claimed c where c.ordering_key is null
        -- two of one line: who was claimed first runs, and the other stays where it is. Apart from the rest, for an insert
        -- that minds conflicts logs each row twice
        ), in_line as (
            insert into jobforge.leases (job_id, tenant_id, queue, type, ordering_key, limited, nth, token, worker_id, run, attempt,
                                         crashes, claimed_at, deadline)
            select c.job_id, c.tenant_id, c.queue, c.type, c.ordering_key,
                   p_limited or c.tenant_id = any (v_limited),
                   case when p_limited or c.tenant_id = any (v_limited) then nextval('jobforge.leases_nth') end, c.token,
                   p_worker_id, c.run + 1, c.attempt + 1, c.crashes, c.now, c.deadline
              from claimed c where c.ordering_key is not null
            on conflict do nothing returning job_id
        ), given as materialized (
            select * from claimed c where c.ordering_key is null or c.job_id in (select i.job_id from in_line i)
        ), gone as (  -- by place: the rows are locked, and nothing ever updates them
            delete from jobforge.ready r where r.ctid = any (array(select g.ctid from given g))
        ), noted as (  -- apart, what only some claims need: a statement of twice the size takes a claim of ten a tenth more time
            select set_config('jobforge.noted', (
                   select json_agg(n)::text from (
                       select p.tenant_id, p.lane, p.priority, count(*) filter (where p.given) as taken,
                              (array_agg(p.job_id order by p.job_id) filter (where not p.given))[1] as kept,
                              (array_agg(p.job_id order by p.job_id desc) filter (where p.given))[1] as last,
                              coalesce(bool_or(not p.given and p.rank <= p.share), false) as short
                         from (select p.*, p.job_id in (select g.job_id from given g) as given from picked p) p
                        group by p.tenant_id, p.lane, p.priority) n), true)
             where v_mark or p_said or (select count(*) from given) < (select count(*) from picked p where p.rank <= p.share)
        )
        select g.job_id, g.tenant_id, g.queue, g.type, g.priority, g.payload::text, g.run + 1, g.attempt + 1,
               g.max_attempts, g.crashes, g.token, g.now, g.deadline, g.timeout, g.run_at, g.created_at,
               g.idempotency_key, g.parent_id, g.trace::text,
               case when exists (select from jobforge.tenant_keys k where k.retired_at is null)
                    then jobforge.new_token(g.tenant_id, g.deadline) end
          from given g where (select count(*) from noted) >= 0 order by g.place, g.priority, g.job_id;
        get diagnostics v_taken = row_count;
        v_noted := nullif(current_setting('jobforge.noted'), '');
        if v_mark then
            if v_passed > 100 + v_met and jobforge.turn_lane() = any (p_lanes) then
                perform nextval('jobforge.turn_lanes');
            end if;
            perform jobforge.mark_heads(p_queue, v_noted, case when v_heads then v_passed / (12.0 * v_met) else 1 end);
        end if;
        if v_limited <> '{}' then
            perform jobforge.spend('tenant', n.tenant_id, sum(n.taken)::integer)
               from jsonb_to_recordset(v_noted) n (tenant_id text, taken integer)
              where n.tenant_id = any (v_limited) group by n.tenant_id;
        end if;
        if v_taken < v_left and not v_alone and (v_taken = 0 or v_noted is not null) then
            v_short := array(select distinct n.tenant_id from jsonb_to_recordset(v_noted) n (tenant_id text, short boolean) where n.short);
            if v_taken = 0 or v_short <> '{}' then  -- others may hold the first jobs of whoever gave none
                v_moved := v_moved + jobforge.put_aside(p_queue, p_lanes, case when v_taken = 0 then v_tenants else v_short end,
                                                        p_types, 1000, v_names, v_lanes, v_firsts, v_jobs, v_mark or v_heads);
            end if;
        end if;
        v_left := v_left - v_taken;
        v_aside := v_aside + v_moved;
        v_after := v_last;
        v_dry := case when v_taken > 0 then 0 else v_dry end + v_wrapped::integer;
        -- a full circle without a job: these were all there are, or the ring's end came by often enough
        exit when v_taken = 0 and v_moved = 0 and not v_same and ((v_met < v_page and not v_cut and not v_behind) or v_dry >= 3);
        -- most often these were all: a probe, and not the whole ring once more
        exit when v_left > 0 and v_taken > 0 and v_met < v_page and not v_heads and not exists (
                  select from jobforge.ready r where r.queue = p_queue and r.lane = any (p_lanes));
        v_same := v_heads and not v_cut and not p_said and v_taken > 0 and v_met < v_page;
        exit when v_aside >= case when v_left < p_limit then 1000 else 5000 end;  -- the next claim goes on
    end loop;
    if v_all then
        perform jobforge.check_heads(p_queue, p_lanes);
    end if;
    if p_look then  -- in any DateStyle
        perform set_config('jobforge.look_' || md5(p_lanes[1] || ' ' || p_queue), extract(epoch from jobforge.next_look(v_began))::text, false);
    elsif v_mine is not null then
        perform set_config(v_mine, v_last, false);
    end if;
end
$$;

comment on function jobforge.claim_ring is 'Claim jobs of a queue''s lanes, fairly over the tenants.';
