-- Says how long a kind is kept, of every type or of one. NULL is for ever. Holds for what is there already, from the next
-- walk of prune on.
--   p_newest  of jobs, and beside p_keep: the newest so many of each type, of all tenants together; NULL: any number
create or replace function jobforge.set_retention(
    p_kind text, p_keep interval, p_type text default null, p_newest integer default null
)
returns setof jobforge.retention
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_kind is null or p_kind not in ('succeeded', 'dead', 'canceled', 'result', 'idempotency_key') then
        raise exception 'jobforge: nothing is kept that is called %', coalesce(quote_literal(left(p_kind, 50)), 'NULL')
            using errcode = 'JF003', hint = 'Kinds: succeeded, dead, canceled, result, idempotency_key.';
    end if;
    if not jobforge.check_interval(p_keep, interval '0', interval '36500 days') then
        raise exception 'jobforge: p_keep must be between 0 and 36500 days'
            using errcode = 'JF003', hint = 'NULL keeps it for ever.';
    end if;
    if length(p_type) > 100 or p_type !~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$' then
        raise exception 'jobforge: no job has the type %', quote_literal(left(p_type, 50))
            using errcode = 'JF003', hint = 'NULL stands for every type.';
    end if;
    if p_newest < 1 or (p_newest is not null and p_kind in ('result', 'idempotency_key')) then
        raise exception 'jobforge: p_newest must be 1 or more, and is for succeeded, dead and canceled jobs'
            using errcode = 'JF003', hint = 'Leave it out, or let a p_keep of 0 keep none.';
    end if;
    delete from jobforge.newest n where n.state = p_kind and (p_type is null or n.type = p_type);  -- another number counts
    return query
        insert into jobforge.retention (kind, type, keep, newest) values (p_kind, coalesce(p_type, ''), p_keep, p_newest)
        on conflict (kind, type) do update set keep = excluded.keep, newest = excluded.newest
        returning *;
end
$$;

grant execute on function jobforge.set_retention to jobforge_admin;
comment on function jobforge.set_retention is 'Say how long a kind is kept, of every type or of one.';
