-- Lets go of a walk at commit. The next call goes on behind p_behind; NULL: the walk is over. Answers whether it goes on.
create or replace function jobforge.end_walk(p_walk text, p_behind uuid) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update jobforge.pruning p set behind = coalesce(p_behind, '00000000-0000-0000-0000-000000000000') where p.walk = p_walk;
    return p_behind is not null;
end
$$;

comment on function jobforge.end_walk is 'Let go of one of prune''s walks.';
