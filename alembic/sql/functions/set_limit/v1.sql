-- Changes what is said of a tenant, a queue or a task: the keys that p_change has, and NULL takes one away.
--   max_running  so many of its jobs run at a time, 0 to 1000000
--   rate, burst  so many of its runs begin in a second (more than 0, up to 1000000, 0.1: one in ten seconds), and so many at
--                once after a while without; without a burst what comes in a second, one at least. It goes with the rate
--   weight       of a tenant: so many times the share of one without, 1 to 100
--   max_waiting  of a tenant: so many of its jobs may be scheduled or queued, 0 to 10000000; what waits already stays
-- A new rate finds its bucket full. Holds for every claim that begins after this is committed.
create or replace function jobforge.set_limit(p_scope text, p_name text, p_change jsonb) returns setof jobforge.limits
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_allowed text[] := '{max_running, rate, burst}'::text[]
                        || case when p_scope = 'tenant' then '{weight, max_waiting}'::text[] end;
    v_limit   jobforge.limits;
    v_new     jobforge.limits;
    v_fault   text;
begin
    perform jobforge.check_scope(p_scope, p_name);
    if jsonb_typeof(p_change) is distinct from 'object' or p_change = '{}' then
        v_fault := 'the change must be a JSON object that says something';
    else
        v_fault := (
            select case when k.key <> all (v_allowed) then format('a %s has no limit %s', p_scope, quote_literal(left(k.key, 50)))
                        else format('%s must be a number or null', k.key) end
              from jsonb_each(p_change) k (key, value)
             where k.key <> all (v_allowed) or jsonb_typeof(k.value) not in ('number', 'null') limit 1);
    end if;
    if v_fault is null then
        v_fault := (select case
            when (p_change ->> 'max_running')::numeric not between 0 and 1000000 then 'max_running must be between 0 and 1000000'
            when (p_change ->> 'rate')::numeric not between 0.000001 and 1000000
                then 'rate must be more than 0 and at most 1000000 runs a second'
            when (p_change ->> 'burst')::numeric not between 1 and 1000000 then 'burst must be between 1 and 1000000'
            when (p_change ->> 'weight')::numeric not between 1 and 100 then 'weight must be between 1 and 100'
            when (p_change ->> 'max_waiting')::numeric not between 0 and 10000000 then 'max_waiting must be between 0 and 10000000'
            when exists (select from jsonb_each_text(p_change) k
                          where k.key <> 'rate' and k.value::numeric <> trunc(k.value::numeric))
                then 'all but the rate are whole numbers'
        end);
    end if;
    if v_fault is not null then
        raise exception 'jobforge: %', v_fault
            using errcode = 'JF003',
                  hint = format('Of a %s: %s; null takes a limit away. Nothing was changed.', p_scope, array_to_string(v_allowed, ', '));
    end if;

    insert into jobforge.limits (scope, name, refilled_at) values (p_scope, p_name, jobforge.now()) on conflict do nothing;
    select * into v_limit from jobforge.limits l where l.scope = p_scope and l.name = p_name for update;
    v_new := jsonb_populate_record(v_limit, case when p_change -> 'rate' = 'null' then '{"burst": null}' else '{}' end::jsonb
        || (select jsonb_object_agg(k.key, trim_scale(k.value::numeric)) from jsonb_each_text(p_change) k));  -- 5.0 is 5
    if v_new.burst is not null and v_new.rate is null then
        raise exception 'jobforge: a burst needs a rate'
            using errcode = 'JF003', hint = 'Give the rate too. Nothing was changed.';
    end if;
    v_new.bucket := case when v_new.rate is null then 0
                         when v_limit.rate is null then coalesce(v_new.burst, greatest(ceil(v_new.rate), 1))
                         else jobforge.tokens_of(v_limit) end;
    return query
        update jobforge.limits l
           set max_running = v_new.max_running, rate = v_new.rate, burst = v_new.burst, weight = v_new.weight,
               max_waiting = v_new.max_waiting, bucket = v_new.bucket, refilled_at = jobforge.now(),
               -- nobody has counted meanwhile, and claims have not waited for each other: anew, as with a new one
               since = case when v_limit.max_running is not null then l.since end,
               settled_xid = case when v_limit.max_running is not null then l.settled_xid end,
               counted = l.counted and v_limit.max_running is not null
         where l.scope = p_scope and l.name = p_name returning l.*;
    perform jobforge.forget_limit(p_scope, p_name);
    perform jobforge.bring_back(p_name, 10000) where p_scope = 'tenant';  -- upkeep brings the others
    perform jobforge.wake_all();
end
$$;

comment on function jobforge.set_limit is 'Change what is said of a tenant, a queue or a task.';
