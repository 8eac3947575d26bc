-- How long what has ended is kept: a row for each kind, and one more for each type that is to differ. Jobs count from
-- their end, results too, idempotency keys from their job's enqueue.
create table jobforge.retention (
    kind text collate "C" not null check (kind in ('succeeded', 'dead', 'canceled', 'result', 'idempotency_key')),
    type text collate "C" not null default '',  -- '': every type that has no row of its own
    keep interval,                              -- NULL: for ever; a result then goes with its job
    newest integer check (newest > 0),          -- beside it, so many of each type, of all tenants; NULL: any number
    primary key (kind, type),
    check (newest is null or kind in ('succeeded', 'dead', 'canceled'))
);

alter table jobforge.retention enable row level security;
alter table jobforge.retention force row level security;
create policy retention_owner on jobforge.retention to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy retention_admin on jobforge.retention for select to jobforge_admin using (true);

insert into jobforge.retention (kind, keep) values
    ('succeeded', '7 days'), ('canceled', '7 days'), ('dead', '90 days'), ('result', null), ('idempotency_key', '90 days');

grant select on jobforge.retention to jobforge_admin;
comment on table jobforge.retention is 'How long ended jobs, results and idempotency keys are kept.';
