-- Somebody wants a running job to stop. The worker hears of it with its next heartbeat.
create table jobforge.cancel_requests (
    job_id       uuid             primary key,
    tenant_id    text collate "C" not null,
    requested_at timestamptz      not null
);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.cancel_requests alter tenant_id set statistics 0;

alter table jobforge.cancel_requests enable row level security;
alter table jobforge.cancel_requests force row level security;
create policy cancel_requests_owner on jobforge.cancel_requests to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy cancel_requests_tenant on jobforge.cancel_requests for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy cancel_requests_wall on jobforge.cancel_requests as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy cancel_requests_admin on jobforge.cancel_requests for select to jobforge_admin using (true);

grant select on jobforge.cancel_requests to jobforge_app, jobforge_admin;
comment on table jobforge.cancel_requests is 'Running jobs that shall stop.';
