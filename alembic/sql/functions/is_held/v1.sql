-- Whether claims give nothing of a tenant, a queue or a task for now: it is paused, runs as many as it may, or its bucket is
-- empty. A look, without the locks of a claim (budget).
create or replace function jobforge.is_held(p_scope text, p_name text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (
        select from jobforge.limits l
         where l.scope = p_scope and l.name = p_name
           and (l.paused_at is not null or (l.rate is not null and jobforge.tokens_of(l) < 1)
                or (l.max_running is not null and jobforge.running_of(l) >= l.max_running)));
end
$$;

comment on function jobforge.is_held is 'Whether claims give nothing of a tenant, a queue or a task for now.';
