-- The lanes of a queue that a worker of these types walks as one: the main one, that of jobs whose turn has come, and of its
-- types those that have jobs aside. Where a lane has heads what was deleted before them is not passed here either, but when
-- a session looks in spite of them (p_look).
create or replace function jobforge.lanes_of(p_queue text, p_types text[], p_look boolean) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if not p_look and exists (select from jobforge.heads h where h.queue = p_queue and h.lane > '!suspect') then
        return '{!main}' || array(
            select distinct t.type from unnest('{!turn}' || p_types) t (type) where jobforge.next_tenant(p_queue, t.type, '') is not null);
    end if;
    -- one probe where nothing stands aside, and then one for each type
    if not exists (select from jobforge.ready r where r.queue = p_queue and r.lane > '!suspect') then
        return '{!main}';
    end if;
    return '{!main}' || array(
        select distinct t.type from unnest('{!turn}' || p_types) t (type)
         where exists (select from jobforge.ready r where r.queue = p_queue and r.lane = t.type));
end
$$;

comment on function jobforge.lanes_of is 'The lanes of a queue that a worker of some types walks.';
