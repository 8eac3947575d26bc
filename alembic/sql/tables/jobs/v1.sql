-- What was asked. One wide row for each job, written once by enqueue: what happens to the job stands in the narrow
-- tables. Never updated, but for the payload of a waiting job that a later enqueue with its unique key replaces.
-- Pruned in order of age, so that whole pages come back.
create table jobforge.jobs (
    id              uuid primary key,                    -- UUIDv7, made here: its order is the order of enqueueing
    tenant_id       text collate "C" not null,
    queue           text collate "C" not null,
    type            text collate "C" not null,
    priority        smallint         not null,           -- lower runs first, within its tenant
    payload         json             not null,           -- text as it came: no number in it can grow when it is read
    run_at          timestamptz      not null,
    max_attempts    integer          not null,
    timeout         interval,
    retry           jsonb,
    idempotency_key text collate "C",
    unique_key      text collate "C",                    -- at most one such job is active: unique_keys
    ordering_key    text collate "C",                    -- such jobs run one at a time, in the order of their ids: lines
    subject         text collate "C",                    -- the application's row that it is about, such as orders:42
    parent_id       uuid,                                -- the job that caused this one
    cause           text collate "C",                    -- how it did: handler (enqueued it), replay (it is the original), copy
    trace           json,
    created_at      timestamptz      not null
);
create unique index jobs_tenant on jobforge.jobs (tenant_id, id);
create index jobs_subject on jobforge.jobs (tenant_id, subject, id) where subject is not null;
-- what a job caused. The tenant stands in it because anybody may name anybody's job as a parent: whoever does so a
-- million times must not slow the other's look at his own
create index jobs_children on jobforge.jobs (parent_id, tenant_id, id) where parent_id is not null;

-- The planner counts the rows of all tenants, and EXPLAIN prints its guesses: with statistics these columns could be
-- spelled letter by letter. No plan of ours needs them.
alter table jobforge.jobs alter tenant_id set statistics 0, alter queue set statistics 0, alter type set statistics 0, alter idempotency_key set statistics 0,
    alter unique_key set statistics 0, alter ordering_key set statistics 0, alter subject set statistics 0, alter parent_id set statistics 0,
    alter cause set statistics 0;

alter table jobforge.jobs enable row level security;
alter table jobforge.jobs force row level security;
-- current_user is jobforge_owner only inside our definer functions and after SET ROLE; a migrator that merely
-- inherits the role (Postgres 15) reads nothing
create policy jobs_owner on jobforge.jobs to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy jobs_tenant on jobforge.jobs for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy jobs_wall on jobforge.jobs as restrictive to jobforge_app  -- stands when somebody adds "using (true)"
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy jobs_admin on jobforge.jobs for select to jobforge_admin using (true);

grant select on jobforge.jobs to jobforge_app, jobforge_admin;
comment on table jobforge.jobs is 'What was asked: payload, options, origin. Immutable.';
