-- One row for each run that has ended. The token stays, so that a completion repeated after a lost answer can be
-- told that it was done; it is worth nothing any more, and still nobody may read it.
create table jobforge.attempts (
    job_id      uuid             not null,
    run         integer          not null,
    tenant_id   text collate "C" not null,
    attempt     integer          not null,
    outcome     text collate "C" not null
        check (outcome in ('succeeded', 'failed', 'timed_out', 'lost', 'snoozed', 'released', 'canceled')),
    worker_id   uuid             not null,
    token       uuid             not null,
    claimed_at  timestamptz      not null,
    finished_at timestamptz      not null,
    run_ms      integer,                   -- how long the handler ran, by the worker's monotonic clock
    error       json,
    primary key (job_id, run)
);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.attempts alter tenant_id set statistics 0, alter worker_id set statistics 0;

alter table jobforge.attempts enable row level security;
alter table jobforge.attempts force row level security;
create policy attempts_owner on jobforge.attempts to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy attempts_tenant on jobforge.attempts for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy attempts_wall on jobforge.attempts as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy attempts_admin on jobforge.attempts for select to jobforge_admin using (true);

grant select (job_id, run, tenant_id, attempt, outcome, worker_id, claimed_at, finished_at, run_ms, error)
    on jobforge.attempts to jobforge_app, jobforge_admin;
comment on table jobforge.attempts is 'One row for each run that has ended, and how.';
