-- Who stands in line: a row for each job with an ordering key that has not ended, wherever it stands. The first of a tenant's
-- key, by the job's id, is the one that may run. Only jobs that have a key pay for it.
create table jobforge.lines (
    tenant_id    text collate "C" not null,
    ordering_key text collate "C" not null,
    job_id       uuid             not null,
    primary key (tenant_id, ordering_key, job_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.lines alter tenant_id set statistics 0, alter ordering_key set statistics 0;

alter table jobforge.lines enable row level security;
alter table jobforge.lines force row level security;
create policy lines_owner on jobforge.lines to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy lines_tenant on jobforge.lines for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy lines_wall on jobforge.lines as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy lines_admin on jobforge.lines for select to jobforge_admin using (true);

grant select on jobforge.lines to jobforge_app, jobforge_admin;
comment on table jobforge.lines is 'Jobs whose end somebody lines for.';
