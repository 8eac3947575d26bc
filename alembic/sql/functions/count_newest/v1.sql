-- Counts ended jobs from the newest on, 5 * p_limit in a step, and writes down which one is the last of each state and type
-- that is kept by number: prune_jobs deletes what was enqueued before. A walk begins once a minute and ends after a million:
-- of what is so rare that fewer than its number are among those, little is kept too long. What has succeeded stands in the
-- order of ids among all others; what has failed has an index of its own. Answers whether there is more to count.
create or replace function jobforge.count_newest(p_walk text, p_states text[], p_limit integer, p_anew boolean)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- as in prune_jobs
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
declare
    v_walk  jobforge.pruning;
    v_now   timestamptz := jobforge.now();
    v_jobs  uuid[];
    v_more  boolean;
    c_start constant uuid := '00000000-0000-0000-0000-000000000000';
    c_look  constant integer := 5 * p_limit;
begin
    if not exists (select from jobforge.retention r where r.kind = any (p_states) and r.newest is not null) then
        return false;
    end if;
    select * into v_walk from jobforge.pruning p
     where p.walk = p_walk and (p_anew or p.behind <> c_start or p.began_at < v_now - interval '1 minute')
       for update skip locked;
    if not found then
        return p_anew;  -- somebody else counts
    end if;
    if p_anew or v_walk.behind = c_start then
        v_walk.behind := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
        v_walk.met := 0;
        v_walk.began_at := v_now;
        delete from jobforge.newest n where n.state = any (p_states) and n.counted = 0;  -- nothing of it is left
        update jobforge.newest n set counted = 0 where n.state = any (p_states);
    end if;
    if p_walk = 'newest_succeeded' then
        v_jobs := array(select o.job_id from jobforge.outcomes o where o.job_id < v_walk.behind
                         order by o.job_id desc limit c_look);
    else
        v_jobs := array(select o.job_id from jobforge.outcomes o where o.state in ('dead', 'canceled') and o.job_id < v_walk.behind
                         order by o.job_id desc limit c_look);
    end if;

    with met as (
        select o.job_id, o.state, j.type, case when own.kind is null then every.newest else own.newest end as newest,
               row_number() over (partition by o.state, j.type order by o.job_id desc) as nth
          from unnest(v_jobs) as w (id)
         cross join lateral (select * from jobforge.outcomes e where e.job_id = w.id limit 1) o  -- by key: see meet_jobs
         cross join lateral (select * from jobforge.jobs k where k.id = w.id limit 1) j
          left join jobforge.retention own on own.kind = o.state and own.type = j.type
          left join jobforge.retention every on every.kind = o.state and every.type = ''
         where o.state = any (p_states)
    )
    insert into jobforge.newest as n (state, type, counted, beyond)
    select m.state, m.type, count(*), (array_agg(m.job_id) filter (where m.nth + coalesce(k.counted, 0) = m.newest))[1]
      from met m left join jobforge.newest k on k.state = m.state and k.type = m.type
     where m.newest is not null group by m.state, m.type
    on conflict (state, type) do update
       set counted = n.counted + excluded.counted, beyond = coalesce(excluded.beyond, n.beyond);

    v_walk.met := v_walk.met + cardinality(v_jobs);
    v_more := cardinality(v_jobs) = c_look and v_walk.met < 1000000;
    update jobforge.pruning p
       set behind = case when v_more then v_jobs[c_look] else c_start end, met = v_walk.met, began_at = v_walk.began_at
     where p.walk = p_walk;
    return v_more;
end
$$;

comment on function jobforge.count_newest is 'Find what is too many of what is kept by number.';
