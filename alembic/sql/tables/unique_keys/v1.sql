-- The one job at a time of each unique key. Nothing takes a key away when its job ends, so that ending costs nothing:
-- whoever comes next with the key finds that the job has ended, and puts its own in its place.
create table jobforge.unique_keys (
    tenant_id text collate "C" not null,
    type      text collate "C" not null,
    key       text collate "C" not null,
    job_id    uuid             not null,
    primary key (tenant_id, type, key)
);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.unique_keys alter tenant_id set statistics 0, alter type set statistics 0, alter key set statistics 0;

alter table jobforge.unique_keys enable row level security;
alter table jobforge.unique_keys force row level security;
create policy unique_keys_owner on jobforge.unique_keys to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy unique_keys_tenant on jobforge.unique_keys for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy unique_keys_wall on jobforge.unique_keys as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy unique_keys_admin on jobforge.unique_keys for select to jobforge_admin using (true);

grant select on jobforge.unique_keys to jobforge_app, jobforge_admin;
comment on table jobforge.unique_keys is 'Same tenant, type and key: one job at a time.';
