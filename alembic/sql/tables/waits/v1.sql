-- Somebody waits for a job to end. Whoever ends it takes the row away and sends one NOTIFY; while nobody waits, ends send
-- none, for it takes a lock over the whole cluster.
create table jobforge.waits (
    job_id    uuid             primary key,
    tenant_id text collate "C" not null,
    until     timestamptz      not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.waits alter tenant_id set statistics 0;

alter table jobforge.waits enable row level security;
alter table jobforge.waits force row level security;
create policy waits_owner on jobforge.waits to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy waits_tenant on jobforge.waits for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy waits_wall on jobforge.waits as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy waits_admin on jobforge.waits for select to jobforge_admin using (true);

grant select on jobforge.waits to jobforge_app, jobforge_admin;
comment on table jobforge.waits is 'Jobs whose end somebody waits for.';
