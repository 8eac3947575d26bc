-- Lets go of a walk at commit. The next call goes on behind the last that is due, where those were p_limit; else behind
-- the last that was met, where those were p_look; else the walk is over. Answers whether it goes on.
create or replace function jobforge.end_walk(
    p_walk text, p_met uuid[], p_look integer, p_due uuid[], p_limit integer
) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_behind uuid := case when cardinality(p_due) >= p_limit then p_due[p_limit]
                          when cardinality(p_met) >= p_look then p_met[p_look] end;
begin
    update jobforge.pruning p set behind = coalesce(v_behind, '00000000-0000-0000-0000-000000000000')
     where p.walk = p_walk;
    return v_behind is not null;
end
$$;

comment on function jobforge.end_walk is 'Let go of one of prune''s walks.';
