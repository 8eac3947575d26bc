-- Where webhooks fail, or shall not go any more. An endpoint of which there is nothing to say has no row: a delivery that
-- succeeds where none failed before writes nothing here. Keyed by a hash, for a URL may be longer than an index takes.
create table jobforge.webhook_endpoints (
    tenant_id       text collate "C" not null,
    url_sha256      bytea            not null,
    url             text             not null,
    failures        integer          not null,  -- in a row
    first_failed_at timestamptz,                -- of that row
    last_failed_at  timestamptz,                -- 90 days after it a row that disables nothing is forgotten, by upkeep
    disabled_at     timestamptz,                -- nothing is sent there
    reason          text,                       -- why it is disabled
    primary key (tenant_id, url_sha256)
);
create index webhook_endpoints_failing on jobforge.webhook_endpoints (last_failed_at) where disabled_at is null;

-- as in jobs: no guess of the planner spells a name; nor a hash, for who can guess a URL knows its hash
alter table jobforge.webhook_endpoints
    alter tenant_id set statistics 0, alter url_sha256 set statistics 0, alter url set statistics 0,
    alter reason set statistics 0;

alter table jobforge.webhook_endpoints enable row level security;
alter table jobforge.webhook_endpoints force row level security;
create policy webhook_endpoints_owner on jobforge.webhook_endpoints to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy webhook_endpoints_tenant on jobforge.webhook_endpoints for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy webhook_endpoints_wall on jobforge.webhook_endpoints as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy webhook_endpoints_admin on jobforge.webhook_endpoints for select to jobforge_admin using (true);

grant select on jobforge.webhook_endpoints to jobforge_app, jobforge_admin;
comment on table jobforge.webhook_endpoints is 'Where webhooks fail, or are not sent any more.';
