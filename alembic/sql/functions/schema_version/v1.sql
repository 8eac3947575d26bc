-- The revision this schema stands at, and the oldest revision whose code it still serves: what a client compares
-- with its own before it trusts the contract. And whether tenants are taken at their word (plain) or need a token.
create or replace function jobforge.schema_version() returns table (revision text, serves text, tenancy text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
        select v.version_num::text, '0002'::text, coalesce((select s.tenancy from jobforge.settings s), 'signed')
          from jobforge.alembic_version v;
end
$$;

grant execute on function jobforge.schema_version() to jobforge_app, jobforge_worker, jobforge_admin;
comment on function jobforge.schema_version() is 'This schema''s revision, and the oldest code it serves.';
