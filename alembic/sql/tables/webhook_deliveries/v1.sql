-- One row for each attempt to deliver a webhook, committed with the end of its run. No signature and no secret is in it.
create table jobforge.webhook_deliveries (
    job_id      uuid             not null,
    run         integer          not null,
    tenant_id   text collate "C" not null,
    attempt     integer          not null,
    url         text             not null,
    event_id    text             not null,
    event_type  text             not null,
    outcome     text collate "C" not null check (outcome in ('delivered', 'failed', 'gone', 'blocked', 'skipped')),
    status      integer,                   -- of the answer, where there was one
    error       text,                      -- why it was not delivered
    duration_ms integer,
    preview     text,                      -- how the answer began
    at          timestamptz      not null,
    primary key (job_id, run)
);
create index webhook_deliveries_tenant on jobforge.webhook_deliveries (tenant_id, job_id, run);  -- the newest of a tenant

-- as in jobs: no guess of the planner spells a name, nor what somebody answered
alter table jobforge.webhook_deliveries
    alter tenant_id set statistics 0, alter url set statistics 0, alter event_id set statistics 0,
    alter event_type set statistics 0, alter error set statistics 0, alter preview set statistics 0;

alter table jobforge.webhook_deliveries enable row level security;
alter table jobforge.webhook_deliveries force row level security;
create policy webhook_deliveries_owner on jobforge.webhook_deliveries to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy webhook_deliveries_tenant on jobforge.webhook_deliveries for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy webhook_deliveries_wall on jobforge.webhook_deliveries as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy webhook_deliveries_admin on jobforge.webhook_deliveries for select to jobforge_admin using (true);

grant select on jobforge.webhook_deliveries to jobforge_app, jobforge_admin;
comment on table jobforge.webhook_deliveries is 'One row for each attempt to deliver a webhook, and what became of it.';
