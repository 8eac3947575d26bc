-- The secrets of tenants, for built-in handlers: sealed by a key that this database does not have, or a reference that the
-- operator's program resolves. Nobody may read them, administrators included: connector_of_run gives them to who brings the
-- token of a run of that tenant. While a secret is rotated the previous one is valid too.
create table jobforge.connector_secrets (
    tenant_id      text collate "C" not null,
    name           text collate "C" not null,
    kind           text collate "C" not null check (kind in ('sealed', 'reference')),
    value          text             not null,
    hosts          text[]           not null,  -- where it may go in a header; empty: nowhere
    previous_kind  text collate "C" check (previous_kind in ('sealed', 'reference')),
    previous_value text,
    previous_until timestamptz,
    updated_at     timestamptz      not null,
    primary key (tenant_id, name)
);

-- as in jobs: no guess of the planner spells a name, and none a value
alter table jobforge.connector_secrets
    alter tenant_id set statistics 0, alter name set statistics 0, alter value set statistics 0,
    alter hosts set statistics 0, alter previous_value set statistics 0;

alter table jobforge.connector_secrets enable row level security;
alter table jobforge.connector_secrets force row level security;
create policy connector_secrets_owner on jobforge.connector_secrets to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy connector_secrets_wall on jobforge.connector_secrets as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));

comment on table jobforge.connector_secrets is 'Secrets of tenants, sealed or by reference. Readable by nobody.';
