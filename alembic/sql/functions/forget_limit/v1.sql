-- Of whom nothing is said any more there is no row.
create or replace function jobforge.forget_limit(p_scope text, p_name text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from jobforge.limits l
     where l.scope = p_scope and l.name = p_name
       and num_nonnulls(l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting) = 0;
end
$$;

comment on function jobforge.forget_limit is 'Delete the row of whom nothing is said any more.';
