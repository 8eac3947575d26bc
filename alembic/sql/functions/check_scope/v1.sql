-- Refuses what cannot be the name of a tenant, a queue or a task.
create or replace function jobforge.check_scope(p_scope text, p_name text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_scope = 'tenant' then
        perform jobforge.check_tenant(p_name);
    elsif p_name is null or p_name !~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$' or length(p_name) > 100 then
        raise exception 'jobforge: a % has 1 to 100 of A-Z a-z 0-9 _ . : - and does not begin with . : -', p_scope
            using errcode = 'JF003', hint = 'Pass the name as it was enqueued: jobforge queues, jobforge jobs list.';
    end if;
end
$$;

comment on function jobforge.check_scope is 'Raises JF003 for what cannot be a tenant, a queue or a task.';
