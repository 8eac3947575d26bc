-- What an administrator has said of a tenant, a queue or a task. Of whom nothing was said there is no row, and nobody pays.
-- Claims lock a row whose jobs they count, so that they pass over each other instead of passing its limit together.
create table jobforge.limits (
    scope       text collate "C"  not null check (scope in ('tenant', 'queue', 'task')),
    name        text collate "C"  not null,
    tenant_id   text collate "C"  generated always as (case when scope = 'tenant' then name end) stored,
    paused_at   timestamptz,                -- claims pass it over
    max_running integer,                    -- so many of its jobs run at a time
    rate        double precision,           -- so many of its runs begin in a second: a token bucket
    burst       integer,                    -- the bucket's size; NULL: what comes in a second, one at least
    weight      integer,                    -- of a tenant: its share of a round; NULL: 1
    max_waiting integer,                    -- of a tenant: so many of its jobs may be scheduled or queued
    bucket      double precision not null default 0,  -- so many runs more could begin
    refilled_at timestamptz      not null,            -- then
    since       timestamptz,                -- claims know of it since then: the leases of those before are not marked
    settled_xid bigint,                     -- whoever may have claimed them has a lower one: see budget
    counted     boolean          not null default false,  -- all of them are: the index finds them
    primary key (scope, name)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.limits alter name set statistics 0, alter tenant_id set statistics 0;

alter table jobforge.limits enable row level security;
alter table jobforge.limits force row level security;
create policy limits_owner on jobforge.limits to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy limits_tenant on jobforge.limits for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy limits_wall on jobforge.limits as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy limits_admin on jobforge.limits for select to jobforge_admin using (true);

grant select on jobforge.limits to jobforge_app, jobforge_admin;
comment on table jobforge.limits is 'Tenants, queues and tasks that are paused, limited or weighted.';
