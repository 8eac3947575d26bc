-- How many jobs of a tenant, a queue or a task run. Leases that were claimed when something was said of it are marked, and
-- an index has them; those from before it was said are looked for among all, until there can be none (budget).
-- Behind a held snapshot those that have ended stay in the index. Whoever holds the lock of the limit (p_locked) and has passed
-- many notes in its session which ones run, and up to where that is all: a claim of this limit needs the lock, so those that
-- come later come behind. Later counts look at the noted ones, and behind; exact as ever.
--   p_before  running_before, for who asks for many
create or replace function jobforge.running_of(
    p_limit jobforge.limits, p_before jsonb default null, p_locked boolean default false
) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_index   regclass := ('jobforge.leases_of_' || p_limit.scope)::regclass;
    v_name    text := p_limit.scope || ' ' || p_limit.name;
    v_all     jsonb := coalesce(nullif(current_setting('jobforge.runs', true), ''), '{}');
    v_from    bigint := case when p_limit.counted then (v_all -> v_name ->> 'from')::bigint end;
    v_runs    bigint[];
    v_last    bigint := (select s.last_value from jobforge.leases_nth s);  -- before they are counted
    v_passed  bigint := pg_stat_get_xact_tuples_returned(v_index) - pg_stat_get_xact_tuples_fetched(v_index);
    c_names   constant integer := 100;
    c_runs    constant integer := 500;
begin
    v_from := case when v_from <= v_last then v_from end;  -- where numbers begin anew after a restore a note is worth nothing
    if v_from is not null then
        v_runs := array(select jsonb_array_elements_text(v_all -> v_name -> 'runs')::bigint);
    end if;
    v_runs := jobforge.runs_of(p_limit.scope, p_limit.name, coalesce(v_from, 0), v_runs);
    v_passed := pg_stat_get_xact_tuples_returned(v_index) - pg_stat_get_xact_tuples_fetched(v_index) - v_passed;
    if p_locked and p_limit.counted and v_passed > 50 and cardinality(v_runs) <= c_runs then
        if (select count(*) from jsonb_object_keys(v_all)) > c_names then
            v_all := '{}';
        end if;
        perform set_config('jobforge.runs', (v_all || jsonb_build_object(v_name, jsonb_build_object('from', v_last, 'runs', to_jsonb(v_runs))))::text,
                           false);
    end if;
    if not p_limit.counted then
        return cardinality(v_runs)
               + coalesce((coalesce(p_before, jobforge.running_before(p_limit.scope)) ->> p_limit.name)::integer, 0);
    end if;
    return cardinality(v_runs);
end
$$;

comment on function jobforge.running_of is 'How many jobs of a tenant, a queue or a task run.';
