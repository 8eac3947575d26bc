-- Where claims begin to read the jobs of a tenant in a lane, of each priority: everything before was deleted, when somebody
-- looked. Entries of an index stay until a vacuum, and behind a held snapshot for as long as it is held: claims would pass all
-- of them, again and again. Only hints: what comes in before its head, such as a retry, is found by the next full look
-- (claim_ring). A head is never updated. The newest one comes first in the index: behind a held snapshot the older ones
-- stay as well, and are never passed.
create table jobforge.heads (
    queue     text collate "C" not null,
    lane      text collate "C" not null,
    tenant_id text collate "C" not null,
    priority  smallint         not null,
    job_id    uuid             not null,
    marked_at timestamptz      not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index heads_newest on jobforge.heads (queue, lane, tenant_id, priority, marked_at desc);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.heads alter queue set statistics 0, alter lane set statistics 0, alter tenant_id set statistics 0;

alter table jobforge.heads enable row level security;
alter table jobforge.heads force row level security;
create policy heads_owner on jobforge.heads to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy heads_tenant on jobforge.heads for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy heads_wall on jobforge.heads as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy heads_admin on jobforge.heads for select to jobforge_admin using (true);

grant select on jobforge.heads to jobforge_app, jobforge_admin;
comment on table jobforge.heads is 'Where claims begin to read the jobs of a tenant. Hints.';
