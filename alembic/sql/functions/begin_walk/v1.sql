-- Takes one of prune's walks, until commit. Gives where to go on, and before which id all is too young to look at; no row
-- where somebody else walks, or the last walk began less than a minute ago: what it met and is still kept would be met again.
create or replace function jobforge.begin_walk(
    p_walk text, p_kinds text[], p_anew boolean
) returns table (behind uuid, before uuid)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now    timestamptz := jobforge.now();
    v_keep   interval := (select min(r.keep) from jobforge.retention r where r.kind = any (p_kinds));
    v_behind uuid;
    c_start  constant uuid := '00000000-0000-0000-0000-000000000000';
begin
    select p.behind into v_behind from jobforge.pruning p
     where p.walk = p_walk and (p_anew or p.behind <> c_start or p.began_at < v_now - interval '1 minute')
       for update skip locked;
    if not found then
        return;
    end if;
    if p_anew or v_behind = c_start then
        v_behind := c_start;
        update jobforge.pruning p set began_at = v_now where p.walk = p_walk;
    end if;
    return query
        select v_behind, case when v_keep is null then c_start  -- nothing ever leaves
                              else jobforge.new_job_id(greatest(v_now - v_keep, timestamptz '1970-01-01 00:00+00')) end;
end
$$;

comment on function jobforge.begin_walk is 'Take one of prune''s walks.';
