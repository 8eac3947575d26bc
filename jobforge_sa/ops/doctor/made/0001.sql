-- Schema jobforge as Postgres reports it, written by jobforge_sa.db.introspect; not to be edited.

-- role jobforge_admin
create role jobforge_admin nologin noinherit;

-- role jobforge_app
create role jobforge_app nologin noinherit;

-- role jobforge_owner
create role jobforge_owner nologin noinherit;

-- role jobforge_worker
create role jobforge_worker nologin noinherit;

-- schema jobforge
alter schema jobforge owner to jobforge_owner;
grant usage on schema jobforge to jobforge_admin;
grant usage on schema jobforge to jobforge_app;
grant usage on schema jobforge to jobforge_worker;
alter default privileges for role jobforge_owner on functions to nobody but the owner;
alter default privileges for role jobforge_owner on types to nobody but the owner;
comment on schema jobforge is 'Background jobs that commit with your data. Owned by jobforge_sa''s Alembic revisions.';

-- type jobforge.ended_run
create type jobforge.ended_run as (
    item integer,
    job_id uuid,
    tenant_id text,
    token uuid,
    worker_id uuid,
    run integer,
    attempt integer,
    crashes integer,
    claimed_at timestamp with time zone,
    outcome text,
    run_ms integer,
    error json,
    result json,
    delay interval,
    final boolean,
    ordering_key text,
    limited boolean
);
alter type jobforge.ended_run owner to jobforge_owner;
comment on type jobforge.ended_run is 'A run that has just ended, and how.';

-- sequence jobforge.leases_nth
create sequence jobforge.leases_nth as bigint start 1 increment 1 minvalue 1 maxvalue 9223372036854775807 cache 1 owned by jobforge.leases.nth;
alter sequence jobforge.leases_nth owner to jobforge_owner;

-- sequence jobforge.turn_lanes
create sequence jobforge.turn_lanes as bigint start 1 increment 1 minvalue 1 maxvalue 9223372036854775807 cache 1 owned by jobforge.turns.id;
alter sequence jobforge.turn_lanes owner to jobforge_owner;

-- sequence jobforge.turns_id_seq
create sequence jobforge.turns_id_seq as bigint start 1 increment 1 minvalue 1 maxvalue 9223372036854775807 cache 1 owned by jobforge.turns.id;
alter sequence jobforge.turns_id_seq owner to jobforge_owner;

-- table jobforge.alembic_version
create table jobforge.alembic_version (
    version_num character varying(32) not null,
    constraint alembic_version_pkc PRIMARY KEY (version_num)
);
alter table jobforge.alembic_version owner to jobforge_owner;
alter table jobforge.alembic_version enable row level security;
alter table jobforge.alembic_version force row level security;
create policy alembic_version_owner on jobforge.alembic_version as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));

-- table jobforge.artifacts
create table jobforge.artifacts (
    job_id uuid not null,
    name text collate "C" not null statistics 0,
    tenant_id text collate "C" not null statistics 0,
    media_type text not null,
    size bigint not null,
    sha256 text not null statistics 0,
    body bytea statistics 0,
    location text statistics 0,
    created_at timestamp with time zone not null,
    constraint artifacts_check CHECK (((body IS NULL) <> (location IS NULL))),
    constraint artifacts_pkey PRIMARY KEY (job_id, name)
);
CREATE INDEX artifacts_tenant ON jobforge.artifacts USING btree (tenant_id, job_id, name);
alter table jobforge.artifacts owner to jobforge_owner;
alter table jobforge.artifacts enable row level security;
alter table jobforge.artifacts force row level security;
create policy artifacts_admin on jobforge.artifacts as permissive for select to jobforge_admin
    using (true);
create policy artifacts_owner on jobforge.artifacts as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy artifacts_tenant on jobforge.artifacts as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy artifacts_wall on jobforge.artifacts as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.artifacts to jobforge_admin;
grant select on table jobforge.artifacts to jobforge_app;
comment on table jobforge.artifacts is 'What runs have made beside their results, such as reports.';

-- table jobforge.attempts
create table jobforge.attempts (
    job_id uuid not null,
    run integer not null,
    tenant_id text collate "C" not null statistics 0,
    attempt integer not null,
    outcome text collate "C" not null,
    worker_id uuid not null statistics 0,
    token uuid not null,
    claimed_at timestamp with time zone not null,
    finished_at timestamp with time zone not null,
    run_ms integer,
    error json,
    constraint attempts_outcome_check CHECK ((outcome = ANY (ARRAY['succeeded'::text, 'failed'::text, 'timed_out'::text, 'lost'::text, 'snoozed'::text, 'released'::text, 'canceled'::text]))),
    constraint attempts_pkey PRIMARY KEY (job_id, run)
);
alter table jobforge.attempts owner to jobforge_owner;
alter table jobforge.attempts enable row level security;
alter table jobforge.attempts force row level security;
create policy attempts_admin on jobforge.attempts as permissive for select to jobforge_admin
    using (true);
create policy attempts_owner on jobforge.attempts as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy attempts_tenant on jobforge.attempts as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy attempts_wall on jobforge.attempts as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select (job_id, run, tenant_id, attempt, outcome, worker_id, claimed_at, finished_at, run_ms, error) on table jobforge.attempts to jobforge_admin;
grant select (job_id, run, tenant_id, attempt, outcome, worker_id, claimed_at, finished_at, run_ms, error) on table jobforge.attempts to jobforge_app;
comment on table jobforge.attempts is 'One row for each run that has ended, and how.';

-- table jobforge.cancel_requests
create table jobforge.cancel_requests (
    job_id uuid not null,
    tenant_id text collate "C" not null statistics 0,
    requested_at timestamp with time zone not null,
    constraint cancel_requests_pkey PRIMARY KEY (job_id)
);
alter table jobforge.cancel_requests owner to jobforge_owner;
alter table jobforge.cancel_requests enable row level security;
alter table jobforge.cancel_requests force row level security;
create policy cancel_requests_admin on jobforge.cancel_requests as permissive for select to jobforge_admin
    using (true);
create policy cancel_requests_owner on jobforge.cancel_requests as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy cancel_requests_tenant on jobforge.cancel_requests as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy cancel_requests_wall on jobforge.cancel_requests as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.cancel_requests to jobforge_admin;
grant select on table jobforge.cancel_requests to jobforge_app;
comment on table jobforge.cancel_requests is 'Running jobs that shall stop.';

-- table jobforge.connector_secrets
create table jobforge.connector_secrets (
    tenant_id text collate "C" not null statistics 0,
    name text collate "C" not null statistics 0,
    kind text collate "C" not null,
    value text not null statistics 0,
    hosts text[] not null statistics 0,
    previous_kind text collate "C",
    previous_value text statistics 0,
    previous_until timestamp with time zone,
    updated_at timestamp with time zone not null,
    constraint connector_secrets_kind_check CHECK ((kind = ANY (ARRAY['sealed'::text, 'reference'::text]))),
    constraint connector_secrets_pkey PRIMARY KEY (tenant_id, name),
    constraint connector_secrets_previous_kind_check CHECK ((previous_kind = ANY (ARRAY['sealed'::text, 'reference'::text])))
);
alter table jobforge.connector_secrets owner to jobforge_owner;
alter table jobforge.connector_secrets enable row level security;
alter table jobforge.connector_secrets force row level security;
create policy connector_secrets_owner on jobforge.connector_secrets as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy connector_secrets_wall on jobforge.connector_secrets as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
comment on table jobforge.connector_secrets is 'Secrets of tenants, sealed or by reference. Readable by nobody.';

-- table jobforge.connectors
create table jobforge.connectors (
    tenant_id text collate "C" not null statistics 0,
    type text collate "C" not null statistics 0,
    config json not null,
    updated_at timestamp with time zone not null,
    constraint connectors_pkey PRIMARY KEY (tenant_id, type)
);
alter table jobforge.connectors owner to jobforge_owner;
alter table jobforge.connectors enable row level security;
alter table jobforge.connectors force row level security;
create policy connectors_admin on jobforge.connectors as permissive for select to jobforge_admin
    using (true);
create policy connectors_owner on jobforge.connectors as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy connectors_wall on jobforge.connectors as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.connectors to jobforge_admin;
comment on table jobforge.connectors is 'What the built-in handlers may do for a tenant.';

-- table jobforge.heads
create table jobforge.heads (
    queue text collate "C" not null statistics 0,
    lane text collate "C" not null statistics 0,
    tenant_id text collate "C" not null statistics 0,
    priority smallint not null,
    job_id uuid not null,
    marked_at timestamp with time zone not null
) with (
    autovacuum_vacuum_cost_delay=0,
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=5000
);
CREATE INDEX heads_newest ON jobforge.heads USING btree (queue, lane, tenant_id, priority, marked_at DESC);
alter table jobforge.heads owner to jobforge_owner;
alter table jobforge.heads enable row level security;
alter table jobforge.heads force row level security;
create policy heads_admin on jobforge.heads as permissive for select to jobforge_admin
    using (true);
create policy heads_owner on jobforge.heads as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy heads_tenant on jobforge.heads as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy heads_wall on jobforge.heads as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.heads to jobforge_admin;
grant select on table jobforge.heads to jobforge_app;
comment on table jobforge.heads is 'Where claims begin to read the jobs of a tenant. Hints.';

-- table jobforge.idempotency_keys
create table jobforge.idempotency_keys (
    tenant_id text collate "C" not null statistics 0,
    type text collate "C" not null statistics 0,
    key text collate "C" not null statistics 0,
    job_id uuid not null,
    created_at timestamp with time zone not null,
    constraint idempotency_keys_pkey PRIMARY KEY (tenant_id, type, key)
);
CREATE INDEX idempotency_keys_job ON jobforge.idempotency_keys USING btree (job_id);
alter table jobforge.idempotency_keys owner to jobforge_owner;
alter table jobforge.idempotency_keys enable row level security;
alter table jobforge.idempotency_keys force row level security;
create policy idempotency_keys_admin on jobforge.idempotency_keys as permissive for select to jobforge_admin
    using (true);
create policy idempotency_keys_owner on jobforge.idempotency_keys as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy idempotency_keys_tenant on jobforge.idempotency_keys as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy idempotency_keys_wall on jobforge.idempotency_keys as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.idempotency_keys to jobforge_admin;
grant select on table jobforge.idempotency_keys to jobforge_app;
comment on table jobforge.idempotency_keys is 'Same tenant, type and key: one job.';

-- table jobforge.jobs
create table jobforge.jobs (
    id uuid not null,
    tenant_id text collate "C" not null statistics 0,
    queue text collate "C" not null statistics 0,
    type text collate "C" not null statistics 0,
    priority smallint not null,
    payload json not null,
    run_at timestamp with time zone not null,
    max_attempts integer not null,
    timeout interval,
    retry jsonb,
    idempotency_key text collate "C" statistics 0,
    unique_key text collate "C" statistics 0,
    ordering_key text collate "C" statistics 0,
    subject text collate "C" statistics 0,
    parent_id uuid statistics 0,
    cause text collate "C" statistics 0,
    trace json,
    created_at timestamp with time zone not null,
    constraint jobs_pkey PRIMARY KEY (id)
);
CREATE INDEX jobs_children ON jobforge.jobs USING btree (parent_id, tenant_id, id) WHERE (parent_id IS NOT NULL);
CREATE INDEX jobs_subject ON jobforge.jobs USING btree (tenant_id, subject, id) WHERE (subject IS NOT NULL);
CREATE UNIQUE INDEX jobs_tenant ON jobforge.jobs USING btree (tenant_id, id);
alter table jobforge.jobs owner to jobforge_owner;
alter table jobforge.jobs enable row level security;
alter table jobforge.jobs force row level security;
create policy jobs_admin on jobforge.jobs as permissive for select to jobforge_admin
    using (true);
create policy jobs_owner on jobforge.jobs as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy jobs_tenant on jobforge.jobs as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy jobs_wall on jobforge.jobs as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.jobs to jobforge_admin;
grant select on table jobforge.jobs to jobforge_app;
comment on table jobforge.jobs is 'What was asked: payload, options, origin. Immutable.';

-- table jobforge.leases
create table jobforge.leases (
    job_id uuid not null,
    tenant_id text collate "C" not null statistics 0,
    queue text collate "C" not null statistics 0,
    type text collate "C" not null statistics 0,
    ordering_key text collate "C" statistics 0,
    limited boolean not null,
    nth bigint,
    token uuid not null,
    worker_id uuid not null statistics 0,
    run integer not null,
    attempt integer not null,
    crashes integer not null,
    claimed_at timestamp with time zone not null,
    deadline timestamp with time zone not null,
    constraint leases_pkey PRIMARY KEY (job_id)
) with (
    autovacuum_vacuum_cost_delay=0,
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=5000
);
CREATE INDEX leases_of_queue ON jobforge.leases USING btree (queue, nth) WHERE limited;
CREATE INDEX leases_of_task ON jobforge.leases USING btree (type, nth) WHERE limited;
CREATE INDEX leases_of_tenant ON jobforge.leases USING btree (tenant_id, nth) WHERE limited;
CREATE UNIQUE INDEX leases_line ON jobforge.leases USING btree (tenant_id, ordering_key) WHERE (ordering_key IS NOT NULL);
alter table jobforge.leases owner to jobforge_owner;
alter table jobforge.leases enable row level security;
alter table jobforge.leases force row level security;
create policy leases_admin on jobforge.leases as permissive for select to jobforge_admin
    using (true);
create policy leases_owner on jobforge.leases as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy leases_tenant on jobforge.leases as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy leases_wall on jobforge.leases as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select (job_id, tenant_id, queue, type, ordering_key, worker_id, run, attempt, crashes, claimed_at, deadline) on table jobforge.leases to jobforge_admin;
grant select (job_id, tenant_id, queue, type, ordering_key, worker_id, run, attempt, crashes, claimed_at, deadline) on table jobforge.leases to jobforge_app;
comment on table jobforge.leases is 'State running: who runs it, until when. Never updated.';

-- table jobforge.limits
create table jobforge.limits (
    scope text collate "C" not null,
    name text collate "C" not null statistics 0,
    tenant_id text collate "C" generated always as ( CASE WHEN (scope = 'tenant'::text) THEN name ELSE NULL::text END) stored statistics 0,
    paused_at timestamp with time zone,
    max_running integer,
    rate double precision,
    burst integer,
    weight integer,
    max_waiting integer,
    bucket double precision not null default 0,
    refilled_at timestamp with time zone not null,
    since timestamp with time zone,
    settled_xid bigint,
    counted boolean not null default false,
    constraint limits_pkey PRIMARY KEY (scope, name),
    constraint limits_scope_check CHECK ((scope = ANY (ARRAY['tenant'::text, 'queue'::text, 'task'::text])))
) with (
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=500,
    fillfactor=50
);
alter table jobforge.limits owner to jobforge_owner;
alter table jobforge.limits enable row level security;
alter table jobforge.limits force row level security;
create policy limits_admin on jobforge.limits as permissive for select to jobforge_admin
    using (true);
create policy limits_owner on jobforge.limits as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy limits_tenant on jobforge.limits as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy limits_wall on jobforge.limits as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.limits to jobforge_admin;
grant select on table jobforge.limits to jobforge_app;
comment on table jobforge.limits is 'Tenants, queues and tasks that are paused, limited or weighted.';

-- table jobforge.lines
create table jobforge.lines (
    tenant_id text collate "C" not null statistics 0,
    ordering_key text collate "C" not null statistics 0,
    job_id uuid not null,
    constraint lines_pkey PRIMARY KEY (tenant_id, ordering_key, job_id)
) with (
    autovacuum_vacuum_cost_delay=0,
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=5000
);
alter table jobforge.lines owner to jobforge_owner;
alter table jobforge.lines enable row level security;
alter table jobforge.lines force row level security;
create policy lines_admin on jobforge.lines as permissive for select to jobforge_admin
    using (true);
create policy lines_owner on jobforge.lines as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy lines_tenant on jobforge.lines as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy lines_wall on jobforge.lines as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.lines to jobforge_admin;
grant select on table jobforge.lines to jobforge_app;
comment on table jobforge.lines is 'Jobs with an ordering key that have not ended.';

-- table jobforge.newest
create table jobforge.newest (
    state text collate "C" not null,
    type text collate "C" not null,
    counted bigint not null,
    beyond uuid,
    constraint newest_pkey PRIMARY KEY (state, type)
) with (
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=500,
    fillfactor=50
);
alter table jobforge.newest owner to jobforge_owner;
alter table jobforge.newest enable row level security;
alter table jobforge.newest force row level security;
create policy newest_admin on jobforge.newest as permissive for select to jobforge_admin
    using (true);
create policy newest_owner on jobforge.newest as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
grant select on table jobforge.newest to jobforge_admin;
comment on table jobforge.newest is 'What is kept by number, as far as it was counted.';

-- table jobforge.outcomes
create table jobforge.outcomes (
    job_id uuid not null,
    tenant_id text collate "C" not null statistics 0,
    state text collate "C" not null,
    run integer not null,
    attempt integer not null,
    crashes integer not null,
    finished_at timestamp with time zone not null,
    constraint outcomes_pkey PRIMARY KEY (job_id),
    constraint outcomes_state_check CHECK ((state = ANY (ARRAY['succeeded'::text, 'dead'::text, 'canceled'::text])))
);
CREATE INDEX outcomes_dead ON jobforge.outcomes USING btree (finished_at) WHERE (state = 'dead'::text);
CREATE INDEX outcomes_failed ON jobforge.outcomes USING btree (job_id) WHERE (state = ANY (ARRAY['dead'::text, 'canceled'::text]));
CREATE INDEX outcomes_state ON jobforge.outcomes USING btree (tenant_id, state, job_id);
alter table jobforge.outcomes owner to jobforge_owner;
alter table jobforge.outcomes enable row level security;
alter table jobforge.outcomes force row level security;
create policy outcomes_admin on jobforge.outcomes as permissive for select to jobforge_admin
    using (true);
create policy outcomes_owner on jobforge.outcomes as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy outcomes_tenant on jobforge.outcomes as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy outcomes_wall on jobforge.outcomes as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.outcomes to jobforge_admin;
grant select on table jobforge.outcomes to jobforge_app;
comment on table jobforge.outcomes is 'States succeeded, dead, canceled: how each job ended.';

-- table jobforge.pruning
create table jobforge.pruning (
    walk text not null,
    behind uuid not null default '00000000-0000-0000-0000-000000000000'::uuid,
    met bigint not null default 0,
    began_at timestamp with time zone not null,
    constraint pruning_pkey PRIMARY KEY (walk),
    constraint pruning_walk_check CHECK ((walk = ANY (ARRAY['jobs'::text, 'results'::text, 'idempotency_keys'::text, 'newest_succeeded'::text, 'newest_failed'::text])))
) with (
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=500,
    fillfactor=50
);
alter table jobforge.pruning owner to jobforge_owner;
alter table jobforge.pruning enable row level security;
alter table jobforge.pruning force row level security;
create policy pruning_admin on jobforge.pruning as permissive for select to jobforge_admin
    using (true);
create policy pruning_owner on jobforge.pruning as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
grant select on table jobforge.pruning to jobforge_admin;
comment on table jobforge.pruning is 'How far each walk of prune has come.';

-- table jobforge.ready
create table jobforge.ready (
    queue text collate "C" not null statistics 0,
    tenant_id text collate "C" not null statistics 0,
    priority smallint not null,
    job_id uuid not null,
    type text collate "C" not null statistics 0,
    run integer not null,
    attempt integer not null,
    crashes integer not null,
    aside text collate "C" statistics 0,
    lane text collate "C" not null generated always as (COALESCE(aside, CASE WHEN (crashes >= 2) THEN '!suspect'::text ELSE '!main'::text END)) stored statistics 0,
    constraint ready_pkey PRIMARY KEY (tenant_id, job_id)
) with (
    autovacuum_vacuum_cost_delay=0,
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=5000
);
CREATE INDEX ready_ring ON jobforge.ready USING btree (queue, lane, tenant_id, priority, job_id);
CREATE INDEX ready_stopped ON jobforge.ready USING btree (tenant_id, queue, priority, job_id) WHERE (aside = '!stopped'::text);
alter table jobforge.ready owner to jobforge_owner;
alter table jobforge.ready enable row level security;
alter table jobforge.ready force row level security;
create policy ready_admin on jobforge.ready as permissive for select to jobforge_admin
    using (true);
create policy ready_owner on jobforge.ready as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy ready_tenant on jobforge.ready as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy ready_wall on jobforge.ready as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.ready to jobforge_admin;
grant select on table jobforge.ready to jobforge_app;
comment on table jobforge.ready is 'State queued: claimable now. Hot: inserted and deleted, never updated.';

-- table jobforge.results
create table jobforge.results (
    job_id uuid not null,
    tenant_id text collate "C" not null statistics 0,
    value json not null,
    constraint results_pkey PRIMARY KEY (job_id)
);
alter table jobforge.results owner to jobforge_owner;
alter table jobforge.results enable row level security;
alter table jobforge.results force row level security;
create policy results_admin on jobforge.results as permissive for select to jobforge_admin
    using (true);
create policy results_owner on jobforge.results as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy results_tenant on jobforge.results as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy results_wall on jobforge.results as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.results to jobforge_admin;
grant select on table jobforge.results to jobforge_app;
comment on table jobforge.results is 'What the handlers of succeeded jobs returned.';

-- table jobforge.retention
create table jobforge.retention (
    kind text collate "C" not null,
    type text collate "C" not null default ''::text,
    keep interval,
    newest integer,
    constraint retention_check CHECK (((newest IS NULL) OR (kind = ANY (ARRAY['succeeded'::text, 'dead'::text, 'canceled'::text])))),
    constraint retention_kind_check CHECK ((kind = ANY (ARRAY['succeeded'::text, 'dead'::text, 'canceled'::text, 'result'::text, 'idempotency_key'::text]))),
    constraint retention_newest_check CHECK ((newest > 0)),
    constraint retention_pkey PRIMARY KEY (kind, type)
);
alter table jobforge.retention owner to jobforge_owner;
alter table jobforge.retention enable row level security;
alter table jobforge.retention force row level security;
create policy retention_admin on jobforge.retention as permissive for select to jobforge_admin
    using (true);
create policy retention_owner on jobforge.retention as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
grant select on table jobforge.retention to jobforge_admin;
comment on table jobforge.retention is 'How long ended jobs, results and idempotency keys are kept.';

-- table jobforge.scheduled
create table jobforge.scheduled (
    tenant_id text collate "C" not null statistics 0,
    job_id uuid not null,
    run_at timestamp with time zone not null,
    queue text collate "C" not null statistics 0,
    priority smallint not null,
    type text collate "C" not null statistics 0,
    run integer not null,
    attempt integer not null,
    crashes integer not null,
    constraint scheduled_pkey PRIMARY KEY (tenant_id, job_id)
) with (
    autovacuum_vacuum_cost_delay=0,
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=5000
);
CREATE INDEX scheduled_due ON jobforge.scheduled USING btree (run_at, job_id);
alter table jobforge.scheduled owner to jobforge_owner;
alter table jobforge.scheduled enable row level security;
alter table jobforge.scheduled force row level security;
create policy scheduled_admin on jobforge.scheduled as permissive for select to jobforge_admin
    using (true);
create policy scheduled_owner on jobforge.scheduled as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy scheduled_tenant on jobforge.scheduled as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy scheduled_wall on jobforge.scheduled as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.scheduled to jobforge_admin;
grant select on table jobforge.scheduled to jobforge_app;
comment on table jobforge.scheduled is 'State scheduled: due later.';

-- table jobforge.settings
create table jobforge.settings (
    only_row boolean not null default true,
    tenancy text collate "C" not null,
    artifact_bytes integer not null default 1048576,
    constraint settings_artifact_bytes_check CHECK (((artifact_bytes >= 0) AND (artifact_bytes <= 104857600))),
    constraint settings_only_row_check CHECK (only_row),
    constraint settings_pkey PRIMARY KEY (only_row),
    constraint settings_tenancy_check CHECK ((tenancy = ANY (ARRAY['plain'::text, 'signed'::text])))
);
alter table jobforge.settings owner to jobforge_owner;
alter table jobforge.settings enable row level security;
alter table jobforge.settings force row level security;
create policy settings_owner on jobforge.settings as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
comment on table jobforge.settings is 'What holds for the whole schema: the tenancy, and how large an artifact may be.';

-- table jobforge.tenant_keys
create table jobforge.tenant_keys (
    key_id text collate "C" not null,
    inner_pad bytea not null,
    outer_pad bytea not null,
    created_at timestamp with time zone not null,
    retired_at timestamp with time zone,
    constraint tenant_keys_pkey PRIMARY KEY (key_id)
);
alter table jobforge.tenant_keys owner to jobforge_owner;
alter table jobforge.tenant_keys enable row level security;
alter table jobforge.tenant_keys force row level security;
create policy tenant_keys_owner on jobforge.tenant_keys as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
comment on table jobforge.tenant_keys is 'The keys that sign tenant tokens. Readable by nobody.';

-- table jobforge.turns
create table jobforge.turns (
    id bigint not null generated always as identity,
    tenant_id text collate "C" not null statistics 0,
    ordering_key text collate "C" not null statistics 0,
    constraint turns_pkey PRIMARY KEY (id)
) with (
    autovacuum_vacuum_cost_delay=0,
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=5000
);
alter table jobforge.turns owner to jobforge_owner;
alter table jobforge.turns enable row level security;
alter table jobforge.turns force row level security;
create policy turns_admin on jobforge.turns as permissive for select to jobforge_admin
    using (true);
create policy turns_owner on jobforge.turns as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy turns_tenant on jobforge.turns as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy turns_wall on jobforge.turns as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.turns to jobforge_admin;
grant select on table jobforge.turns to jobforge_app;
comment on table jobforge.turns is 'Lines whose next job may have its turn now.';

-- table jobforge.unique_keys
create table jobforge.unique_keys (
    tenant_id text collate "C" not null statistics 0,
    type text collate "C" not null statistics 0,
    key text collate "C" not null statistics 0,
    job_id uuid not null,
    constraint unique_keys_pkey PRIMARY KEY (tenant_id, type, key)
);
alter table jobforge.unique_keys owner to jobforge_owner;
alter table jobforge.unique_keys enable row level security;
alter table jobforge.unique_keys force row level security;
create policy unique_keys_admin on jobforge.unique_keys as permissive for select to jobforge_admin
    using (true);
create policy unique_keys_owner on jobforge.unique_keys as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy unique_keys_tenant on jobforge.unique_keys as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy unique_keys_wall on jobforge.unique_keys as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.unique_keys to jobforge_admin;
grant select on table jobforge.unique_keys to jobforge_app;
comment on table jobforge.unique_keys is 'Same tenant, type and key: one job at a time.';

-- table jobforge.waits
create table jobforge.waits (
    job_id uuid not null,
    tenant_id text collate "C" not null statistics 0,
    until timestamp with time zone not null,
    constraint waits_pkey PRIMARY KEY (job_id)
) with (
    autovacuum_vacuum_cost_delay=0,
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=1000
);
alter table jobforge.waits owner to jobforge_owner;
alter table jobforge.waits enable row level security;
alter table jobforge.waits force row level security;
create policy waits_admin on jobforge.waits as permissive for select to jobforge_admin
    using (true);
create policy waits_owner on jobforge.waits as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy waits_tenant on jobforge.waits as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy waits_wall on jobforge.waits as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.waits to jobforge_admin;
grant select on table jobforge.waits to jobforge_app;
comment on table jobforge.waits is 'Jobs whose end somebody waits for.';

-- table jobforge.webhook_deliveries
create table jobforge.webhook_deliveries (
    job_id uuid not null,
    run integer not null,
    tenant_id text collate "C" not null statistics 0,
    attempt integer not null,
    url text not null statistics 0,
    event_id text not null statistics 0,
    event_type text not null statistics 0,
    outcome text collate "C" not null,
    status integer,
    error text statistics 0,
    duration_ms integer,
    preview text statistics 0,
    at timestamp with time zone not null,
    constraint webhook_deliveries_outcome_check CHECK ((outcome = ANY (ARRAY['delivered'::text, 'failed'::text, 'gone'::text, 'blocked'::text, 'skipped'::text]))),
    constraint webhook_deliveries_pkey PRIMARY KEY (job_id, run)
);
CREATE INDEX webhook_deliveries_tenant ON jobforge.webhook_deliveries USING btree (tenant_id, job_id, run);
alter table jobforge.webhook_deliveries owner to jobforge_owner;
alter table jobforge.webhook_deliveries enable row level security;
alter table jobforge.webhook_deliveries force row level security;
create policy webhook_deliveries_admin on jobforge.webhook_deliveries as permissive for select to jobforge_admin
    using (true);
create policy webhook_deliveries_owner on jobforge.webhook_deliveries as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy webhook_deliveries_tenant on jobforge.webhook_deliveries as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy webhook_deliveries_wall on jobforge.webhook_deliveries as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.webhook_deliveries to jobforge_admin;
grant select on table jobforge.webhook_deliveries to jobforge_app;
comment on table jobforge.webhook_deliveries is 'One row for each attempt to deliver a webhook, and what became of it.';

-- table jobforge.webhook_endpoints
create table jobforge.webhook_endpoints (
    tenant_id text collate "C" not null statistics 0,
    url_sha256 bytea not null statistics 0,
    url text not null statistics 0,
    failures integer not null,
    first_failed_at timestamp with time zone,
    last_failed_at timestamp with time zone,
    disabled_at timestamp with time zone,
    reason text statistics 0,
    constraint webhook_endpoints_pkey PRIMARY KEY (tenant_id, url_sha256)
);
CREATE INDEX webhook_endpoints_failing ON jobforge.webhook_endpoints USING btree (last_failed_at) WHERE (disabled_at IS NULL);
alter table jobforge.webhook_endpoints owner to jobforge_owner;
alter table jobforge.webhook_endpoints enable row level security;
alter table jobforge.webhook_endpoints force row level security;
create policy webhook_endpoints_admin on jobforge.webhook_endpoints as permissive for select to jobforge_admin
    using (true);
create policy webhook_endpoints_owner on jobforge.webhook_endpoints as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
create policy webhook_endpoints_tenant on jobforge.webhook_endpoints as permissive for select to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
create policy webhook_endpoints_wall on jobforge.webhook_endpoints as restrictive for all to jobforge_app
    using ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)))
    with check ((tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
grant select on table jobforge.webhook_endpoints to jobforge_admin;
grant select on table jobforge.webhook_endpoints to jobforge_app;
comment on table jobforge.webhook_endpoints is 'Where webhooks fail, or are not sent any more.';

-- table jobforge.workers
create table jobforge.workers (
    worker_id uuid not null,
    alive_until timestamp with time zone not null,
    started_at timestamp with time zone not null,
    name text,
    queues text[],
    types text[],
    connections integer,
    constraint workers_pkey PRIMARY KEY (worker_id)
) with (
    autovacuum_vacuum_scale_factor=0,
    autovacuum_vacuum_threshold=500,
    fillfactor=50
);
alter table jobforge.workers owner to jobforge_owner;
alter table jobforge.workers enable row level security;
alter table jobforge.workers force row level security;
create policy workers_admin on jobforge.workers as permissive for select to jobforge_admin
    using (true);
create policy workers_owner on jobforge.workers as permissive for all to jobforge_owner
    using ((CURRENT_USER = 'jobforge_owner'::name))
    with check ((CURRENT_USER = 'jobforge_owner'::name));
grant select on table jobforge.workers to jobforge_admin;
comment on table jobforge.workers is 'Who lives until when. A lease lives while its worker does.';

-- view jobforge.all_attempts
create view jobforge.all_attempts (
    job_id uuid,
    run integer,
    tenant_id text collate "C",
    attempt integer,
    outcome text collate "C",
    worker_id uuid,
    claimed_at timestamp with time zone,
    finished_at timestamp with time zone,
    run_ms integer,
    error json
) with (security_invoker=true) as
 SELECT job_id,
    run,
    tenant_id,
    attempt,
    outcome,
    worker_id,
    claimed_at,
    finished_at,
    run_ms,
    error
   FROM jobforge.attempts
  WHERE (( SELECT row_security_active('jobforge.attempts'::text) AS row_security_active) OR (tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
alter view jobforge.all_attempts owner to jobforge_owner;
grant select on view jobforge.all_attempts to jobforge_admin;
grant select on view jobforge.all_attempts to jobforge_app;
comment on view jobforge.all_attempts is 'Every run that has ended, of the tenants that who asks may see.';

-- view jobforge.all_deliveries
create view jobforge.all_deliveries (
    job_id uuid,
    run integer,
    tenant_id text collate "C",
    attempt integer,
    url text,
    event_id text,
    event_type text,
    outcome text collate "C",
    status integer,
    error text,
    duration_ms integer,
    preview text,
    at timestamp with time zone
) with (security_invoker=true) as
 SELECT job_id,
    run,
    tenant_id,
    attempt,
    url,
    event_id,
    event_type,
    outcome,
    status,
    error,
    duration_ms,
    preview,
    at
   FROM jobforge.webhook_deliveries
  WHERE (( SELECT row_security_active('jobforge.webhook_deliveries'::text) AS row_security_active) OR (tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
alter view jobforge.all_deliveries owner to jobforge_owner;
grant select on view jobforge.all_deliveries to jobforge_admin;
grant select on view jobforge.all_deliveries to jobforge_app;
comment on view jobforge.all_deliveries is 'Every attempt to deliver a webhook, of the tenants that who asks may see.';

-- view jobforge.all_jobs
create view jobforge.all_jobs (
    id uuid,
    tenant_id text collate "C",
    queue text collate "C",
    type text collate "C",
    priority smallint,
    payload json,
    run_at timestamp with time zone,
    max_attempts integer,
    timeout interval,
    retry jsonb,
    idempotency_key text collate "C",
    unique_key text collate "C",
    ordering_key text collate "C",
    subject text collate "C",
    parent_id uuid,
    cause text collate "C",
    trace json,
    created_at timestamp with time zone,
    state text collate "C",
    run integer,
    attempt integer,
    crashes integer,
    due_at timestamp with time zone,
    worker_id uuid,
    claimed_at timestamp with time zone,
    deadline timestamp with time zone,
    finished_at timestamp with time zone,
    result json
) with (security_invoker=true) as
 SELECT id,
    tenant_id,
    queue,
    type,
    priority,
    payload,
    run_at,
    max_attempts,
    timeout,
    retry,
    idempotency_key,
    unique_key,
    ordering_key,
    subject,
    parent_id,
    cause,
    trace,
    created_at,
    state,
    run,
    attempt,
    crashes,
    due_at,
    worker_id,
    claimed_at,
    deadline,
    finished_at,
    result
   FROM ( SELECT j.id,
            j.tenant_id,
            j.queue,
            j.type,
            j.priority,
            j.payload,
            j.run_at,
            j.max_attempts,
            j.timeout,
            j.retry,
            j.idempotency_key,
            j.unique_key,
            j.ordering_key,
            j.subject,
            j.parent_id,
            j.cause,
            j.trace,
            j.created_at,
            ('queued'::text COLLATE "C") AS state,
            r.run,
            r.attempt,
            r.crashes,
            NULL::timestamp with time zone AS due_at,
            NULL::uuid AS worker_id,
            NULL::timestamp with time zone AS claimed_at,
            NULL::timestamp with time zone AS deadline,
            NULL::timestamp with time zone AS finished_at,
            NULL::json AS result
           FROM (jobforge.jobs j
             JOIN jobforge.ready r ON (((r.tenant_id = j.tenant_id) AND (r.job_id = j.id))))
        UNION ALL
         SELECT j.id,
            j.tenant_id,
            j.queue,
            j.type,
            j.priority,
            j.payload,
            j.run_at,
            j.max_attempts,
            j.timeout,
            j.retry,
            j.idempotency_key,
            j.unique_key,
            j.ordering_key,
            j.subject,
            j.parent_id,
            j.cause,
            j.trace,
            j.created_at,
            ('scheduled'::text COLLATE "C") AS state,
            s.run,
            s.attempt,
            s.crashes,
            s.run_at AS due_at,
            NULL::uuid AS worker_id,
            NULL::timestamp with time zone AS claimed_at,
            NULL::timestamp with time zone AS deadline,
            NULL::timestamp with time zone AS finished_at,
            NULL::json AS result
           FROM (jobforge.jobs j
             JOIN jobforge.scheduled s ON (((s.tenant_id = j.tenant_id) AND (s.job_id = j.id))))
        UNION ALL
         SELECT j.id,
            j.tenant_id,
            j.queue,
            j.type,
            j.priority,
            j.payload,
            j.run_at,
            j.max_attempts,
            j.timeout,
            j.retry,
            j.idempotency_key,
            j.unique_key,
            j.ordering_key,
            j.subject,
            j.parent_id,
            j.cause,
            j.trace,
            j.created_at,
            ('running'::text COLLATE "C") AS state,
            l.run,
            l.attempt,
            l.crashes,
            NULL::timestamp with time zone AS due_at,
            l.worker_id,
            l.claimed_at,
            l.deadline,
            NULL::timestamp with time zone AS finished_at,
            NULL::json AS result
           FROM (jobforge.jobs j
             JOIN jobforge.leases l ON (((l.job_id = j.id) AND (l.tenant_id = j.tenant_id))))
        UNION ALL
         SELECT j.id,
            j.tenant_id,
            j.queue,
            j.type,
            j.priority,
            j.payload,
            j.run_at,
            j.max_attempts,
            j.timeout,
            j.retry,
            j.idempotency_key,
            j.unique_key,
            j.ordering_key,
            j.subject,
            j.parent_id,
            j.cause,
            j.trace,
            j.created_at,
            ('succeeded'::text COLLATE "C") AS state,
            o.run,
            o.attempt,
            o.crashes,
            NULL::timestamp with time zone AS due_at,
            NULL::uuid AS worker_id,
            NULL::timestamp with time zone AS claimed_at,
            NULL::timestamp with time zone AS deadline,
            o.finished_at,
            ( SELECT r.value
                   FROM jobforge.results r
                  WHERE ((r.job_id = o.job_id) AND (r.tenant_id = o.tenant_id))) AS result
           FROM (jobforge.jobs j
             JOIN jobforge.outcomes o ON (((o.job_id = j.id) AND (o.tenant_id = j.tenant_id))))
          WHERE (o.state = 'succeeded'::text)
        UNION ALL
         SELECT j.id,
            j.tenant_id,
            j.queue,
            j.type,
            j.priority,
            j.payload,
            j.run_at,
            j.max_attempts,
            j.timeout,
            j.retry,
            j.idempotency_key,
            j.unique_key,
            j.ordering_key,
            j.subject,
            j.parent_id,
            j.cause,
            j.trace,
            j.created_at,
            ('dead'::text COLLATE "C") AS state,
            o.run,
            o.attempt,
            o.crashes,
            NULL::timestamp with time zone AS due_at,
            NULL::uuid AS worker_id,
            NULL::timestamp with time zone AS claimed_at,
            NULL::timestamp with time zone AS deadline,
            o.finished_at,
            NULL::json AS result
           FROM (jobforge.jobs j
             JOIN jobforge.outcomes o ON (((o.job_id = j.id) AND (o.tenant_id = j.tenant_id))))
          WHERE (o.state = 'dead'::text)
        UNION ALL
         SELECT j.id,
            j.tenant_id,
            j.queue,
            j.type,
            j.priority,
            j.payload,
            j.run_at,
            j.max_attempts,
            j.timeout,
            j.retry,
            j.idempotency_key,
            j.unique_key,
            j.ordering_key,
            j.subject,
            j.parent_id,
            j.cause,
            j.trace,
            j.created_at,
            ('canceled'::text COLLATE "C") AS state,
            o.run,
            o.attempt,
            o.crashes,
            NULL::timestamp with time zone AS due_at,
            NULL::uuid AS worker_id,
            NULL::timestamp with time zone AS claimed_at,
            NULL::timestamp with time zone AS deadline,
            o.finished_at,
            NULL::json AS result
           FROM (jobforge.jobs j
             JOIN jobforge.outcomes o ON (((o.job_id = j.id) AND (o.tenant_id = j.tenant_id))))
          WHERE (o.state = 'canceled'::text)) every_job
  WHERE (( SELECT row_security_active('jobforge.jobs'::text) AS row_security_active) OR (tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
alter view jobforge.all_jobs owner to jobforge_owner;
grant select on view jobforge.all_jobs to jobforge_admin;
grant select on view jobforge.all_jobs to jobforge_app;
comment on view jobforge.all_jobs is 'Every job with its state, of the tenants that who asks may see.';

-- view jobforge.all_results
create view jobforge.all_results (
    job_id uuid,
    tenant_id text collate "C",
    value json
) with (security_invoker=true) as
 SELECT job_id,
    tenant_id,
    value
   FROM jobforge.results
  WHERE (( SELECT row_security_active('jobforge.results'::text) AS row_security_active) OR (tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant)));
alter view jobforge.all_results owner to jobforge_owner;
grant select on view jobforge.all_results to jobforge_admin;
grant select on view jobforge.all_results to jobforge_app;
comment on view jobforge.all_results is 'What handlers returned, of the tenants that who asks may see.';

-- function jobforge.current_tenant
CREATE OR REPLACE FUNCTION jobforge.current_tenant()
 RETURNS text
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_setting text := nullif(current_setting('jobforge.tenant_id', true), '');
    v_claims  text := nullif(current_setting('request.jwt.claims', true), '');
    v_claim   jsonb;
    v_tenant  text;
begin
    if not exists (select from jobforge.settings s where s.tenancy = 'plain') then
        v_tenant := jobforge.token_tenant(nullif(current_setting('jobforge.tenant_token', true), ''));
        if v_setting <> v_tenant then
            raise exception 'jobforge: the setting jobforge.tenant_id and the tenant token name different tenants'
                using errcode = 'JF002', hint = 'Set the token alone, or both for the same tenant.';
        end if;
        return v_tenant;
    end if;
    if v_claims is null then
        return v_setting;
    end if;
    v_claim := v_claims::jsonb #> '{app_metadata,tenant_id}';
    if jsonb_typeof(v_claim) not in ('string', 'number', 'null') then
        raise exception 'jobforge: the claim app_metadata.tenant_id is not a string or a number'
            using errcode = 'JF002', hint = 'Put one tenant id into app_metadata.tenant_id.';
    end if;
    if v_setting <> v_claim #>> '{}' then
        raise exception 'jobforge: the setting jobforge.tenant_id and the JWT claim name different tenants'
            using errcode = 'JF002', hint = 'Set one of them only, or both to the same tenant.';
    end if;
    return coalesce(nullif(v_claim #>> '{}', ''), v_setting);
end
$function$
;
alter function jobforge.current_tenant owner to jobforge_owner;
grant execute on function jobforge.current_tenant to jobforge_admin;
grant execute on function jobforge.current_tenant to jobforge_app;
grant execute on function jobforge.current_tenant to jobforge_worker;
comment on function jobforge.current_tenant is 'The tenant of this transaction, or NULL.';

-- function jobforge.now
CREATE OR REPLACE FUNCTION jobforge.now()
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return clock_timestamp();  -- in language sql, which a pinned search_path keeps from being inlined, it costs twice as much
end
$function$
;
alter function jobforge.now owner to jobforge_owner;
grant execute on function jobforge.now to jobforge_admin;
grant execute on function jobforge.now to jobforge_app;
grant execute on function jobforge.now to jobforge_worker;
comment on function jobforge.now is 'The time by which everything here is decided.';
