-- Claimable, now or when its turn comes. Narrow, only ever inserted and deleted: a row that changes its lane is a new one.
-- Claims walk the index ready_ring, lane by lane, and never read what they may not run: suspects stand in a lane of their
-- own, and whatever else a claim meets that has to wait it puts aside, once (put_aside): a type that its worker does not
-- know or that is limited into the lane of its name, a job that is not at the head of its line into "!ordered".
create table jobforge.ready (
    queue     text collate "C" not null,
    tenant_id text collate "C" not null,
    priority  smallint         not null,
    job_id    uuid             not null,
    type      text collate "C" not null,
    run       integer          not null,  -- runs so far, charged or not
    attempt   integer          not null,  -- charged attempts so far
    crashes   integer          not null,  -- runs in a row whose worker was lost
    aside     text collate "C",           -- the lane into which a claim has put it
    lane      text collate "C" not null generated always as
              (coalesce(aside, case when crashes >= 2 then '!suspect' else '!main' end)) stored,
    primary key (tenant_id, job_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
-- names of types begin behind "!": one probe tells whether a queue has lanes of types
create index ready_ring on jobforge.ready (queue, lane, tenant_id, priority, job_id);
-- whoever brings them back finds them among any number of queues, which tenants may make up (bring_back)
create index ready_stopped on jobforge.ready (tenant_id, queue, priority, job_id) where aside = '!stopped';

-- as in jobs: no guess of the planner spells a name
alter table jobforge.ready alter tenant_id set statistics 0, alter queue set statistics 0, alter type set statistics 0,
    alter aside set statistics 0, alter lane set statistics 0;

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
