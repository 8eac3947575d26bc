-- Due later: delays, retries, snoozes. Two indexes, at the rate of retries and not of jobs: run_at moves with each
-- retry, so it cannot be part of a key that is known from jobs. The key begins with the tenant, so that its scheduled
-- jobs are listed and counted without a look at anybody else's.
create table jobforge.scheduled (
    tenant_id text collate "C" not null,
    job_id    uuid             not null,
    run_at    timestamptz      not null,
    queue     text collate "C" not null,
    priority  smallint         not null,
    type      text collate "C" not null,
    run       integer          not null,
    attempt   integer          not null,
    crashes   integer          not null,
    primary key (tenant_id, job_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index scheduled_due on jobforge.scheduled (run_at, job_id);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.scheduled alter tenant_id set statistics 0, alter queue set statistics 0, alter type set statistics 0;

alter table jobforge.scheduled enable row level security;
alter table jobforge.scheduled force row level security;
create policy scheduled_owner on jobforge.scheduled to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy scheduled_tenant on jobforge.scheduled for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy scheduled_wall on jobforge.scheduled as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy scheduled_admin on jobforge.scheduled for select to jobforge_admin using (true);

grant select on jobforge.scheduled to jobforge_app, jobforge_admin;
comment on table jobforge.scheduled is 'State scheduled: due later.';
