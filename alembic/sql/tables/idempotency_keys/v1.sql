-- The original job of each idempotency key, also when that is pruned. Only jobs that have a key pay for it; the primary
-- key is the promise.
create table jobforge.idempotency_keys (
    tenant_id  text collate "C" not null,
    type       text collate "C" not null,
    key        text collate "C" not null,
    job_id     uuid             not null,
    created_at timestamptz      not null,
    primary key (tenant_id, type, key)
);
create index idempotency_keys_job on jobforge.idempotency_keys (job_id);  -- their age

-- as in jobs: no guess of the planner spells a name
alter table jobforge.idempotency_keys alter tenant_id set statistics 0, alter type set statistics 0, alter key set statistics 0;

alter table jobforge.idempotency_keys enable row level security;
alter table jobforge.idempotency_keys force row level security;
create policy idempotency_keys_owner on jobforge.idempotency_keys to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy idempotency_keys_tenant on jobforge.idempotency_keys for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy idempotency_keys_wall on jobforge.idempotency_keys as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy idempotency_keys_admin on jobforge.idempotency_keys for select to jobforge_admin using (true);

grant select on jobforge.idempotency_keys to jobforge_app, jobforge_admin;
comment on table jobforge.idempotency_keys is 'Same tenant, type and key: one job.';
