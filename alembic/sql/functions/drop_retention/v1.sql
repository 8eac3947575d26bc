-- A type is kept as long as all others again. Answers what was said of it, if anything was.
create or replace function jobforge.drop_retention(p_kind text, p_type text) returns setof jobforge.retention
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    delete from jobforge.newest n where n.state = p_kind and n.type = p_type;
    delete from jobforge.retention r where r.kind = p_kind and r.type = nullif(p_type, '') returning *
$$;

grant execute on function jobforge.drop_retention to jobforge_admin;
comment on function jobforge.drop_retention is 'Keep a type as long as all others again.';
