-- Closed by default; the default privileges are closed by every migration, see privileges.sql.
revoke all on schema jobforge from public;
grant usage on schema jobforge to jobforge_app, jobforge_worker, jobforge_admin;

-- Alembic has made this one a moment ago. Migrations read it as jobforge_owner, everybody else by schema_version().
alter table jobforge.alembic_version enable row level security;
alter table jobforge.alembic_version force row level security;
create policy alembic_version_owner on jobforge.alembic_version to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
