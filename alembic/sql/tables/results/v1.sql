-- What handlers returned. Apart from outcomes: those stay narrow, a list of jobs drags none along, and a result can leave
-- before its job does. A handler that returns nothing pays nothing.
create table jobforge.results (
    job_id    uuid             primary key,
    tenant_id text collate "C" not null,
    value     json             not null
);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.results alter tenant_id set statistics 0;

alter table jobforge.results enable row level security;
alter table jobforge.results force row level security;
create policy results_owner on jobforge.results to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy results_tenant on jobforge.results for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy results_wall on jobforge.results as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy results_admin on jobforge.results for select to jobforge_admin using (true);

grant select on jobforge.results to jobforge_app, jobforge_admin;
comment on table jobforge.results is 'What the handlers of succeeded jobs returned.';
