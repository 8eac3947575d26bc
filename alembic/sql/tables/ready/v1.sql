-- Claimable now. Narrow, only ever inserted and deleted; its key is made of immutable columns of jobs, so that a
-- job is found here by key, and a retry comes back to its old place in the order. One column is not: a suspect stands in a
-- lane of its own, so that claims never meet it; who looks for a job by key names both lanes.
create table jobforge.ready (
    queue     text collate "C" not null,
    tenant_id text collate "C" not null,
    priority  smallint         not null,
    job_id    uuid             not null,
    type      text collate "C" not null,
    run       integer          not null,  -- runs so far, charged or not
    attempt   integer          not null,  -- charged attempts so far
    crashes   integer          not null,  -- runs in a row whose worker was lost
    suspect   boolean          not null generated always as (crashes >= 2) stored,  -- runs alone: claim_suspect
    primary key (queue, suspect, tenant_id, priority, job_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.ready alter tenant_id set statistics 0, alter queue set statistics 0, alter type set statistics 0;

alter table jobforge.ready enable row level security;
alter table jobforge.ready force row level security;
create policy ready_owner on jobforge.ready to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy ready_tenant on jobforge.ready for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy ready_wall on jobforge.ready as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy ready_admin on jobforge.ready for select to jobforge_admin using (true);

grant select on jobforge.ready to jobforge_app, jobforge_admin;
comment on table jobforge.ready is 'State queued: claimable now. Hot: inserted and deleted, never updated.';
