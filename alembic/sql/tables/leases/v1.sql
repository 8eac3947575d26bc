-- Running. Inserted by claim, deleted by complete and rescue, never updated: a heartbeat that touched it would make
-- every handler at REPEATABLE READ fail at its completion (40001, always). The token is the right to end the run,
-- so nobody may read it: the grant names the other columns.
create table jobforge.leases (
    job_id       uuid             primary key,
    tenant_id    text collate "C" not null,
    queue        text collate "C" not null,
    type         text collate "C" not null,
    ordering_key text collate "C",
    limited      boolean          not null,  -- something was said of its tenant, queue or task when it was claimed
    nth          bigint,                     -- which one of these it is, ever: whoever counts runs begins where it ended (running_of)
    token        uuid             not null,
    worker_id    uuid             not null,
    run          integer          not null,  -- this run's number: never repeats
    attempt      integer          not null,  -- what this run will be charged as
    crashes      integer          not null,
    claimed_at   timestamptz      not null,
    deadline     timestamptz      not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create unique index leases_line on jobforge.leases (tenant_id, ordering_key) where ordering_key is not null;  -- one at a time
create index leases_of_tenant on jobforge.leases (tenant_id, nth) where limited;  -- nobody else pays for these
create index leases_of_queue on jobforge.leases (queue, nth) where limited;
create index leases_of_task on jobforge.leases (type, nth) where limited;

create sequence jobforge.leases_nth owned by jobforge.leases.nth;

-- as in jobs: no guess of the planner spells a name
alter table jobforge.leases alter tenant_id set statistics 0, alter worker_id set statistics 0,
    alter queue set statistics 0, alter type set statistics 0, alter ordering_key set statistics 0;

alter table jobforge.leases enable row level security;
alter table jobforge.leases force row level security;
create policy leases_owner on jobforge.leases to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy leases_tenant on jobforge.leases for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy leases_wall on jobforge.leases as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy leases_admin on jobforge.leases for select to jobforge_admin using (true);

grant select (job_id, tenant_id, queue, type, ordering_key, worker_id, run, attempt, crashes, claimed_at, deadline)
    on jobforge.leases to jobforge_app, jobforge_admin;
comment on table jobforge.leases is 'State running: who runs it, until when. Never updated.';
