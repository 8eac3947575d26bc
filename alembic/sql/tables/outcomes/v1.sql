-- The final state, once for each job; also of jobs that were canceled before any run. A retry deletes it again.
create table jobforge.outcomes (
    job_id      uuid             primary key,
    tenant_id   text collate "C" not null,
    state       text collate "C" not null check (state in ('succeeded', 'dead', 'canceled')),
    run         integer          not null,
    attempt     integer          not null,
    crashes     integer          not null,
    finished_at timestamptz      not null
);
create index outcomes_state on jobforge.outcomes (tenant_id, state, job_id);
-- of the dead alone, so it costs nothing while all goes well: how many died in the last hour, however many have ended
create index outcomes_dead on jobforge.outcomes (finished_at) where state = 'dead';
-- of these too: whoever retries what failed, of all tenants, finds it among any number that succeeded
create index outcomes_failed on jobforge.outcomes (job_id) where state in ('dead', 'canceled');

-- as in jobs: no guess of the planner spells a name
alter table jobforge.outcomes alter tenant_id set statistics 0;

alter table jobforge.outcomes enable row level security;
alter table jobforge.outcomes force row level security;
create policy outcomes_owner on jobforge.outcomes to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy outcomes_tenant on jobforge.outcomes for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy outcomes_wall on jobforge.outcomes as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy outcomes_admin on jobforge.outcomes for select to jobforge_admin using (true);

grant select on jobforge.outcomes to jobforge_app, jobforge_admin;
comment on table jobforge.outcomes is 'States succeeded, dead, canceled: how each job ended.';
