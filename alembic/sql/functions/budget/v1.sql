-- How many jobs of each of these tenants, queues or tasks a claim may take now, of whom something was said; NULL: as many
-- as it likes. stopped: none, until somebody says otherwise. Who is held by another claim has 0 for now: nobody waits, and
-- two never count the same runs. The rows stay locked until the claim is committed; so what the next one counts, in a
-- statement of its own, has its leases in it. Who can have none in any case is not locked.
create or replace function jobforge.budget(p_scope text, p_names text[])
returns table (name text, budget integer, weight integer, stopped boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    -- each by a probe, of most of whom nothing was said: "in any of these" would be a filter behind all rows of the scope
    v_said   text[] := array(select n.name from unnest(p_names) n (name) cross join lateral (
                             select from jobforge.limits l where l.scope = p_scope and l.name = n.name limit 1) l);
    v_held   text[];
    v_unsure text[];  -- there may be leases that are not marked
    v_before jsonb := '{}';  -- how many of each such: read once for all of them, for no index has these
    v_xmin   bigint;
begin
    if v_said = '{}' then
        return;
    end if;
    v_held := array(
        select n.name from unnest(v_said) n (name) cross join lateral (
               select from jobforge.limits l
                where l.scope = p_scope and l.name = n.name and l.paused_at is null
                  and (l.max_running > 0 or l.rate is not null) and (l.rate is null or jobforge.tokens_of(l) >= 1)
                  for update skip locked) l);
    v_unsure := array(
        select n.name from unnest(v_held) n (name) cross join lateral (
               select from jobforge.limits l
                where l.scope = p_scope and l.name = n.name and l.max_running is not null and not l.counted limit 1) l);
    if v_unsure <> '{}' then
        -- A claim that did not know of the limit may still commit leases that are not marked. A minute later it has ended
        -- or has an xid, for it has written them; once all who had one by then have ended, what it left can be seen.
        update jobforge.limits l set since = jobforge.now()
         where l.scope = p_scope and l.name = any (v_unsure) and l.since is null;
        update jobforge.limits l set settled_xid = pg_current_xact_id()::text::bigint
         where l.scope = p_scope and l.name = any (v_unsure) and l.settled_xid is null
           and l.since < jobforge.now() - interval '1 minute' - (clock_timestamp() - now());  -- when this xid was not yet given
        v_xmin := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;  -- before they are counted
        v_before := jobforge.running_before(p_scope);
        update jobforge.limits l set counted = true
         where l.scope = p_scope and l.name = any (v_unsure) and l.settled_xid <= v_xmin and not v_before ? l.name;
    end if;
    return query
        select n.name, l.*
          from unnest(v_said) n (name) cross join lateral (
               select case when l.paused_at is not null then 0
                           when l.max_running is null and l.rate is null then null
                           when l.name <> all (v_held) then 0
                           else greatest(0, least(
                               l.max_running - case when l.max_running is not null then jobforge.running_of(l, v_before, true) end,
                               case when l.rate is not null then floor(jobforge.tokens_of(l)) end))::integer
                      end,
                      coalesce(l.weight, 1), l.paused_at is not null or coalesce(l.max_running = 0, false)
                 from jobforge.limits l where l.scope = p_scope and l.name = n.name limit 1) l;
end
$$;

comment on function jobforge.budget is 'How many jobs of a tenant, a queue or a task a claim may take now.';
