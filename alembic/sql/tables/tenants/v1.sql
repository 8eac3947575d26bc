-- What an administrator has said of a tenant. A tenant of whom nothing was said has no row, and pays nothing.
create table jobforge.tenants (
    tenant_id   text collate "C" primary key,
    paused_at   timestamptz,      -- claims pass it over
    max_waiting integer           -- so many jobs may be scheduled or queued
);
create index tenants_paused on jobforge.tenants (tenant_id) where paused_at is not null;

-- as in jobs: no guess of the planner spells a name
alter table jobforge.tenants alter tenant_id set statistics 0;

alter table jobforge.tenants enable row level security;
alter table jobforge.tenants force row level security;
create policy tenants_owner on jobforge.tenants to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy tenants_tenant on jobforge.tenants for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy tenants_wall on jobforge.tenants as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy tenants_admin on jobforge.tenants for select to jobforge_admin using (true);

grant select on jobforge.tenants to jobforge_app, jobforge_admin;
comment on table jobforge.tenants is 'Tenants that are paused or have a quota.';
