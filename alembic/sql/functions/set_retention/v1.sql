-- Says how long a kind is kept, of every type or of one. NULL is for ever. Holds for what is there already, from the next
-- walk of prune on.
create or replace function jobforge.set_retention(p_kind text, p_keep interval, p_type text default null)
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
    return query
        insert into jobforge.retention (kind, type, keep) values (p_kind, coalesce(p_type, ''), p_keep)
        on conflict (kind, type) do update set keep = excluded.keep
        returning *;
end
$$;

grant execute on function jobforge.set_retention to jobforge_admin;
comment on function jobforge.set_retention is 'Say how long a kind is kept, of every type or of one.';
