-- Lines of jobs with one ordering key that somebody has to look at: the run of one of them has ended, or a claim has put
-- one aside. Only ever inserted by those who cause it, each in its own transaction, at any isolation level; the next claim
-- looks (take_turns) and deletes. In the order of their coming: behind a held snapshot those that were looked at stay, and a
-- session that has passed many begins behind them (make_ready).
create table jobforge.turns (
    id           bigint           primary key generated always as identity,
    tenant_id    text collate "C" not null,
    ordering_key text collate "C" not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- the lane into which jobs come back (lanes_of): one after the other, never back. No row, for a row would leave dead ones
create sequence jobforge.turn_lanes owned by jobforge.turns.id;

-- as in jobs: no guess of the planner spells a name
alter table jobforge.turns alter tenant_id set statistics 0, alter ordering_key set statistics 0;

alter table jobforge.turns enable row level security;
alter table jobforge.turns force row level security;
create policy turns_owner on jobforge.turns to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy turns_tenant on jobforge.turns for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy turns_wall on jobforge.turns as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy turns_admin on jobforge.turns for select to jobforge_admin using (true);

grant select on jobforge.turns to jobforge_app, jobforge_admin;
comment on table jobforge.turns is 'Lines whose next job may have its turn now.';
