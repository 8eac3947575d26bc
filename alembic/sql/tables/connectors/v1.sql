-- What an administrator allows a tenant's built-in handlers: hosts, ports, sizes. A tenant of whom nothing was said has no
-- row, and gets what the operator's program allows. The type '' stands for every connector; a row of a connector's own type
-- goes over it, key by key. Nothing in it is secret, and still no application reads it: it says what is refused to whom.
create table jobforge.connectors (
    tenant_id  text collate "C" not null,
    type       text collate "C" not null,
    config     json             not null,
    updated_at timestamptz      not null,
    primary key (tenant_id, type)
);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.connectors alter tenant_id set statistics 0, alter type set statistics 0;

alter table jobforge.connectors enable row level security;
alter table jobforge.connectors force row level security;
create policy connectors_owner on jobforge.connectors to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy connectors_wall on jobforge.connectors as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy connectors_admin on jobforge.connectors for select to jobforge_admin using (true);

grant select on jobforge.connectors to jobforge_admin;
comment on table jobforge.connectors is 'What the built-in handlers may do for a tenant.';
