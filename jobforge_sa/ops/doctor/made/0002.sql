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

-- function jobforge.act_for
CREATE OR REPLACE FUNCTION jobforge.act_for(p_tenant_id text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    perform jobforge.check_tenant(p_tenant_id);
    perform set_config('jobforge.tenant_id', p_tenant_id, true), set_config('request.jwt.claims', '', true);
    if not exists (select from jobforge.settings s where s.tenancy = 'plain') then
        perform set_config('jobforge.tenant_token', jobforge.new_token(p_tenant_id, now() + interval '1 minute'), true);
    end if;
end
$function$
;
alter function jobforge.act_for owner to jobforge_owner;
grant execute on function jobforge.act_for to jobforge_admin;
comment on function jobforge.act_for is 'Act for a tenant in the rest of this transaction.';

-- function jobforge.add_tenant_key
CREATE OR REPLACE FUNCTION jobforge.add_tenant_key(p_key_id text, p_secret bytea)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_secret bytea := case when length(p_secret) > 64 then sha256(p_secret) else p_secret end;
    v_inner  bytea := decode(repeat('36', 64), 'hex');
    v_outer  bytea := decode(repeat('5c', 64), 'hex');
begin
    if p_key_id is null or p_key_id !~ '^[A-Za-z0-9_-]+$' or length(p_key_id) > 40 then
        raise exception 'jobforge: a key id is 1 to 40 of A-Z a-z 0-9 _ -'
            using errcode = 'JF003', hint = 'Name it after the day on which it was made.';
    end if;
    if p_secret is null or length(p_secret) < 32 then
        raise exception 'jobforge: a key has at least 32 bytes' using errcode = 'JF003', hint = 'Use 32 random bytes.';
    end if;
    for i in 0 .. length(v_secret) - 1 loop
        v_inner := set_byte(v_inner, i, get_byte(v_secret, i) # 54);
        v_outer := set_byte(v_outer, i, get_byte(v_secret, i) # 92);
    end loop;
    insert into jobforge.tenant_keys (key_id, inner_pad, outer_pad, created_at)
    values (p_key_id, v_inner, v_outer, jobforge.now());
exception when unique_violation then
    raise exception 'jobforge: there is a key % already', p_key_id
        using errcode = 'JF003', hint = 'Give the new key another id; an id stays with its key for ever.';
end
$function$
;
alter function jobforge.add_tenant_key owner to jobforge_owner;
comment on function jobforge.add_tenant_key is 'Make a key known that signs tenant tokens. For jobforge_owner.';

-- function jobforge.artifact_limit
CREATE OR REPLACE FUNCTION jobforge.artifact_limit()
 RETURNS integer
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select coalesce((select s.artifact_bytes from jobforge.settings s), 1048576)
$function$
;
alter function jobforge.artifact_limit owner to jobforge_owner;
grant execute on function jobforge.artifact_limit to jobforge_admin;
grant execute on function jobforge.artifact_limit to jobforge_app;
grant execute on function jobforge.artifact_limit to jobforge_worker;
comment on function jobforge.artifact_limit is 'How many bytes an artifact in the database may have.';

-- function jobforge.audit
CREATE OR REPLACE FUNCTION jobforge.audit()
 RETURNS TABLE(job_id uuid, fault text)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    with place as (
        select r.job_id, r.tenant_id, 'ready' as place from jobforge.ready r
        union all select s.job_id, s.tenant_id, 'scheduled' from jobforge.scheduled s
        union all select l.job_id, l.tenant_id, 'leases' from jobforge.leases l
        union all select o.job_id, o.tenant_id, 'outcomes' from jobforge.outcomes o
    ), standing as (
        select p.job_id, count(*) as places, string_agg(p.place, ', ' order by p.place) as names from place p group by p.job_id
    )
    select j.id, 'stands nowhere' from jobforge.jobs j left join standing s on s.job_id = j.id where s.job_id is null
    union all
    select s.job_id, 'stands in several places: ' || s.names from standing s where s.places > 1
    union all
    select p.job_id, 'stands in ' || p.place || ' without a job' from place p
     where not exists (select from jobforge.jobs j where j.id = p.job_id)
    union all
    select p.job_id, 'has another tenant in ' || p.place from place p join jobforge.jobs j on j.id = p.job_id
     where j.tenant_id <> p.tenant_id
    union all
    select w.job_id, 'waits in ' || w.place || ' under another queue, priority or type than its own'
      from (select 'ready' as place, r.job_id, r.queue, r.priority, r.type from jobforge.ready r
            union all select 'scheduled', s.job_id, s.queue, s.priority, s.type from jobforge.scheduled s) w
      join jobforge.jobs j on j.id = w.job_id
     where (j.queue, j.priority, j.type) is distinct from (w.queue, w.priority, w.type)
    union all
    select a.job_id, 'has an attempt of another tenant or none of its own' from jobforge.attempts a
      left join jobforge.jobs j on j.id = a.job_id where j.tenant_id is distinct from a.tenant_id
    union all
    select o.job_id, 'ended as ' || o.state || ' without that run on record' from jobforge.outcomes o
     where o.state <> 'canceled'
       and not exists (select from jobforge.attempts a where a.job_id = o.job_id and a.run = o.run)
    union all
    select d.job_id, 'has a delivery of another tenant or none of its own' from jobforge.webhook_deliveries d
      left join jobforge.jobs j on j.id = d.job_id where j.tenant_id is distinct from d.tenant_id
    union all
    select r.job_id, 'has a result without having succeeded' from jobforge.results r
     where not exists (select from jobforge.outcomes o
                        where o.job_id = r.job_id and o.tenant_id = r.tenant_id and o.state = 'succeeded')
    union all
    select f.job_id, 'has an artifact of another tenant or without a job' from jobforge.artifacts f
      left join jobforge.jobs j on j.id = f.job_id where j.tenant_id is distinct from f.tenant_id
    union all
    select c.job_id, 'has a cancel request without a job' from jobforge.cancel_requests c
     where not exists (select from jobforge.jobs j where j.id = c.job_id)
    union all
    select k.job_id, 'is another tenant''s idempotency key' from jobforge.idempotency_keys k
      join jobforge.jobs j on j.id = k.job_id where j.tenant_id <> k.tenant_id
    union all
    select k.job_id, 'holds a unique key that is not its own' from jobforge.unique_keys k
      join jobforge.jobs j on j.id = k.job_id
     where (j.tenant_id, j.type, j.unique_key) is distinct from (k.tenant_id, k.type, k.key)
    union all
    select l.job_id, 'stands in line after its end, or in a line that is not its own' from jobforge.lines l
      left join jobforge.jobs j on j.id = l.job_id
     where (j.tenant_id, j.ordering_key) is distinct from (l.tenant_id, l.ordering_key)
        or exists (select from jobforge.outcomes o where o.job_id = l.job_id)
    union all
    select j.id, 'has not ended and does not stand in its line' from jobforge.jobs j
     where j.ordering_key is not null
       and not exists (select from jobforge.outcomes o where o.job_id = j.id)
       and not exists (select from jobforge.lines l where (l.tenant_id, l.ordering_key, l.job_id) = (j.tenant_id, j.ordering_key, j.id))
    union all  -- of whoever ends a run or puts a job aside a turn is committed with it: in no snapshot one is missing
    select r.job_id, 'stands aside at the head of its line, and nobody looks' from jobforge.ready r
      left join jobforge.jobs j on j.id = r.job_id
     where r.lane = '!ordered'
       and not exists (select from jobforge.turns t where t.tenant_id = j.tenant_id and t.ordering_key = j.ordering_key)
       and not jobforge.waits_in_line(j.tenant_id, j.ordering_key, j.id)
    union all
    select r.job_id, 'stands aside where no claim looks' from jobforge.ready r
     where r.aside not in ('!ordered', '!stopped', r.type) and r.aside not like '!turn%'
$function$
;
alter function jobforge.audit owner to jobforge_owner;
grant execute on function jobforge.audit to jobforge_admin;
comment on function jobforge.audit is 'One row for each job that does not stand in exactly one place.';

-- function jobforge.await_job
CREATE OR REPLACE FUNCTION jobforge.await_job(p_job_id uuid, p_for interval DEFAULT '00:01:00'::interval)
 RETURNS SETOF jobforge.all_jobs
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant text := jobforge.require_tenant(null);
    v_now    timestamptz := jobforge.now();
begin
    if not jobforge.check_interval(p_for, interval '0', interval '1 hour') or p_for is null then
        raise exception 'jobforge: p_for must be between 0 and 1 hour'
            using errcode = 'JF003', hint = 'Call it again when that is over.';
    end if;
    insert into jobforge.waits (job_id, tenant_id, until)
    select j.id, v_tenant, v_now + p_for from jobforge.jobs j
     where j.tenant_id = v_tenant and j.id = p_job_id
       and not exists (select from jobforge.outcomes o where o.job_id = j.id)
    on conflict (job_id) do update set until = greatest(waits.until, excluded.until);
    return query select * from jobforge.all_jobs a where a.tenant_id = v_tenant and a.id = p_job_id;
end
$function$
;
alter function jobforge.await_job owner to jobforge_owner;
grant execute on function jobforge.await_job to jobforge_admin;
grant execute on function jobforge.await_job to jobforge_app;
comment on function jobforge.await_job is 'The job as it is now; its end will be told on the channel jobforge_done.';

-- function jobforge.begin_walk
CREATE OR REPLACE FUNCTION jobforge.begin_walk(p_walk text, p_kinds text[], p_anew boolean)
 RETURNS TABLE(behind uuid, before uuid)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_now    timestamptz := jobforge.now();
    v_keep   interval := (select min(r.keep) from jobforge.retention r where r.kind = any (p_kinds));
    v_behind uuid;
    c_start  constant uuid := '00000000-0000-0000-0000-000000000000';
begin
    select p.behind into v_behind from jobforge.pruning p
     where p.walk = p_walk and (p_anew or p.behind <> c_start or p.began_at < v_now - interval '1 minute')
       for update skip locked;
    if not found then
        return;
    end if;
    if p_anew or v_behind = c_start then
        v_behind := c_start;
        update jobforge.pruning p set began_at = v_now where p.walk = p_walk;
    end if;
    return query
        select v_behind, case when v_keep is null then c_start  -- nothing ever leaves
                              else jobforge.new_job_id(greatest(v_now - v_keep, timestamptz '1970-01-01 00:00+00')) end;
end
$function$
;
alter function jobforge.begin_walk owner to jobforge_owner;
comment on function jobforge.begin_walk is 'Take one of prune''s walks.';

-- function jobforge.bring_back
CREATE OR REPLACE FUNCTION jobforge.bring_back(p_tenant_id text, p_limit integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_tenant  text collate "C";
    v_wrapped boolean := false;
    v_moved   integer := 0;
    v_now     integer;
begin
    if p_tenant_id is null then
        if not exists (select from jobforge.ready r where r.aside = '!stopped') then
            return 0;
        end if;
        v_tenant := coalesce((select l.name from jobforge.limits l
                               where l.scope = 'tenant' and (l.paused_at is not null or l.max_running = 0)
                               order by random() limit 1), '');
    end if;
    for i in 1 .. case when p_tenant_id is null then 1000 else 1 end loop
        v_tenant := coalesce(p_tenant_id, (
            select r.tenant_id from jobforge.ready r
             where r.aside = '!stopped' and r.tenant_id > v_tenant order by r.tenant_id limit 1));
        if v_tenant is null and not v_wrapped then
            v_tenant := '';
            v_wrapped := true;
            continue;
        end if;
        exit when v_tenant is null or v_moved >= p_limit;
        continue when exists (select from jobforge.limits l
                               where l.scope = 'tenant' and l.name = v_tenant
                                 and (l.paused_at is not null or l.max_running = 0));
        with back as materialized (
            select r.ctid from jobforge.ready r where r.aside = '!stopped' and r.tenant_id = v_tenant
             order by r.queue, r.priority, r.job_id limit p_limit - v_moved for update skip locked
        ), gone as (
            delete from jobforge.ready r where r.ctid = any (array(select b.ctid from back b)) returning r.*
        )
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
        select g.queue, g.tenant_id, g.priority, g.job_id, g.type, g.run, g.attempt, g.crashes,
               case when g.crashes < 2 then (select jobforge.lane_back()) end from gone g;
        get diagnostics v_now = row_count;
        v_moved := v_moved + v_now;
    end loop;
    return v_moved;
end
$function$
;
alter function jobforge.bring_back owner to jobforge_owner;
comment on function jobforge.bring_back is 'Jobs of tenants that are not stopped any more can be claimed again.';

-- function jobforge.budget
CREATE OR REPLACE FUNCTION jobforge.budget(p_scope text, p_names text[])
 RETURNS TABLE(name text, budget integer, weight integer, stopped boolean)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
declare
    -- each by a probe, of most of whom nothing was said: "in any of these" would be a filter behind all rows of the scope
    v_said   text[] := array(select n.name from unnest(p_names) n (name) cross join lateral (
                             select from jobforge.limits l where l.scope = p_scope and l.name = n.name limit 1) l);
    v_held   text[];
    v_unsure text[];  -- there may be leases that are not marked
    v_before jsonb := '{}';  -- how many of each such: read once for all of them, for no index has these
    v_xmin   bigint;
begin
    if v_said = '{}' then
        return;
    end if;
    v_held := array(
        select n.name from unnest(v_said) n (name) cross join lateral (
               select from jobforge.limits l
                where l.scope = p_scope and l.name = n.name and l.paused_at is null
                  and (l.max_running > 0 or l.rate is not null) and (l.rate is null or jobforge.tokens_of(l) >= 1)
                  for update skip locked) l);
    v_unsure := array(
        select n.name from unnest(v_held) n (name) cross join lateral (
               select from jobforge.limits l
                where l.scope = p_scope and l.name = n.name and l.max_running is not null and not l.counted limit 1) l);
    if v_unsure <> '{}' then
        -- A claim that did not know of the limit may still commit leases that are not marked. A minute later it has ended
        -- or has an xid, for it has written them; once all who had one by then have ended, what it left can be seen.
        update jobforge.limits l set since = jobforge.now()
         where l.scope = p_scope and l.name = any (v_unsure) and l.since is null;
        update jobforge.limits l set settled_xid = pg_current_xact_id()::text::bigint
         where l.scope = p_scope and l.name = any (v_unsure) and l.settled_xid is null
           and l.since < jobforge.now() - interval '1 minute' - (clock_timestamp() - now());  -- when this xid was not yet given
        v_xmin := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;  -- before they are counted
        v_before := jobforge.running_before(p_scope);
        update jobforge.limits l set counted = true
         where l.scope = p_scope and l.name = any (v_unsure) and l.settled_xid <= v_xmin and not v_before ? l.name;
    end if;
    return query
        select n.name, l.*
          from unnest(v_said) n (name) cross join lateral (
               select case when l.paused_at is not null then 0
                           when l.max_running is null and l.rate is null then null
                           when l.name <> all (v_held) then 0
                           else greatest(0, least(
                               l.max_running - case when l.max_running is not null then jobforge.running_of(l, v_before, true) end,
                               case when l.rate is not null then floor(jobforge.tokens_of(l)) end))::integer
                      end,
                      coalesce(l.weight, 1), l.paused_at is not null or coalesce(l.max_running = 0, false)
                 from jobforge.limits l where l.scope = p_scope and l.name = n.name limit 1) l;
end
$function$
;
alter function jobforge.budget owner to jobforge_owner;
comment on function jobforge.budget is 'How many jobs of a tenant, a queue or a task a claim may take now.';

-- function jobforge.cancel_job
CREATE OR REPLACE FUNCTION jobforge.cancel_job(p_job_id uuid, p_notify boolean DEFAULT true)
 RETURNS SETOF jobforge.all_jobs
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant text := jobforge.require_tenant(null);
begin
    perform jobforge.cancel_now(v_tenant, p_job_id, p_notify);
    return query select * from jobforge.all_jobs a where a.tenant_id = v_tenant and a.id = p_job_id;
end
$function$
;
alter function jobforge.cancel_job owner to jobforge_owner;
grant execute on function jobforge.cancel_job to jobforge_admin;
grant execute on function jobforge.cancel_job to jobforge_app;
comment on function jobforge.cancel_job is 'Cancel a job of this tenant; a running one is told.';

-- function jobforge.cancel_jobs
CREATE OR REPLACE FUNCTION jobforge.cancel_jobs(p_state text DEFAULT NULL::text, p_type text DEFAULT NULL::text, p_queue text DEFAULT NULL::text, p_since timestamp with time zone DEFAULT NULL::timestamp with time zone, p_until timestamp with time zone DEFAULT NULL::timestamp with time zone, p_subject text DEFAULT NULL::text, p_limit integer DEFAULT 1000, p_cursor uuid DEFAULT NULL::uuid, p_all_tenants boolean DEFAULT false, p_dry_run boolean DEFAULT false, p_notify boolean DEFAULT true)
 RETURNS TABLE(changed integer, skipped integer, next_cursor uuid)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '2s'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_tenant text := case when p_all_tenants is not true then jobforge.require_tenant(null) end;
    v_states text[] := jobforge.check_states(p_state, array['scheduled', 'queued', 'running']);
    v_met    uuid[];
    v_cursor uuid;
    v_told   uuid[] := '{}';
    v_gone   jobforge.scheduled[] := '{}';
begin
    perform jobforge.check_bulk(p_all_tenants, p_limit);
    select m.met, m.next_cursor into v_met, v_cursor
      from jobforge.meet_jobs(v_tenant, v_states, p_type, p_queue, p_subject, p_since, p_until, null, p_limit, p_cursor) m;
    if p_dry_run then
        return query select cardinality(v_met), 0, v_cursor;
        return;
    end if;
    -- requests first and in the order of ids, as who cancels one by one: another's, in a transaction that is open, is
    -- waited for, and then these are skipped. Behind that nothing waits. No lock on a lease: see cancel_now
    if 'running' = any (v_states) then
        begin
            with told as (
                insert into jobforge.cancel_requests (job_id, tenant_id, requested_at)
                select l.job_id, l.tenant_id, jobforge.now() from jobforge.leases l
                 where l.job_id = any (v_met) order by l.job_id
                on conflict do nothing returning job_id
            )
            select coalesce(array_agg(t.job_id), '{}') into v_told from told t;
        exception when lock_not_available then
            v_told := '{}';
        end;
        if v_told <> '{}' and p_notify is not false then
            perform jobforge.wake(':cancel');
        end if;
    end if;
    if v_states <> array['running'] then
        v_gone := array(select g from jobforge.leave_places(
            array(select m from unnest(v_met) m except select t from unnest(v_told) t)) g);
        perform jobforge.end_waiting(v_gone, p_notify);
    end if;
    return query
        select cardinality(v_told) + cardinality(v_gone), cardinality(v_met) - cardinality(v_told) - cardinality(v_gone),
               v_cursor;
end
$function$
;
alter function jobforge.cancel_jobs owner to jobforge_owner;
grant execute on function jobforge.cancel_jobs to jobforge_admin;
grant execute on function jobforge.cancel_jobs to jobforge_app;
comment on function jobforge.cancel_jobs is 'Cancel the jobs that fit, batch by batch.';

-- function jobforge.cancel_jobs_of
CREATE OR REPLACE FUNCTION jobforge.cancel_jobs_of(p_subject text, p_notify boolean DEFAULT true)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant text := jobforge.require_tenant(null);
    v_job    uuid;
    v_count  integer := 0;
begin
    for v_job in
        select j.id from jobforge.jobs j
         where j.tenant_id = v_tenant and j.subject = p_subject
           and not exists (select from jobforge.outcomes o where o.job_id = j.id)
         order by j.id
    loop
        perform jobforge.cancel_now(v_tenant, v_job, p_notify);
        v_count := v_count + 1;
    end loop;
    return v_count;
end
$function$
;
alter function jobforge.cancel_jobs_of owner to jobforge_owner;
grant execute on function jobforge.cancel_jobs_of to jobforge_admin;
grant execute on function jobforge.cancel_jobs_of to jobforge_app;
comment on function jobforge.cancel_jobs_of is 'Cancel the jobs of a row that have not ended.';

-- function jobforge.cancel_now
CREATE OR REPLACE FUNCTION jobforge.cancel_now(p_tenant_id text, p_job_id uuid, p_notify boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_job  jobforge.jobs;
    v_gone jobforge.scheduled;
begin
    select * into v_job from jobforge.jobs j where j.tenant_id = p_tenant_id and j.id = p_job_id;
    if not found then
        return;
    end if;
    for i in 1 .. 100 loop
        v_gone := jobforge.leave_place(v_job);
        if v_gone.run is not null then
            perform jobforge.end_waiting(array[v_gone], p_notify);
            return;
        end if;
        -- no lock on the lease: our caller's transaction may stay open, and its completion stands in a batch with those
        -- of other tenants. A run that ends without seeing the request is settled by upkeep.
        perform from jobforge.leases l where l.job_id = v_job.id;
        if found then
            insert into jobforge.cancel_requests (job_id, tenant_id, requested_at)
            values (v_job.id, v_job.tenant_id, jobforge.now()) on conflict do nothing;
            if p_notify is not false then
                perform jobforge.wake(':cancel');  -- in place of a queue's name: workers send a heartbeat at once
            end if;
            return;
        end if;
        exit when exists (select from jobforge.outcomes o where o.job_id = v_job.id);
    end loop;
end
$function$
;
alter function jobforge.cancel_now owner to jobforge_owner;
comment on function jobforge.cancel_now is 'Cancel a job where it stands.';

-- function jobforge.check_bulk
CREATE OR REPLACE FUNCTION jobforge.check_bulk(p_all_tenants boolean, p_limit integer)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if p_limit is null or p_limit not between 1 and 10000 then
        raise exception 'jobforge: p_limit must be between 1 and 10000'
            using errcode = 'JF003', hint = 'Pass a number of these; of more, commit each batch, and go on from its cursor.';
    end if;
    perform jobforge.require_read_committed();
    if p_all_tenants is not true then
        return;
    end if;
    if not pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user), 'jobforge_admin', 'usage') then
        raise exception 'jobforge: only jobforge_admin changes the jobs of all tenants' using errcode = '42501';
    end if;
    if jobforge.current_tenant() is not null then
        raise exception 'jobforge: all tenants are asked for in a transaction of one'
            using errcode = 'JF002', hint = 'Leave p_all_tenants out, or set no tenant.';
    end if;
end
$function$
;
alter function jobforge.check_bulk owner to jobforge_owner;
comment on function jobforge.check_bulk is 'Raises for a bulk call that is not bounded, or not allowed.';

-- function jobforge.check_claim
CREATE OR REPLACE FUNCTION jobforge.check_claim(p_worker_id uuid, p_queues text[], p_types text[], p_limit integer, p_alive interval)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_fault text := case
        when p_worker_id is null then 'p_worker_id must be a uuid of the worker''s own'
        when p_queues is null or p_types is null or num_nulls(variadic p_queues) + num_nulls(variadic p_types) > 0
            then 'p_queues and p_types must be arrays without NULL'
        when p_limit is null or p_limit not between 1 and 10000 then 'p_limit must be between 1 and 10000'
        when p_alive is null or not jobforge.check_interval(p_alive, interval '1 second', interval '1 day')
            then 'p_alive must be between 1 second and 1 day'
    end;
begin
    if v_fault is not null then
        raise exception 'jobforge: %', v_fault using errcode = 'JF003', hint = 'Change that argument; nothing was claimed.';
    end if;
    perform jobforge.require_read_committed();
end
$function$
;
alter function jobforge.check_claim owner to jobforge_owner;
comment on function jobforge.check_claim is 'Raises JF003 or JF005 for a claim that could not work.';

-- function jobforge.check_connector
CREATE OR REPLACE FUNCTION jobforge.check_connector(p_type text, p_config json)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_kinds constant jsonb := '{"enabled": "boolean", "schemes": "array", "ports": "array", "methods": "array",
        "allow_hosts": "array", "deny_hosts": "array", "deny_networks": "array", "timeout": "number",
        "max_bytes": "number",
        "max_request_bytes": "number", "disable_after": "number", "disable_after_seconds": "number"}';
    v_key   text;
    v_value jsonb;
begin
    if p_type <> '' and (length(p_type) > 100 or p_type !~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$') then
        raise exception 'jobforge: no connector has the type %', quote_literal(left(p_type, 50))
            using errcode = 'JF003', hint = 'Leave the type out for every connector; or connector.http.request, for one.';
    end if;
    if json_typeof(p_config) is distinct from 'object' or octet_length(p_config::text) > 65536 then
        raise exception 'jobforge: a configuration is a JSON object of at most 65536 bytes'
            using errcode = 'JF003', hint = 'Such as {"allow_hosts": ["api.example.com"], "timeout": 10}.';
    end if;
    for v_key, v_value in select e.key, e.value from jsonb_each(p_config::jsonb) e loop
        if v_kinds ->> v_key is null then
            raise exception 'jobforge: a connector has no setting %', quote_literal(left(v_key, 50))
                using errcode = 'JF003', hint = case v_key when 'allow_networks' then
                    'Networks that are not public are named by the operator''s program only: Egress(allow_networks=...).'
                    else 'Settings: ' || (select string_agg(k, ', ' order by k) from jsonb_object_keys(v_kinds) k) || '.' end;
        end if;
        if jsonb_typeof(v_value) <> v_kinds ->> v_key
           or jsonb_typeof(v_value) = 'array' and exists (
              select from jsonb_array_elements(v_value) i
               where jsonb_typeof(i) <> case v_key when 'ports' then 'number' else 'string' end)
           or jsonb_typeof(v_value) = 'number' and not (v_value #>> '{}')::numeric between 0.001 and 1e9 then
            raise exception 'jobforge: the setting % is not what it should be', v_key
                using errcode = 'JF003',
                      hint = 'It is ' || case when v_key = 'ports' then 'an array of numbers'
                          else case v_kinds ->> v_key when 'array' then 'an array of texts' when 'boolean' then 'true or false'
                               else 'a number above 0' end end || '.';
        end if;
    end loop;
end
$function$
;
alter function jobforge.check_connector owner to jobforge_owner;
comment on function jobforge.check_connector is 'Raises JF003 for a configuration that could not work.';

-- function jobforge.check_heads
CREATE OR REPLACE FUNCTION jobforge.check_heads(p_queue text, p_lanes text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_now timestamptz := clock_timestamp();
begin
    with recursive head as (
        select h.* from unnest(p_lanes) l (lane) cross join lateral (
               select h.lane, h.tenant_id, h.priority, h.job_id, h.ctid as place from jobforge.heads h
                where h.queue = p_queue and h.lane = l.lane order by h.tenant_id, h.priority, h.marked_at desc limit 1) h
        union all
        select h.* from head b cross join lateral (
               select h.lane, h.tenant_id, h.priority, h.job_id, h.ctid as place from jobforge.heads h
                where h.queue = p_queue and h.lane = b.lane and (h.tenant_id, h.priority) > (b.tenant_id, b.priority)
                order by h.tenant_id, h.priority, h.marked_at desc limit 1) h
    ), before as materialized (
        select h.lane, h.tenant_id, h.priority, h.place, r.job_id
          from head h cross join lateral (
               select r.job_id from jobforge.ready r
                where r.queue = p_queue and r.lane = h.lane and r.tenant_id = h.tenant_id and r.priority = h.priority
                  and r.job_id < h.job_id order by r.job_id limit 1) r
    ), gone as (
        delete from jobforge.heads d where d.ctid = any (array(
            select h.ctid from before b cross join lateral (
                   select h.ctid from jobforge.heads h where h.ctid = b.place for update skip locked) h))
    )
    insert into jobforge.heads (queue, lane, tenant_id, priority, job_id, marked_at)
    select p_queue, b.lane, b.tenant_id, b.priority, b.job_id, v_now from before b;
end
$function$
;
alter function jobforge.check_heads owner to jobforge_owner;
comment on function jobforge.check_heads is 'Heads go back to jobs that stand before them.';

-- function jobforge.check_interval
CREATE OR REPLACE FUNCTION jobforge.check_interval(p_value interval, p_low interval, p_high interval)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if p_value is null or not p_value between p_low and p_high then
        return case when p_value is null then null else false end;
    end if;
    return extract(year from p_value) >= 0 and extract(month from p_value) >= 0 and extract(day from p_value) >= 0
       and extract(hour from p_value) >= 0 and extract(minute from p_value) >= 0 and extract(second from p_value) >= 0;
end
$function$
;
alter function jobforge.check_interval owner to jobforge_owner;
comment on function jobforge.check_interval is 'Whether an interval lies between two bounds, without negative parts.';

-- function jobforge.check_job
CREATE OR REPLACE FUNCTION jobforge.check_job(p_position integer, p_type text, p_payload json, p_queue text, p_priority integer, p_run_at timestamp with time zone, p_delay interval, p_idempotency_key text, p_max_attempts integer, p_retry jsonb, p_timeout interval, p_trace json, p_subject text, p_unique_key text DEFAULT NULL::text, p_on_duplicate text DEFAULT NULL::text, p_ordering_key text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    c_name constant text := '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$';  -- with {0,99} the engine takes 6 microseconds more
    v_fault text := case
        when p_type is null or p_type !~ c_name or length(p_type) > 100
            then 'type must be 1 to 100 of A-Z a-z 0-9 _ . : - and not begin with . : -'
        when p_queue !~ c_name or length(p_queue) > 100
            then 'queue must be 1 to 100 of A-Z a-z 0-9 _ . : - and not begin with . : -'
        when p_priority not between -100 and 100 then 'priority must be between -100 (first) and 100 (last)'
        when p_max_attempts not between 1 and 1000 then 'max_attempts must be between 1 and 1000'
        when p_run_at is not null and p_delay is not null then 'give run_at or delay, not both'
        when p_run_at not between '1970-01-01 00:00+00' and '3000-01-01 00:00+00'
            then 'run_at must lie between the years 1970 and 3000'
        when not jobforge.check_interval(p_delay, interval '0', interval '10 years') then 'delay must be between 0 and 10 years'
        when not jobforge.check_interval(p_timeout, interval '1 millisecond', interval '30 days')
            then 'timeout must be between 1 millisecond and 30 days'
        when length(p_idempotency_key) not between 1 and 200 then 'idempotency_key must have 1 to 200 characters'
        when length(p_unique_key) not between 1 and 200 then 'unique_key must have 1 to 200 characters'
        when p_unique_key is not null and p_idempotency_key is not null
            then 'give idempotency_key or unique_key, not both'
        when p_on_duplicate is not null and p_unique_key is null then 'on_duplicate needs a unique_key'
        when p_on_duplicate not in ('keep', 'replace', 'merge') then 'on_duplicate must be keep, replace or merge'
        when length(p_ordering_key) not between 1 and 200 then 'ordering_key must have 1 to 200 characters'
        when length(p_subject) not between 1 and 300 then 'subject must have 1 to 300 characters'
        when p_retry is not null and not jobforge.check_retry(p_retry)
            then 'retry must be {"base", "factor", "max", "jitter"} or {"delays": [...]}, in seconds, up to 30 days'
        when p_trace is not null and (json_typeof(p_trace) <> 'object' or octet_length(p_trace::text) > 4096)
            then 'trace must be a JSON object of at most 4 kB'
    end;
    v_payload_fault text := case
        when p_payload is null or json_typeof(p_payload) <> 'object' then 'the payload must be a JSON object'
        when octet_length(p_payload::text) > 262144
            then 'the payload has ' || octet_length(p_payload::text) || ' bytes, 262144 are allowed'
    end;
begin
    if v_fault is not null or v_payload_fault is not null then
        raise exception 'jobforge: %', coalesce(v_fault, v_payload_fault)
            || coalesce(' (job at position ' || p_position || ')', '')
            using errcode = case when v_fault is not null then 'JF003' else 'JF004' end,
                  hint = case when v_fault is not null then 'Change that argument; nothing was enqueued.'
                              else 'Store large or free data in a table of yours and enqueue its key; nothing was enqueued.' end;
    end if;
    -- what jsonb cannot hold nobody could query: NUL, half a surrogate pair, numbers beyond numeric
    perform p_payload::jsonb, p_trace::jsonb;
    return true;
end
$function$
;
alter function jobforge.check_job owner to jobforge_owner;
comment on function jobforge.check_job is 'Raises JF003 or JF004 for a job that must not be stored.';

-- function jobforge.check_limit
CREATE OR REPLACE FUNCTION jobforge.check_limit(p_limit integer)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if p_limit is null or p_limit not between 1 and 100000 then
        raise exception 'jobforge: p_limit must be between 1 and 100000'
            using errcode = 'JF003', hint = 'Call it again until it has nothing left to do.';
    end if;
    perform jobforge.require_read_committed();
end
$function$
;
alter function jobforge.check_limit owner to jobforge_owner;
comment on function jobforge.check_limit is 'Raises JF003 or JF005 for a maintenance step that could not work.';

-- function jobforge.check_number
CREATE OR REPLACE FUNCTION jobforge.check_number(p_value jsonb, p_low numeric, p_high numeric)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if jsonb_typeof(p_value) is distinct from 'number' then
        return false;
    end if;
    return p_value::numeric between p_low and p_high and scale(p_value::numeric) <= 20;
end
$function$
;
alter function jobforge.check_number owner to jobforge_owner;
comment on function jobforge.check_number is 'Whether a JSON value is a number between two bounds.';

-- function jobforge.check_quota
CREATE OR REPLACE FUNCTION jobforge.check_quota(p_tenant_id text)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
    v_quota integer := (select l.max_waiting from jobforge.limits l where l.scope = 'tenant' and l.name = p_tenant_id);
    v_left  integer := v_quota + 1;  -- so many more, and it is over
begin
    if v_quota is null then
        return;
    end if;
    v_left := v_left - (select count(*) from (
        select from jobforge.scheduled s where s.tenant_id = p_tenant_id limit v_left) s);
    v_left := v_left - (select count(*) from (
        select from jobforge.ready r where r.tenant_id = p_tenant_id limit greatest(v_left, 0)) r);
    if v_left <= 0 then
        raise exception 'jobforge: the tenant''s quota of % waiting jobs is used up', v_quota
            using errcode = 'JF007', hint = 'Wait until some have run; or an administrator raises it: limit_tenant.';
    end if;
end
$function$
;
alter function jobforge.check_quota owner to jobforge_owner;
comment on function jobforge.check_quota is 'Raises JF007 where a tenant has more waiting jobs than its quota.';

-- function jobforge.check_retry
CREATE OR REPLACE FUNCTION jobforge.check_retry(p_retry jsonb)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_key   text;
    v_value jsonb;
    c_month constant integer := 2592000;  -- seconds
begin
    if jsonb_typeof(p_retry) <> 'object' then
        return false;
    end if;
    for v_key, v_value in select * from jsonb_each(p_retry) loop
        if not (case v_key
            when 'base' then jobforge.check_number(v_value, 0, c_month)
            when 'max' then jobforge.check_number(v_value, 0, c_month)
            when 'factor' then jobforge.check_number(v_value, 1, 100)
            when 'jitter' then jobforge.check_number(v_value, 0, 1)
            when 'delays' then jsonb_typeof(v_value) = 'array'
            else false end)
        then
            return false;
        end if;
    end loop;
    return p_retry -> 'delays' is null
        or jsonb_array_length(p_retry -> 'delays') between 1 and 100
           and not exists (select from jsonb_array_elements(p_retry -> 'delays') d (value)
                            where not jobforge.check_number(d.value, 0, c_month));
end
$function$
;
alter function jobforge.check_retry owner to jobforge_owner;
comment on function jobforge.check_retry is 'Whether a retry policy is well formed.';

-- function jobforge.check_scope
CREATE OR REPLACE FUNCTION jobforge.check_scope(p_scope text, p_name text)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if p_scope = 'tenant' then
        perform jobforge.check_tenant(p_name);
    elsif p_name is null or p_name !~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$' or length(p_name) > 100 then
        raise exception 'jobforge: a % has 1 to 100 of A-Z a-z 0-9 _ . : - and does not begin with . : -', p_scope
            using errcode = 'JF003', hint = 'Pass the name as it was enqueued: jobforge queues, jobforge jobs list.';
    end if;
end
$function$
;
alter function jobforge.check_scope owner to jobforge_owner;
comment on function jobforge.check_scope is 'Raises JF003 for what cannot be a tenant, a queue or a task.';

-- function jobforge.check_states
CREATE OR REPLACE FUNCTION jobforge.check_states(p_state text, p_states text[])
 RETURNS text[]
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if p_state <> all (p_states) then
        raise exception 'jobforge: this call changes no job with the state %', quote_literal(left(p_state, 50))
            using errcode = 'JF003', hint = 'States: ' || array_to_string(p_states, ', ') || '.';
    end if;
    return case when p_state is null then p_states else array[p_state] end;
end
$function$
;
alter function jobforge.check_states owner to jobforge_owner;
comment on function jobforge.check_states is 'The states that a bulk call is for.';

-- function jobforge.check_tenant
CREATE OR REPLACE FUNCTION jobforge.check_tenant(p_tenant_id text)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if p_tenant_id is null or length(p_tenant_id) not between 1 and 200 then
        raise exception 'jobforge: a tenant has 1 to 200 characters, this one has %', coalesce(length(p_tenant_id), 0)
            using errcode = 'JF003', hint = 'Use a shorter identifier, such as the tenant''s key.';
    end if;
end
$function$
;
alter function jobforge.check_tenant owner to jobforge_owner;
comment on function jobforge.check_tenant is 'Raises JF003 for what cannot be a tenant.';

-- function jobforge.claim_alone
CREATE OR REPLACE FUNCTION jobforge.claim_alone(p_worker_id uuid, p_queues text[], p_types text[], p_said boolean)
 RETURNS TABLE(job_id uuid, tenant_id text, queue text, type text, priority smallint, payload text, run integer, attempt integer, max_attempts integer, crashes integer, lease_token uuid, claimed_at timestamp with time zone, deadline timestamp with time zone, timeout interval, run_at timestamp with time zone, created_at timestamp with time zone, idempotency_key text, parent_id uuid, trace text, tenant_token text)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_queues text[] := array(select q.name from unnest(p_queues) with ordinality q (name, place)
                              where exists (select from jobforge.ready r where r.queue = q.name and r.lane = '!suspect')
                              order by q.place);
    v_types  text[] := p_types;
begin
    if v_queues = '{}' then  -- most often; whoever finds nothing to do keeps no limit from others
        return;
    end if;
    if p_said then
        v_queues := array(select q.name from unnest(v_queues) with ordinality q (name, place)
                           where q.name <> all (array(select b.name from jobforge.budget('queue', v_queues) b where b.budget <= 0))
                           order by q.place);
        v_types := array(select t.type from unnest(p_types) t (type)
                          where t.type <> all (array(select b.name from jobforge.budget('task', p_types) b where b.budget <= 0)));
    end if;
    for i in 1 .. coalesce(cardinality(v_queues), 0) loop
        return query
            select * from jobforge.claim_ring(p_worker_id, v_queues[i], '{!suspect}', v_types, 1, null, p_said, p_said, false);
        if found then
            if p_said then
                perform jobforge.spend('queue', v_queues[i], 1);
                perform jobforge.spend('task', l.type, 1)
                   from (select l.type from jobforge.leases l where l.worker_id = p_worker_id
                          order by l.claimed_at desc limit 1) l;
            end if;
            return;
        end if;
    end loop;
end
$function$
;
alter function jobforge.claim_alone owner to jobforge_owner;
comment on function jobforge.claim_alone is 'Claim one suspect.';

-- function jobforge.claim_jobs
CREATE OR REPLACE FUNCTION jobforge.claim_jobs(p_worker_id uuid, p_queues text[], p_types text[], p_limit integer DEFAULT 10, p_queue_limits integer[] DEFAULT NULL::integer[], p_cursors text[] DEFAULT NULL::text[], p_alive interval DEFAULT '00:00:30'::interval, p_alone boolean DEFAULT false)
 RETURNS TABLE(job_id uuid, tenant_id text, queue text, type text, priority smallint, payload text, run integer, attempt integer, max_attempts integer, crashes integer, lease_token uuid, claimed_at timestamp with time zone, deadline timestamp with time zone, timeout interval, run_at timestamp with time zone, created_at timestamp with time zone, idempotency_key text, parent_id uuid, trace text, tenant_token text)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
#variable_conflict use_column
declare
    v_said    boolean;
    v_heads   boolean;
    v_limited text[] := '{}';         -- of its types those that are limited or paused
    v_types   text[] := p_types;      -- and the others
    v_lanes   text[];
    v_left    integer;                -- what is left for all queues
    v_queue   integer;                -- and for this one
    v_budget  integer;
    v_before  integer;
    v_marked  boolean;                -- something was said of the queue
    v_taken   integer;
    v_share   integer;
    v_task    record;
    v_look    boolean;                -- it looks in spite of the heads; NULL: there are none
begin
    perform jobforge.check_claim(p_worker_id, p_queues, p_types, p_limit, p_alive);
    perform jobforge.keep_alive(p_worker_id, p_alive);
    perform jobforge.make_ready();
    select exists (select from jobforge.limits), exists (select from jobforge.heads) or s.last_value > 1
      into v_said, v_heads from jobforge.turn_lanes s;
    if v_said then
        v_limited := array(
            select distinct t.type from unnest(p_types) t (type) cross join lateral (
                   select from jobforge.limits l
                    where l.scope = 'task' and l.name = t.type
                      and (l.paused_at is not null or l.max_running is not null or l.rate is not null) limit 1) l);
        if v_limited <> '{}' then
            v_types := array(select unnest(p_types) except select unnest(v_limited));
        end if;
    end if;
    v_left := p_limit;

    for i in 1 .. coalesce(cardinality(p_queues), 0) loop
        v_queue := least(v_left, p_queue_limits[i]);
        v_marked := false;
        if v_said then
            select least(v_queue, b.budget), true into v_budget, v_marked from jobforge.budget('queue', array[p_queues[i]]) b;
            v_marked := coalesce(v_marked, false);
            v_queue := case when v_marked then v_budget else v_queue end;
        end if;
        continue when v_queue <= 0;
        v_before := v_queue;
        v_look := case when v_heads then jobforge.look_due('!main', p_queues[i]) end;
        v_lanes := jobforge.lanes_of(p_queues[i], p_types, v_look);
        if v_limited <> '{}' then
            v_lanes := array(select unnest(v_lanes) except all select unnest(v_limited));
        end if;
        for v_pass in 1 .. 2 loop  -- limited tasks have their share, all others theirs, and then limited ones what is left
            if v_limited <> '{}' then
                for v_task in
                    select b.name, b.budget, row_number() over (order by random()) as place
                      from jobforge.budget('task', jobforge.lanes_of(p_queues[i], v_limited, v_look)) b
                     where b.budget > 0 order by place desc
                loop
                    exit when v_queue <= 0;
                    -- an equal part for each that is left, and for the rest: of a claim of one job by chance, or the rest
                    -- had none
                    v_share := least(v_task.budget, case v_pass when 1 then floor(v_queue / (v_task.place + 1.0) + random())
                                                                else v_queue end);
                    continue when v_share = 0;
                    return query
                        select * from jobforge.claim_ring(p_worker_id, p_queues[i], array[v_task.name], array[v_task.name],
                                                          v_share, null, v_said, true,
                                                          case when v_heads then jobforge.look_due(v_task.name, p_queues[i]) end);
                    get diagnostics v_taken = row_count;
                    perform jobforge.spend('task', v_task.name, v_taken);
                    v_queue := v_queue - v_taken;
                end loop;
            end if;
            exit when v_pass = 2 or v_queue <= 0;
            return query
                select * from jobforge.claim_ring(p_worker_id, p_queues[i], v_lanes, v_types, v_queue, p_cursors[i], v_said,
                                                  v_marked, v_look);
            get diagnostics v_taken = row_count;
            v_queue := v_queue - v_taken;
            exit when v_limited = '{}';
        end loop;
        v_left := v_left - (v_before - v_queue);
        if v_said then
            perform jobforge.spend('queue', p_queues[i], v_before - v_queue);
        end if;
    end loop;
    if p_alone and v_left = p_limit then
        return query select * from jobforge.claim_alone(p_worker_id, p_queues, p_types, v_said);
    end if;
end
$function$
;
alter function jobforge.claim_jobs owner to jobforge_owner;
grant execute on function jobforge.claim_jobs to jobforge_worker;
comment on function jobforge.claim_jobs is 'Give a worker jobs with leases, fairly over the tenants.';

-- function jobforge.claim_ring
CREATE OR REPLACE FUNCTION jobforge.claim_ring(p_worker_id uuid, p_queue text, p_lanes text[], p_types text[], p_limit integer, p_after text, p_said boolean, p_limited boolean, p_look boolean)
 RETURNS TABLE(job_id uuid, tenant_id text, queue text, type text, priority smallint, payload text, run integer, attempt integer, max_attempts integer, crashes integer, lease_token uuid, claimed_at timestamp with time zone, deadline timestamp with time zone, timeout interval, run_at timestamp with time zone, created_at timestamp with time zone, idempotency_key text, parent_id uuid, trace text, tenant_token text)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_alone   boolean := p_lanes = '{!suspect}';
    v_heads   boolean := false;
    v_all     boolean := false;    -- a full look, in spite of them
    v_chance  bytea := uuid_send(gen_random_uuid());  -- secret: what makes this claim's tokens
    v_names   text[];              -- by the heads: whom to visit
    v_lanes   text[];              -- in which lane,
    v_firsts  smallint[];          -- from where on
    v_jobs    uuid[];
    v_places  integer[];           -- and which of the page it is
    v_kept    integer[];           -- which of the page are left
    v_read    bigint;
    v_passed  bigint;              -- entries of the index that were read in vain
    v_mark    boolean;             -- many deleted jobs were passed: it notes where those begin whom it visits
    v_began   timestamptz := clock_timestamp();
    v_behind  boolean := false;    -- of the page some had no share
    v_cut     boolean := false;    -- the page ends before many tenants that have nothing
    v_luck    integer := random() * 1000;
    v_same    boolean := false;    -- the tenants of this page are all, or the next ones: another round goes to them again
    v_mine    text;                -- the session's own place on the ring
    v_said    text;
    v_noted   jsonb;               -- what the claim has met, of each tenant, lane and priority
    v_left    integer := p_limit;
    v_after   text collate "C";    -- the ring goes on behind this tenant
    v_again   boolean := false;
    v_page    integer;             -- so many tenants are looked at in one statement
    v_tenants text[];              -- the next ones on the ring
    v_shares  integer[];           -- how many jobs each may give; NULL: as many as any other
    v_met     integer;             -- how many they are
    v_many    integer;             -- and so many share what is left
    v_last    text collate "C";    -- and the last of these
    v_wrapped boolean;             -- they pass the ring's end
    v_dry     integer := 0;        -- passages of the ring's end since a job was found
    v_taken   integer;
    v_limited text[] := '{}';      -- of the page those of whom something was said: an index counts their leases
    v_stopped text[];              -- of the page those that give none until somebody says otherwise
    v_short   text[];              -- gave less than they should, for something stands there that may not run
    v_steps   integer := 0;        -- how many such were met
    v_moved   integer;             -- rows put aside in this round
    v_aside   integer := 0;        -- and by all
    c_none    constant uuid := '00000000-0000-0000-0000-000000000000';
begin
    -- each query costs a claim of one job a hundredth of its time, be it as small as these: none is asked in vain
    if p_look is not null then
        v_heads := exists (select from jobforge.heads h where h.queue = p_queue);
        v_all := p_look and v_heads;
        v_heads := v_heads and not v_all;
    end if;
    if p_said then
        v_again := random() > p_limit / (  -- smaller claims than a tenant's weight: it has its share in several
            select l.weight from jobforge.limits l where l.scope = 'tenant' and l.name = p_after)::float8;
    end if;
    if v_heads and p_after is null then  -- it goes on where it ended: to begin by chance would pass deleted ones, or idle tenants
        v_mine := 'jobforge.after_' || md5(p_lanes[1] || ' ' || p_queue);
        v_after := nullif(current_setting(v_mine, true), '');
    end if;
    v_after := coalesce(p_after, v_after);
    if v_after is null then
        v_after := coalesce((  -- a random place in a lane that has any: with '' the first tenants would come first, always
            select s.start from (select jobforge.ring_start(p_queue, l.lane, v_heads) as start
                                   from (select u.lane from unnest(p_lanes) u (lane) order by random()) l) s
             where s.start <> '' limit 1), '');
    end if;
    while v_left > 0 loop
        -- where the first page did not give enough many may be stopped or at their limits
        v_page := case when p_said and v_last is not null then greatest(v_left, 100) else v_left end;
        if not v_same then
            v_read := pg_stat_get_xact_blocks_fetched('jobforge.ready_ring'::regclass);
            v_passed := pg_stat_get_xact_tuples_returned('jobforge.ready_ring'::regclass)
                        - pg_stat_get_xact_tuples_fetched('jobforge.ready_ring'::regclass);
            if v_heads then
                select r.tenants, r.met, r.last, r.wrapped, r.cut, r.names, r.lanes, r.priorities, r.jobs, r.places
                  into v_tenants, v_met, v_last, v_wrapped, v_cut, v_names, v_lanes, v_firsts, v_jobs, v_places
                  from jobforge.ring_of(p_queue, p_lanes, v_after, coalesce(v_again, false), v_page) r;
                v_again := false;
            else
                with recursive ring (tenant_id, place, wrapped) as (
                    select v_after, 0, false
                    union all
                    select coalesce(n.tenant_id, f.tenant_id), ring.place + 1, ring.wrapped or n.tenant_id is null
                      from ring
                     cross join lateral (select min((
                           select r.tenant_id from jobforge.ready r
                            where r.queue = p_queue and r.lane = l.lane and r.tenant_id > ring.tenant_id
                            order by r.tenant_id limit 1)) from unnest(p_lanes) l (lane)) n (tenant_id)
                     cross join lateral (select case when n.tenant_id is null and not ring.wrapped then (
                           select min((
                           select r.tenant_id from jobforge.ready r
                            where r.queue = p_queue and r.lane = l.lane
                            order by r.tenant_id limit 1)) from unnest(p_lanes) l (lane)) end) f (tenant_id)
                     where ring.place < v_page and ring.tenant_id is not null
                       and not (ring.wrapped and ring.tenant_id >= v_after)
                )
                select array_agg(m.tenant_id order by m.place) filter (where m.met), count(*) filter (where m.met),
                       (array_agg(m.tenant_id order by m.place desc) filter (where m.met))[1], bool_or(m.wrapped)
                  into v_tenants, v_met, v_last, v_wrapped
                  from (select ring.*, ring.tenant_id is not null and not (ring.wrapped and ring.tenant_id > v_after) as met
                          from ring where ring.place > 0) m;
            end if;
            v_passed := pg_stat_get_xact_tuples_returned('jobforge.ready_ring'::regclass)
                        - pg_stat_get_xact_tuples_fetched('jobforge.ready_ring'::regclass) - v_passed;
            v_mark := not v_alone and (
                v_passed > case when v_heads then 40 + 2 * v_met else 200 + 3 * v_met * cardinality(p_lanes) + 2 * v_left end
                -- those that could be removed cost less: an index has a hundred on a page
                or pg_stat_get_xact_blocks_fetched('jobforge.ready_ring'::regclass) - v_read > 100 + 30 * v_met + v_left);
            if v_again then
                v_tenants := p_after || array_remove(v_tenants, p_after);
                v_met := cardinality(v_tenants);
                v_again := false;
            end if;
        end if;
        exit when v_met = 0;  -- nobody has work here
        v_many := v_met + case when v_cut then 4 else 0 end;  -- others stand behind, and shall have a share too
        v_moved := 0;
        if p_said then
            select s.tenants, s.shares, coalesce(s.last, v_last), s.stopped, s.limited, s.places, s.last is not null
              into v_tenants, v_shares, v_last, v_stopped, v_limited, v_kept, v_behind
              from jobforge.shares(v_tenants, v_left, v_many - v_met) s;
            v_wrapped := v_wrapped and (not v_behind or v_last <= v_after);
            v_steps := v_steps + coalesce(cardinality(v_stopped), 0);
            if v_steps > 20 and v_stopped is not null then  -- a few may stay: each is a probe
                v_moved := jobforge.put_aside(p_queue, p_lanes, v_stopped, p_types, 1000, v_names, v_lanes, v_firsts, v_jobs,
                                              v_mark or v_heads, '!stopped');
            end if;
        end if;

        v_said := set_config('jobforge.noted', '', true);
        return query
        with clock as materialized (  -- behind the snapshot: a run begins after what it sees has ended
            select jobforge.now() as now
        ), visit as materialized (
            select t.tenant_id, t.place, coalesce(t.share, greatest(v_left / v_met, 1)) as share, l.lane,
                   (-32768)::smallint as priority, c_none as job_id, 32767::smallint as upto
              from unnest(v_tenants, v_shares) with ordinality t (tenant_id, share, place)
             cross join unnest(p_lanes) l (lane) where not v_heads
            union all  -- what it does not divide by is given to some of them, by chance: another round passes all of them again
            select w.tenant_id, p.place, coalesce(v_shares[p.place], greatest(v_left / v_many, 1) + (
                   v_left > v_met and (p.place + v_luck) % v_met < v_left % v_met)::integer), w.lane, w.priority, w.job_id, w.priority
              from unnest(v_names, v_lanes, v_firsts, v_jobs, v_places)
                   w (tenant_id, lane, priority, job_id, place)
             cross join lateral (
                   select case when p_said then array_position(v_kept, w.place) else w.place end as place) p
             where v_heads and p.place is not null and (v_left >= v_met or p_said or (p.place + v_luck) % v_met < v_left)
        ), picked as materialized (
            select p.*, t.lane, t.place, t.share, row_number() over (partition by t.place order by p.priority, p.job_id) as rank
              from visit t
             cross join lateral (
                   select r.ctid, r.job_id, r.type, r.queue, r.tenant_id, r.priority, r.run, r.attempt, r.crashes
                     from jobforge.ready r
                    where r.queue = p_queue and r.lane = t.lane and r.tenant_id = t.tenant_id
                      and (r.priority, r.job_id) >= (t.priority, t.job_id) and r.priority <= t.upto
                      and (not v_alone or (r.type = any (p_types) and not exists (  -- who waits in line keeps no other suspect
                           select from jobforge.jobs j where j.id = r.job_id and j.ordering_key is not null
                              and jobforge.waits_in_line(r.tenant_id, j.ordering_key, r.job_id))))
                    order by r.priority, r.job_id
                    limit t.share
                      for update skip locked) p
        ), claimed as materialized (
            select p.*, j.payload, j.max_attempts, j.timeout, j.run_at, j.created_at, j.idempotency_key, j.parent_id,
                   j.trace, j.ordering_key,
                   -- nobody can guess one from another; a gen_random_uuid() for each took 1 to 3 us, for this asks the system once
                   encode(substr(sha256(v_chance || uuid_send(p.job_id)), 1, 16), 'hex')::uuid as token,
                   -- the worker ends a run at its timeout; the lease ends a minute later, should it not
                   clock.now + coalesce(j.timeout, interval '1 hour') + interval '1 minute' as deadline, clock.now
              from picked p join jobforge.jobs j on j.id = p.job_id cross join clock
             where p.rank <= p.share and p.type = any (p_types)
               and (j.ordering_key is null or not jobforge.waits_in_line(p.tenant_id, j.ordering_key, p.job_id))
        ), leased as (
            insert into jobforge.leases (job_id, tenant_id, queue, type, limited, nth, token, worker_id, run, attempt, crashes,
                                         claimed_at, deadline)
            select c.job_id, c.tenant_id, c.queue, c.type, p_limited or c.tenant_id = any (v_limited),
                   case when p_limited or c.tenant_id = any (v_limited) then nextval('jobforge.leases_nth') end, c.token,
                   p_worker_id, c.run + 1, c.attempt + 1, c.crashes, c.now, c.deadline
              from claimed c where c.ordering_key is null
        -- two of one line: who was claimed first runs, and the other stays where it is. Apart from the rest, for an insert
        -- that minds conflicts logs each row twice
        ), in_line as (
            insert into jobforge.leases (job_id, tenant_id, queue, type, ordering_key, limited, nth, token, worker_id, run, attempt,
                                         crashes, claimed_at, deadline)
            select c.job_id, c.tenant_id, c.queue, c.type, c.ordering_key,
                   p_limited or c.tenant_id = any (v_limited),
                   case when p_limited or c.tenant_id = any (v_limited) then nextval('jobforge.leases_nth') end, c.token,
                   p_worker_id, c.run + 1, c.attempt + 1, c.crashes, c.now, c.deadline
              from claimed c where c.ordering_key is not null
            on conflict do nothing returning job_id
        ), given as materialized (
            select * from claimed c where c.ordering_key is null or c.job_id in (select i.job_id from in_line i)
        ), gone as (  -- by place: the rows are locked, and nothing ever updates them
            delete from jobforge.ready r where r.ctid = any (array(select g.ctid from given g))
        ), noted as (  -- apart, what only some claims need: a statement of twice the size takes a claim of ten a tenth more time
            select set_config('jobforge.noted', (
                   select json_agg(n)::text from (
                       select p.tenant_id, p.lane, p.priority, count(*) filter (where p.given) as taken,
                              (array_agg(p.job_id order by p.job_id) filter (where not p.given))[1] as kept,
                              (array_agg(p.job_id order by p.job_id desc) filter (where p.given))[1] as last,
                              coalesce(bool_or(not p.given and p.rank <= p.share), false) as short
                         from (select p.*, p.job_id in (select g.job_id from given g) as given from picked p) p
                        group by p.tenant_id, p.lane, p.priority) n), true)
             where v_mark or p_said or (select count(*) from given) < (select count(*) from picked p where p.rank <= p.share)
        )
        select g.job_id, g.tenant_id, g.queue, g.type, g.priority, g.payload::text, g.run + 1, g.attempt + 1,
               g.max_attempts, g.crashes, g.token, g.now, g.deadline, g.timeout, g.run_at, g.created_at,
               g.idempotency_key, g.parent_id, g.trace::text,
               case when exists (select from jobforge.tenant_keys k where k.retired_at is null)
                    then jobforge.new_token(g.tenant_id, g.deadline) end
          from given g where (select count(*) from noted) >= 0 order by g.place, g.priority, g.job_id;
        get diagnostics v_taken = row_count;
        v_noted := nullif(current_setting('jobforge.noted'), '');
        if v_mark then
            if v_passed > 100 + v_met and jobforge.turn_lane() = any (p_lanes) then
                perform nextval('jobforge.turn_lanes');
            end if;
            perform jobforge.mark_heads(p_queue, v_noted, case when v_heads then v_passed / (12.0 * v_met) else 1 end);
        end if;
        if v_limited <> '{}' then
            perform jobforge.spend('tenant', n.tenant_id, sum(n.taken)::integer)
               from jsonb_to_recordset(v_noted) n (tenant_id text, taken integer)
              where n.tenant_id = any (v_limited) group by n.tenant_id;
        end if;
        if v_taken < v_left and not v_alone and (v_taken = 0 or v_noted is not null) then
            v_short := array(select distinct n.tenant_id from jsonb_to_recordset(v_noted) n (tenant_id text, short boolean) where n.short);
            if v_taken = 0 or v_short <> '{}' then  -- others may hold the first jobs of whoever gave none
                v_moved := v_moved + jobforge.put_aside(p_queue, p_lanes, case when v_taken = 0 then v_tenants else v_short end,
                                                        p_types, 1000, v_names, v_lanes, v_firsts, v_jobs, v_mark or v_heads);
            end if;
        end if;
        v_left := v_left - v_taken;
        v_aside := v_aside + v_moved;
        v_after := v_last;
        v_dry := case when v_taken > 0 then 0 else v_dry end + v_wrapped::integer;
        -- a full circle without a job: these were all there are, or the ring's end came by often enough
        exit when v_taken = 0 and v_moved = 0 and not v_same and ((v_met < v_page and not v_cut and not v_behind) or v_dry >= 3);
        -- most often these were all: a probe, and not the whole ring once more
        exit when v_left > 0 and v_taken > 0 and v_met < v_page and not v_heads and not exists (
                  select from jobforge.ready r where r.queue = p_queue and r.lane = any (p_lanes));
        v_same := v_heads and not v_cut and not p_said and v_taken > 0 and v_met < v_page;
        exit when v_aside >= case when v_left < p_limit then 1000 else 5000 end;  -- the next claim goes on
    end loop;
    if v_all then
        perform jobforge.check_heads(p_queue, p_lanes);
    end if;
    if p_look then  -- in any DateStyle
        perform set_config('jobforge.look_' || md5(p_lanes[1] || ' ' || p_queue), extract(epoch from jobforge.next_look(v_began))::text, false);
    elsif v_mine is not null then
        perform set_config(v_mine, v_last, false);
    end if;
end
$function$
;
alter function jobforge.claim_ring owner to jobforge_owner;
comment on function jobforge.claim_ring is 'Claim jobs of a queue''s lanes, fairly over the tenants.';

-- function jobforge.claim_suspect
CREATE OR REPLACE FUNCTION jobforge.claim_suspect(p_worker_id uuid, p_queues text[], p_types text[], p_alive interval DEFAULT '00:00:30'::interval)
 RETURNS TABLE(job_id uuid, tenant_id text, queue text, type text, priority smallint, payload text, run integer, attempt integer, max_attempts integer, crashes integer, lease_token uuid, claimed_at timestamp with time zone, deadline timestamp with time zone, timeout interval, run_at timestamp with time zone, created_at timestamp with time zone, idempotency_key text, parent_id uuid, trace text, tenant_token text)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
begin
    perform jobforge.check_claim(p_worker_id, p_queues, p_types, 1, p_alive);
    perform jobforge.keep_alive(p_worker_id, p_alive);
    perform jobforge.make_ready();
    return query
        select * from jobforge.claim_alone(p_worker_id, p_queues, p_types, exists (select from jobforge.limits));
end
$function$
;
alter function jobforge.claim_suspect owner to jobforge_owner;
grant execute on function jobforge.claim_suspect to jobforge_worker;
comment on function jobforge.claim_suspect is 'Give a worker one job that has to run alone.';

-- function jobforge.complete_job
CREATE OR REPLACE FUNCTION jobforge.complete_job(p_job_id uuid, p_lease_token uuid, p_outcome text, p_result json DEFAULT NULL::json, p_error json DEFAULT NULL::json, p_delay interval DEFAULT NULL::interval, p_final boolean DEFAULT false)
 RETURNS TABLE(answer text, reason text)
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select c.answer, c.reason
      from jobforge.complete_jobs(json_build_array(json_build_object(
               'job_id', p_job_id, 'lease_token', p_lease_token, 'outcome', p_outcome, 'result', p_result,
               'error', p_error, 'delay', extract(epoch from p_delay), 'final', p_final))) c
$function$
;
alter function jobforge.complete_job owner to jobforge_owner;
grant execute on function jobforge.complete_job to jobforge_app;
grant execute on function jobforge.complete_job to jobforge_worker;
comment on function jobforge.complete_job is 'End one run by its lease token.';

-- function jobforge.complete_jobs
CREATE OR REPLACE FUNCTION jobforge.complete_jobs(p_results json)
 RETURNS TABLE(item integer, job_id uuid, answer text, reason text)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_ended  jobforge.ended_run[];
begin
    if json_typeof(p_results) is distinct from 'array' then
        raise exception 'jobforge: p_results must be a JSON array of objects'
            using errcode = 'JF003', hint = 'Pass [{"job_id": ..., "lease_token": ..., "outcome": "succeeded"}, ...].';
    end if;

    with valid as materialized (
        -- one order for all who lock several leases; of two ends of one run the first counts
        select distinct on (r.job_id, r.token) * from jobforge.parse_results(p_results) r where r.fault is null
         order by r.job_id, r.token, r.item
    ), held as materialized (  -- each by its key: an ANALYZE of few rows among many dead ones made a join 13 times as slow
        select v.*, h.ctid as place
          from valid v cross join lateral (
               select l.ctid from jobforge.leases l
                where l.job_id = v.job_id and l.token = v.token and l.tenant_id = coalesce(v_tenant, l.tenant_id)
                limit 1) h
    ), gone as (  -- by place: nothing ever updates them
        delete from jobforge.leases l using held v where l.ctid = v.place
        returning row(v.item, l.job_id, l.tenant_id, l.token, l.worker_id, l.run, l.attempt, l.crashes, l.claimed_at,
                      v.outcome, v.run_ms, v.error, v.result, v.delay, v.final, l.ordering_key, l.limited)::jobforge.ended_run as ended
    )
    select array_agg(g.ended) into v_ended from gone g;

    if v_ended is not null then
        perform jobforge.settle(v_ended);
        return query select e.item, e.job_id, 'done', null from unnest(v_ended) e;
    end if;
    if coalesce(cardinality(v_ended), 0) < json_array_length(p_results) then
        return query
            select r.item, r.job_id,
                   case when r.fault is not null then 'refused'
                        when a.outcome = r.outcome then 'already_done' else 'lost' end,
                   r.fault
              from jobforge.parse_results(p_results) r
              left join jobforge.attempts a on a.job_id = r.job_id and a.token = r.token
                    and a.tenant_id = coalesce(v_tenant, a.tenant_id)
             where r.item <> all (array(select e.item from unnest(v_ended) e));
    end if;
end
$function$
;
alter function jobforge.complete_jobs owner to jobforge_owner;
grant execute on function jobforge.complete_jobs to jobforge_app;
grant execute on function jobforge.complete_jobs to jobforge_worker;
comment on function jobforge.complete_jobs is 'End runs by their lease tokens; an answer for each.';

-- function jobforge.complete_since
CREATE OR REPLACE FUNCTION jobforge.complete_since()
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select jobforge.now() - min(r.keep) from jobforge.retention r where r.kind in ('succeeded', 'dead', 'canceled')
$function$
;
alter function jobforge.complete_since owner to jobforge_owner;
grant execute on function jobforge.complete_since to jobforge_admin;
grant execute on function jobforge.complete_since to jobforge_app;
comment on function jobforge.complete_since is 'Since when all jobs are still there.';

-- function jobforge.connector_of_run
CREATE OR REPLACE FUNCTION jobforge.connector_of_run(p_job_id uuid, p_lease_token uuid, p_type text, p_secrets text[] DEFAULT '{}'::text[])
 RETURNS TABLE(config json, secrets json, at timestamp with time zone, unsure boolean)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_now    timestamptz := jobforge.now();
    v_tenant text;
begin
    if cardinality(p_secrets) > 20 then
        raise exception 'jobforge: a run may have 20 secrets at most'
            using errcode = 'JF003', hint = 'Name those that this run sends.';
    end if;
    select l.tenant_id into v_tenant
      from jobforge.leases l join jobforge.workers w on w.worker_id = l.worker_id
     where l.job_id = p_job_id and l.token = p_lease_token
       and l.tenant_id = coalesce(jobforge.current_tenant(), l.tenant_id)
       and l.deadline > v_now and w.alive_until > v_now;
    if not found then
        return;
    end if;
    return query
        select (coalesce((select c.config::jsonb from jobforge.connectors c
                           where c.tenant_id = v_tenant and c.type = ''), '{}')
                || coalesce((select c.config::jsonb from jobforge.connectors c
                              where c.tenant_id = v_tenant and c.type = nullif(p_type, '')), '{}'))::json,
               coalesce((select json_object_agg(s.name, json_build_object(
                             'kind', s.kind, 'value', s.value, 'hosts', s.hosts,
                             'previous', case when s.previous_until > v_now then
                                 json_build_object('kind', s.previous_kind, 'value', s.previous_value) end))
                           from jobforge.connector_secrets s
                          where s.tenant_id = v_tenant and s.name = any (p_secrets)), '{}'),
               v_now,
               -- what such a run did nobody has heard: one that was released or canceled before it began did nothing
               exists (select from jobforge.attempts a
                        where a.job_id = p_job_id
                          and (a.outcome in ('lost', 'timed_out')
                               or a.outcome in ('released', 'canceled') and a.run_ms is not null));
end
$function$
;
alter function jobforge.connector_of_run owner to jobforge_owner;
grant execute on function jobforge.connector_of_run to jobforge_app;
grant execute on function jobforge.connector_of_run to jobforge_worker;
comment on function jobforge.connector_of_run is 'The configuration and secrets of a live run''s tenant, by its token.';

-- function jobforge.count_newest
CREATE OR REPLACE FUNCTION jobforge.count_newest(p_walk text, p_states text[], p_limit integer, p_anew boolean)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_walk  jobforge.pruning;
    v_now   timestamptz := jobforge.now();
    v_jobs  uuid[];
    v_more  boolean;
    c_start constant uuid := '00000000-0000-0000-0000-000000000000';
    c_look  constant integer := 5 * p_limit;
begin
    if not exists (select from jobforge.retention r where r.kind = any (p_states) and r.newest is not null) then
        return false;
    end if;
    select * into v_walk from jobforge.pruning p
     where p.walk = p_walk and (p_anew or p.behind <> c_start or p.began_at < v_now - interval '1 minute')
       for update skip locked;
    if not found then
        return p_anew;  -- somebody else counts
    end if;
    if p_anew or v_walk.behind = c_start then
        v_walk.behind := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
        v_walk.met := 0;
        v_walk.began_at := v_now;
        delete from jobforge.newest n where n.state = any (p_states) and n.counted = 0;  -- nothing of it is left
        update jobforge.newest n set counted = 0 where n.state = any (p_states);
    end if;
    if p_walk = 'newest_succeeded' then
        v_jobs := array(select o.job_id from jobforge.outcomes o where o.job_id < v_walk.behind
                         order by o.job_id desc limit c_look);
    else
        v_jobs := array(select o.job_id from jobforge.outcomes o where o.state in ('dead', 'canceled') and o.job_id < v_walk.behind
                         order by o.job_id desc limit c_look);
    end if;

    with met as (
        select o.job_id, o.state, j.type, case when own.kind is null then every.newest else own.newest end as newest,
               row_number() over (partition by o.state, j.type order by o.job_id desc) as nth
          from unnest(v_jobs) as w (id)
         cross join lateral (select * from jobforge.outcomes e where e.job_id = w.id limit 1) o  -- by key: see meet_jobs
         cross join lateral (select * from jobforge.jobs k where k.id = w.id limit 1) j
          left join jobforge.retention own on own.kind = o.state and own.type = j.type
          left join jobforge.retention every on every.kind = o.state and every.type = ''
         where o.state = any (p_states)
    )
    insert into jobforge.newest as n (state, type, counted, beyond)
    select m.state, m.type, count(*), (array_agg(m.job_id) filter (where m.nth + coalesce(k.counted, 0) = m.newest))[1]
      from met m left join jobforge.newest k on k.state = m.state and k.type = m.type
     where m.newest is not null group by m.state, m.type
    on conflict (state, type) do update
       set counted = n.counted + excluded.counted, beyond = coalesce(excluded.beyond, n.beyond);

    v_walk.met := v_walk.met + cardinality(v_jobs);
    v_more := cardinality(v_jobs) = c_look and v_walk.met < 1000000;
    update jobforge.pruning p
       set behind = case when v_more then v_jobs[c_look] else c_start end, met = v_walk.met, began_at = v_walk.began_at
     where p.walk = p_walk;
    return v_more;
end
$function$
;
alter function jobforge.count_newest owner to jobforge_owner;
comment on function jobforge.count_newest is 'Find what is too many of what is kept by number.';

-- function jobforge.count_tenant
CREATE OR REPLACE FUNCTION jobforge.count_tenant(p_tenant_id text)
 RETURNS TABLE(relation text, rows bigint)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    perform jobforge.check_tenant(p_tenant_id);
    return query
        select 'jobs', count(*) from jobforge.jobs j where j.tenant_id = p_tenant_id
        union all select 'ready', count(*) from jobforge.ready r where r.tenant_id = p_tenant_id
        union all select 'scheduled', count(*) from jobforge.scheduled s where s.tenant_id = p_tenant_id
        union all select 'leases', count(*) from jobforge.leases l where l.tenant_id = p_tenant_id
        union all select 'outcomes', count(*) from jobforge.outcomes o where o.tenant_id = p_tenant_id
        union all select 'results', count(*) from jobforge.results r where r.tenant_id = p_tenant_id
        union all select 'attempts', count(*) from jobforge.attempts a where a.tenant_id = p_tenant_id
        union all select 'artifacts', count(*) from jobforge.artifacts f where f.tenant_id = p_tenant_id
        union all select 'cancel_requests', count(*) from jobforge.cancel_requests c where c.tenant_id = p_tenant_id
        union all select 'idempotency_keys', count(*) from jobforge.idempotency_keys k where k.tenant_id = p_tenant_id
        union all select 'unique_keys', count(*) from jobforge.unique_keys k where k.tenant_id = p_tenant_id
        union all select 'waits', count(*) from jobforge.waits w where w.tenant_id = p_tenant_id
        union all select 'lines', count(*) from jobforge.lines l where l.tenant_id = p_tenant_id
        union all select 'connectors', count(*) from jobforge.connectors c where c.tenant_id = p_tenant_id
        union all select 'connector_secrets', count(*) from jobforge.connector_secrets s where s.tenant_id = p_tenant_id
        union all select 'webhook_endpoints', count(*) from jobforge.webhook_endpoints e where e.tenant_id = p_tenant_id
        union all select 'webhook_deliveries', count(*) from jobforge.webhook_deliveries d where d.tenant_id = p_tenant_id
        union all select 'turns', count(*) from jobforge.turns u where u.tenant_id = p_tenant_id
        union all select 'limits', count(*) from jobforge.limits t where t.tenant_id = p_tenant_id;
end
$function$
;
alter function jobforge.count_tenant owner to jobforge_owner;
grant execute on function jobforge.count_tenant to jobforge_admin;
comment on function jobforge.count_tenant is 'How many rows each table has of a tenant.';

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

-- function jobforge.disable_webhook
CREATE OR REPLACE FUNCTION jobforge.disable_webhook(p_url text, p_reason text DEFAULT NULL::text)
 RETURNS TABLE(tenant_id text, url text, failures integer, first_failed_at timestamp with time zone, disabled_at timestamp with time zone, reason text)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_tenant text := jobforge.require_tenant(null);
begin
    if p_url is null or length(p_url) not between 1 and 2048 then
        raise exception 'jobforge: the URL of an endpoint has 1 to 2048 characters'
            using errcode = 'JF003', hint = 'Name it as the webhooks do: the whole URL.';
    end if;
    return query
        insert into jobforge.webhook_endpoints as e (tenant_id, url_sha256, url, failures, disabled_at, reason)
        values (v_tenant, sha256(convert_to(p_url, 'UTF8')), p_url, 0, jobforge.now(),
                left(coalesce(p_reason, 'somebody disabled it'), 1000))
        on conflict (tenant_id, url_sha256) do update
           set disabled_at = coalesce(e.disabled_at, excluded.disabled_at),
               reason = case when e.disabled_at is null then excluded.reason else e.reason end
        returning e.tenant_id, e.url, e.failures, e.first_failed_at, e.disabled_at, e.reason;
end
$function$
;
alter function jobforge.disable_webhook owner to jobforge_owner;
grant execute on function jobforge.disable_webhook to jobforge_admin;
grant execute on function jobforge.disable_webhook to jobforge_app;
comment on function jobforge.disable_webhook is 'Send nothing more to an endpoint of this tenant''s.';

-- function jobforge.doze
CREATE OR REPLACE FUNCTION jobforge.doze(p_queues text[], p_asleep boolean DEFAULT true)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    c_asleep constant integer := 1785686131;  -- as in wake
    v_keys   integer[] := array(select distinct hashtext(q.queue) from unnest(p_queues) as q (queue));
    v_held   integer[] := array(  -- a key is an oid there, which has no sign
        select k.key from unnest(v_keys) as k (key)
         where exists (select from pg_locks l
                        where l.locktype = 'advisory' and l.classid = c_asleep::oid and l.objsubid = 2 and l.granted
                          and l.mode = 'ShareLock' and l.objid::bigint = k.key::bigint & 4294967295
                          and l.pid = pg_backend_pid()));
begin
    if p_asleep is not false then
        v_keys := array(select unnest(v_keys) except select unnest(v_held));
        v_held := array(select k.key from unnest(v_keys) as k (key) where pg_try_advisory_lock_shared(c_asleep, k.key));
        if cardinality(v_held) = cardinality(v_keys) then
            return true;
        end if;
    end if;
    perform pg_advisory_unlock_shared(c_asleep, h.key) from unnest(v_held) as h (key);
    return p_asleep is false;
end
$function$
;
alter function jobforge.doze owner to jobforge_owner;
grant execute on function jobforge.doze to jobforge_worker;
comment on function jobforge.doze is 'Say that a worker sleeps, and wants to be woken; or that it does no longer.';

-- function jobforge.drop_connector
CREATE OR REPLACE FUNCTION jobforge.drop_connector(p_tenant_id text, p_type text DEFAULT ''::text)
 RETURNS SETOF jobforge.connectors
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    delete from jobforge.connectors c where c.tenant_id = p_tenant_id and c.type = coalesce(p_type, '') returning *
$function$
;
alter function jobforge.drop_connector owner to jobforge_owner;
grant execute on function jobforge.drop_connector to jobforge_admin;
comment on function jobforge.drop_connector is 'Forget what was said of a tenant''s connector.';

-- function jobforge.drop_retention
CREATE OR REPLACE FUNCTION jobforge.drop_retention(p_kind text, p_type text)
 RETURNS SETOF jobforge.retention
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    delete from jobforge.newest n where n.state = p_kind and n.type = p_type;
    delete from jobforge.retention r where r.kind = p_kind and r.type = nullif(p_type, '') returning *
$function$
;
alter function jobforge.drop_retention owner to jobforge_owner;
grant execute on function jobforge.drop_retention to jobforge_admin;
comment on function jobforge.drop_retention is 'Keep a type as long as all others again.';

-- function jobforge.drop_secret
CREATE OR REPLACE FUNCTION jobforge.drop_secret(p_tenant_id text, p_name text)
 RETURNS TABLE(tenant_id text, name text, kind text, hosts text[], previous_until timestamp with time zone, updated_at timestamp with time zone)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    delete from jobforge.connector_secrets s where s.tenant_id = p_tenant_id and s.name = p_name
    returning s.tenant_id, s.name, s.kind, s.hosts, s.previous_until, s.updated_at
$function$
;
alter function jobforge.drop_secret owner to jobforge_owner;
grant execute on function jobforge.drop_secret to jobforge_admin;
comment on function jobforge.drop_secret is 'Forget a secret of a tenant''s.';

-- function jobforge.enable_webhook
CREATE OR REPLACE FUNCTION jobforge.enable_webhook(p_url text)
 RETURNS TABLE(tenant_id text, url text, failures integer, first_failed_at timestamp with time zone, disabled_at timestamp with time zone, reason text)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_tenant text := jobforge.require_tenant(null);
begin
    return query
        delete from jobforge.webhook_endpoints e
         where e.tenant_id = v_tenant and e.url_sha256 = sha256(convert_to(p_url, 'UTF8'))
        returning e.tenant_id, e.url, e.failures, e.first_failed_at, e.disabled_at, e.reason;
end
$function$
;
alter function jobforge.enable_webhook owner to jobforge_owner;
grant execute on function jobforge.enable_webhook to jobforge_admin;
grant execute on function jobforge.enable_webhook to jobforge_app;
comment on function jobforge.enable_webhook is 'Let webhooks go to an endpoint of this tenant''s again.';

-- function jobforge.end_waiting
CREATE OR REPLACE FUNCTION jobforge.end_waiting(p_jobs jobforge.scheduled[], p_notify boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    insert into jobforge.outcomes (job_id, tenant_id, state, run, attempt, crashes, finished_at)
    select w.job_id, w.tenant_id, 'canceled', w.run, w.attempt, w.crashes, jobforge.now() from unnest(p_jobs) w;
    if not found then
        return;
    end if;
    perform jobforge.leave_line(array(select w.job_id from unnest(p_jobs) w));
    if p_notify is not false then
        perform jobforge.tell_waiting(array(select w.job_id from unnest(p_jobs) w));
    end if;
end
$function$
;
alter function jobforge.end_waiting owner to jobforge_owner;
comment on function jobforge.end_waiting is 'Where jobs end without a run.';

-- function jobforge.end_walk
CREATE OR REPLACE FUNCTION jobforge.end_walk(p_walk text, p_behind uuid)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    update jobforge.pruning p set behind = coalesce(p_behind, '00000000-0000-0000-0000-000000000000') where p.walk = p_walk;
    return p_behind is not null;
end
$function$
;
alter function jobforge.end_walk owner to jobforge_owner;
comment on function jobforge.end_walk is 'Let go of one of prune''s walks.';

-- function jobforge.enqueue_job
CREATE OR REPLACE FUNCTION jobforge.enqueue_job(p_type text, p_payload json DEFAULT '{}'::json, p_tenant_id text DEFAULT NULL::text, p_queue text DEFAULT NULL::text, p_priority integer DEFAULT NULL::integer, p_run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_delay interval DEFAULT NULL::interval, p_idempotency_key text DEFAULT NULL::text, p_max_attempts integer DEFAULT NULL::integer, p_retry jsonb DEFAULT NULL::jsonb, p_timeout interval DEFAULT NULL::interval, p_trace json DEFAULT NULL::json, p_parent_id uuid DEFAULT NULL::uuid, p_subject text DEFAULT NULL::text, p_notify boolean DEFAULT true, p_unique_key text DEFAULT NULL::text, p_on_duplicate text DEFAULT NULL::text, p_ordering_key text DEFAULT NULL::text)
 RETURNS TABLE(id uuid, created boolean, payload_differs boolean)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_tenant text;
    v_quota  boolean;
    v_now    timestamptz := jobforge.now();
    v_run_at timestamptz;
    v_queue  text := coalesce(p_queue, 'default');
    v_id     uuid := jobforge.new_job_id(v_now);
    c_name   constant text := '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$';
begin
    -- one look at two tables, which is all that most calls need; require_tenant knows the rest, and says what is wrong
    select nullif(current_setting('jobforge.tenant_id', true), ''), t.max_waiting is not null into v_tenant, v_quota
      from jobforge.settings s
      left join jobforge.limits t on t.scope = 'tenant' and t.name = current_setting('jobforge.tenant_id', true)
     where s.tenancy = 'plain' and coalesce(current_setting('request.jwt.claims', true), '') = '';
    if v_tenant is null or p_tenant_id <> v_tenant or length(v_tenant) > 200 then
        v_tenant := jobforge.require_tenant(p_tenant_id);
        v_quota := true;
    end if;
    p_payload := coalesce(p_payload, '{}');
    -- what most jobs are, at a third of what check_job costs, which knows all the rest, and says what is wrong
    if (p_type ~ c_name and length(p_type) <= 100 and v_queue ~ c_name and length(v_queue) <= 100
        and coalesce(p_priority, 0) between -100 and 100 and coalesce(p_max_attempts, 5) between 1 and 1000
        and coalesce(length(p_idempotency_key), 1) between 1 and 200 and coalesce(length(p_subject), 1) between 1 and 300
        and coalesce(length(p_ordering_key), 1) between 1 and 200
        and num_nonnulls(p_run_at, p_delay, p_retry, p_timeout, p_trace, p_unique_key, p_on_duplicate) = 0
        and json_typeof(p_payload) = 'object' and octet_length(p_payload::text) <= 262144
        and p_payload::jsonb is not null) is not true
    then
        perform jobforge.check_job(null, p_type, p_payload, v_queue, p_priority, p_run_at, p_delay, p_idempotency_key,
                                   p_max_attempts, p_retry, p_timeout, p_trace, p_subject, p_unique_key, p_on_duplicate,
                                   p_ordering_key);
    end if;
    if p_unique_key is not null then
        return query
            select k.job_id, false, k.payload_differs
              from jobforge.take_unique_key(v_tenant, p_type, p_unique_key, coalesce(p_on_duplicate, 'keep'), p_payload,
                                            v_id, p_notify is not false) k;
    elsif p_idempotency_key is not null then
        return query
            select k.job_id, false, k.payload_differs
              from jobforge.take_idempotency_key(v_tenant, p_type, p_idempotency_key, p_payload, v_id, v_now) k;
    end if;
    if found and coalesce(p_unique_key, p_idempotency_key) is not null then
        return;
    end if;

    v_run_at := coalesce(p_run_at, v_now + p_delay, v_now);
    insert into jobforge.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, timeout, retry,
                               idempotency_key, unique_key, ordering_key, subject, parent_id, cause, trace, created_at)
    values (v_id, v_tenant, v_queue, p_type, coalesce(p_priority, 0), p_payload, v_run_at, coalesce(p_max_attempts, 5),
            p_timeout, p_retry, p_idempotency_key, p_unique_key, p_ordering_key, p_subject, p_parent_id,
            case when p_parent_id is not null then 'handler' end, p_trace, v_now);
    if p_ordering_key is not null then
        insert into jobforge.lines (tenant_id, ordering_key, job_id) values (v_tenant, p_ordering_key, v_id);
    end if;
    if v_run_at > v_now then
        insert into jobforge.scheduled (job_id, run_at, queue, tenant_id, priority, type, run, attempt, crashes)
        values (v_id, v_run_at, v_queue, v_tenant, coalesce(p_priority, 0), p_type, 0, 0, 0);
    else
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
        values (v_queue, v_tenant, coalesce(p_priority, 0), v_id, p_type, 0, 0, 0);
    end if;
    if p_notify is not false and v_run_at <= v_now then  -- delivered at commit; equal ones of a transaction once
        perform jobforge.wake(v_queue);
    end if;
    if v_quota then
        perform jobforge.check_quota(v_tenant);
    end if;
    id := v_id; created := true; payload_differs := false;  -- a query for them would cost a microsecond
    return next;
end
$function$
;
alter function jobforge.enqueue_job owner to jobforge_owner;
grant execute on function jobforge.enqueue_job to jobforge_admin;
grant execute on function jobforge.enqueue_job to jobforge_app;
comment on function jobforge.enqueue_job is 'Enqueue one job in this transaction. The same tenant, type and key: the original.';

-- function jobforge.enqueue_job_for
CREATE OR REPLACE FUNCTION jobforge.enqueue_job_for(p_tenant_id text, p_type text, p_payload json DEFAULT '{}'::json, p_queue text DEFAULT NULL::text, p_priority integer DEFAULT NULL::integer, p_run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_delay interval DEFAULT NULL::interval, p_idempotency_key text DEFAULT NULL::text, p_max_attempts integer DEFAULT NULL::integer, p_retry jsonb DEFAULT NULL::jsonb, p_timeout interval DEFAULT NULL::interval, p_trace json DEFAULT NULL::json, p_parent_id uuid DEFAULT NULL::uuid, p_subject text DEFAULT NULL::text, p_notify boolean DEFAULT true, p_unique_key text DEFAULT NULL::text, p_on_duplicate text DEFAULT NULL::text, p_ordering_key text DEFAULT NULL::text)
 RETURNS TABLE(id uuid, created boolean, payload_differs boolean)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_names  constant text[] := array['jobforge.tenant_id', 'jobforge.tenant_token', 'request.jwt.claims'];
    v_before text[] := array(select coalesce(current_setting(n, true), '') from unnest(v_names) n);
begin
    perform jobforge.act_for(p_tenant_id);
    return query
        select * from jobforge.enqueue_job(p_type, p_payload, p_tenant_id, p_queue, p_priority, p_run_at, p_delay,
                                           p_idempotency_key, p_max_attempts, p_retry, p_timeout, p_trace, p_parent_id,
                                           p_subject, p_notify, p_unique_key, p_on_duplicate, p_ordering_key);
    perform set_config(v_names[i], v_before[i], true) from generate_series(1, 3) i;
end
$function$
;
alter function jobforge.enqueue_job_for owner to jobforge_owner;
grant execute on function jobforge.enqueue_job_for to jobforge_admin;
comment on function jobforge.enqueue_job_for is 'Enqueue one job for a tenant; for administrators.';

-- function jobforge.enqueue_jobs
CREATE OR REPLACE FUNCTION jobforge.enqueue_jobs(p_jobs json, p_tenant_id text DEFAULT NULL::text, p_notify boolean DEFAULT true)
 RETURNS TABLE("position" integer, id uuid, created boolean, payload_differs boolean)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
    v_tenant    text := jobforge.require_tenant(p_tenant_id);
    v_now       timestamptz := jobforge.now();
    v_us        bigint := (extract(epoch from v_now) * 1000000)::bigint;
    -- as new_job_id makes them, but with one piece of chance: what a call makes differs by its moments
    v_chance    bytea := substr(uuid_send(jobforge.new_job_id(v_now)), 9);
    c_name      constant text := '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$';
    v_positions integer[];
    v_ids       uuid[];
    v_created   boolean[];
    v_items     json[];
    v_answers   integer;
    v_unique    record;
    v_one       record;
    v_places    integer[] := '{}';  -- of those with a unique key, and their answers. Arrays: they grow in place
    v_ones      uuid[] := '{}';
    v_made      boolean[] := '{}';
    v_differ    boolean[] := '{}';
begin
    if json_typeof(p_jobs) is distinct from 'array'
       or exists (select from json_array_elements(p_jobs) e (item) where json_typeof(e.item) <> 'object') then
        raise exception 'jobforge: p_jobs must be a JSON array of objects'
            using errcode = 'JF003', hint = 'Pass [{"type": "...", "payload": {...}}, ...]; nothing was enqueued.';
    end if;

    if strpos(p_jobs::text, 'unique_key') > 0 or strpos(p_jobs::text, chr(92) || 'u00') > 0 then  -- its name may be escaped
        for v_unique in
            select i.*, e.position::integer as place
              from json_array_elements(p_jobs) with ordinality as e (item, position)
             cross join lateral json_to_record(e.item) as i (
                   type text, payload json, tenant_id text, queue text, priority integer, run_at timestamptz,
                   delay interval, idempotency_key text, max_attempts integer, retry jsonb, timeout interval,
                   trace json, parent_id uuid, subject text, unique_key text, on_duplicate text, ordering_key text)
             where i.unique_key is not null
             order by i.type collate "C", i.unique_key collate "C", e.position
        loop
            perform jobforge.check_job(
                v_unique.place, v_unique.type, coalesce(v_unique.payload, '{}'), v_unique.queue, v_unique.priority,
                v_unique.run_at, v_unique.delay, v_unique.idempotency_key, v_unique.max_attempts, v_unique.retry,
                v_unique.timeout, v_unique.trace, v_unique.subject, v_unique.unique_key, v_unique.on_duplicate, v_unique.ordering_key);
            select * into v_one from jobforge.enqueue_job(
                v_unique.type, v_unique.payload, coalesce(v_unique.tenant_id, v_tenant), v_unique.queue,
                v_unique.priority, v_unique.run_at, v_unique.delay, null, v_unique.max_attempts, v_unique.retry,
                v_unique.timeout, v_unique.trace, v_unique.parent_id, v_unique.subject, p_notify,
                v_unique.unique_key, v_unique.on_duplicate, v_unique.ordering_key);
            v_places := v_places || v_unique.place;
            v_ones := v_ones || v_one.id;
            v_made := v_made || v_one.created;
            v_differ := v_differ || v_one.payload_differs;
        end loop;
    end if;

    with item as materialized (
        select i.position::integer, encode(int8send(((v_us + i.position) / 1000) << 16 | 28672
                   | (((v_us + i.position) % 1000) * 4096 / 1000)) || v_chance, 'hex')::uuid as id,
               i.type, coalesce(i.payload, '{}') as payload, coalesce(i.queue, 'default') as queue,
               coalesce(i.priority, 0) as priority, coalesce(i.run_at, v_now + i.delay, v_now) as run_at,
               i.idempotency_key as key, coalesce(i.max_attempts, 5) as max_attempts, i.retry, i.timeout, i.trace,
               i.parent_id, i.subject, i.ordering_key
          from rows from (json_to_recordset(p_jobs) as (
                   type text, payload json, tenant_id text, queue text, priority integer, run_at timestamptz,
                   delay interval, idempotency_key text, max_attempts integer, retry jsonb, timeout interval,
                   trace json, parent_id uuid, subject text, unique_key text, on_duplicate text,
                   ordering_key text)) with ordinality
               as i (type, payload, tenant_id, queue, priority, run_at, delay, idempotency_key, max_attempts, retry,
                     timeout, trace, parent_id, subject, unique_key, on_duplicate, ordering_key, position)
         where ((i.type ~ c_name and length(i.type) <= 100
                 and (i.queue is null or i.queue ~ c_name and length(i.queue) <= 100)
                 and coalesce(i.priority, 0) between -100 and 100 and coalesce(i.max_attempts, 5) between 1 and 1000
                 and coalesce(length(i.idempotency_key), 1) between 1 and 200
                 and coalesce(length(i.subject), 1) between 1 and 300
                 and coalesce(length(i.ordering_key), 1) between 1 and 200
                 and num_nonnulls(i.run_at, i.delay, i.retry, i.timeout, i.trace, i.on_duplicate) = 0
                 and (i.payload is null or json_typeof(i.payload) = 'object' and octet_length(i.payload::text) <= 262144
                      and i.payload::jsonb is not null))
                or jobforge.check_job(
                    i.position::integer, i.type, coalesce(i.payload, '{}'), i.queue, i.priority, i.run_at, i.delay,
                    i.idempotency_key, i.max_attempts, i.retry, i.timeout, i.trace, i.subject, i.unique_key,
                    i.on_duplicate, i.ordering_key))
           and i.unique_key is null
           and (i.tenant_id is null or jobforge.require_tenant(i.tenant_id) is not null)
    ), keyed as (
        insert into jobforge.idempotency_keys (tenant_id, type, key, job_id, created_at)
        select distinct on (type collate "C", key collate "C") v_tenant, type, key, id, v_now from item where key is not null
         order by type collate "C", key collate "C", position
        on conflict do nothing
        returning job_id
    ), fresh as materialized (
        -- no join: the planner takes both for tiny, and loops: 8,000 jobs took 16 s. A set is hashed, whatever it thinks
        select item.* from item where item.key is null or item.id in (select job_id from keyed)
    ), stored as (
        insert into jobforge.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, timeout, retry,
                                   idempotency_key, ordering_key, subject, parent_id, cause, trace, created_at)
        select id, v_tenant, queue, type, priority, payload, run_at, max_attempts, timeout, retry, key, ordering_key,
               subject, parent_id, case when parent_id is not null then 'handler' end, trace, v_now
          from fresh
    ), lined as (
        insert into jobforge.lines (tenant_id, ordering_key, job_id)
        select v_tenant, ordering_key, id from fresh where ordering_key is not null
    ), queued as (
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
        select queue, v_tenant, priority, id, type, 0, 0, 0 from fresh where run_at <= v_now
    ), later as (
        insert into jobforge.scheduled (job_id, run_at, queue, tenant_id, priority, type, run, attempt, crashes)
        select id, run_at, queue, v_tenant, priority, type, 0, 0, 0 from fresh where run_at > v_now
    ), woken as (
        select count(jobforge.wake(q.queue)) as queues
          from (select distinct queue from fresh where run_at <= v_now and p_notify is not false) q
    )
    select array_agg(item.position order by item.position), array_agg(item.id order by item.position),
           array_agg(item.key is null or item.id in (select job_id from keyed) order by item.position)
      into v_positions, v_ids, v_created
      from item cross join woken;

    if exists (select from jobforge.limits l where l.scope = 'tenant' and l.name = v_tenant and l.max_waiting is not null) then
        perform jobforge.check_quota(v_tenant);
    end if;
    if v_ones = '{}' and true = all (v_created) then
        return query select p, i, true, false from unnest(v_positions, v_ids) as u (p, i);
    else  -- a later statement: at READ COMMITTED it sees the twins that the insert of the keys waited for
        v_items := array(select json_array_elements(p_jobs));
        return query
            select u.p, case when u.c then u.i else k.job_id end, u.c,
                   not u.c and coalesce(j.payload::jsonb <> coalesce(nullif((v_items[u.p] -> 'payload')::jsonb, 'null'), '{}'), false)
              from unnest(v_positions, v_ids, v_created) as u (p, i, c)
              left join lateral (
                   select k.job_id from jobforge.idempotency_keys k
                    where not u.c and k.tenant_id = v_tenant and k.type = v_items[u.p] ->> 'type'
                      and k.key = v_items[u.p] ->> 'idempotency_key' limit 1) k on true
              left join lateral (select j.payload from jobforge.jobs j where j.id = k.job_id limit 1) j on true
             where u.c or k.job_id is not null
            union all
            select * from unnest(v_places, v_ones, v_made, v_differ)
             order by 1;
        get diagnostics v_answers = row_count;
        if v_answers < json_array_length(p_jobs) then
            raise exception 'jobforge: an idempotency key was pruned while this call met it'
                using errcode = 'serialization_failure', hint = 'Repeat the transaction.';
        end if;
    end if;
end
$function$
;
alter function jobforge.enqueue_jobs owner to jobforge_owner;
grant execute on function jobforge.enqueue_jobs to jobforge_admin;
grant execute on function jobforge.enqueue_jobs to jobforge_app;
comment on function jobforge.enqueue_jobs is 'Enqueue an array of jobs in this transaction, all or nothing.';

-- function jobforge.enqueue_payloads
CREATE OR REPLACE FUNCTION jobforge.enqueue_payloads(p_payloads json, p_job json, p_tenant_id text DEFAULT NULL::text, p_notify boolean DEFAULT true)
 RETURNS TABLE("position" integer, id uuid)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_tenant text := jobforge.require_tenant(p_tenant_id);
    v_now    timestamptz := jobforge.now();
    v_us     bigint := (extract(epoch from v_now) * 1000000)::bigint;
    v_chance bytea := substr(uuid_send(jobforge.new_job_id(v_now)), 9);  -- as in enqueue_jobs
    v_job    record;
    v_run_at timestamptz;
begin
    if json_typeof(p_payloads) is distinct from 'array' or json_typeof(p_job) is distinct from 'object' then
        raise exception 'jobforge: p_payloads must be a JSON array, and p_job an object'
            using errcode = 'JF003', hint = 'Pass [{...}, ...] and {"type": "...", ...}; nothing was enqueued.';
    end if;
    select * into v_job from json_to_record(p_job) as i (
        type text, tenant_id text, queue text, priority integer, run_at timestamptz, delay interval,
        idempotency_key text, max_attempts integer, retry jsonb, timeout interval, trace json, parent_id uuid,
        subject text, unique_key text, on_duplicate text, ordering_key text);
    if v_job.idempotency_key is not null or v_job.unique_key is not null then
        raise exception 'jobforge: jobs with a key differ in more than the payload'
            using errcode = 'JF003', hint = 'Pass them to enqueue_jobs; nothing was enqueued.';
    end if;
    perform jobforge.require_tenant(v_job.tenant_id);
    perform jobforge.check_job(null, v_job.type, '{}', v_job.queue, v_job.priority, v_job.run_at, v_job.delay, null,
                               v_job.max_attempts, v_job.retry, v_job.timeout, v_job.trace, v_job.subject, null,
                               v_job.on_duplicate, v_job.ordering_key);
    v_job.queue := coalesce(v_job.queue, 'default');
    v_job.priority := coalesce(v_job.priority, 0);
    v_run_at := coalesce(v_job.run_at, v_now + v_job.delay, v_now);

    return query
        with item as materialized (
            select p.position::integer, encode(int8send(((v_us + p.position) / 1000) << 16 | 28672
                       | (((v_us + p.position) % 1000) * 4096 / 1000)) || v_chance, 'hex')::uuid as id, p.payload
              from json_array_elements(p_payloads) with ordinality p (payload, position)
             where (json_typeof(p.payload) = 'object' and octet_length(p.payload::text) <= 262144
                    and p.payload::jsonb is not null)
                or jobforge.check_job(p.position::integer, v_job.type, p.payload, null, null, null, null, null, null,
                                      null, null, null, null)
        ), stored as (
            insert into jobforge.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, timeout,
                                       retry, ordering_key, subject, parent_id, cause, trace, created_at)
            select i.id, v_tenant, v_job.queue, v_job.type, v_job.priority, i.payload, v_run_at,
                   coalesce(v_job.max_attempts, 5), v_job.timeout, v_job.retry, v_job.ordering_key, v_job.subject,
                   v_job.parent_id, case when v_job.parent_id is not null then 'handler' end, v_job.trace, v_now
              from item i
        ), lined as (
            insert into jobforge.lines (tenant_id, ordering_key, job_id)
            select v_tenant, v_job.ordering_key, i.id from item i where v_job.ordering_key is not null
        ), queued as (
            insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
            select v_job.queue, v_tenant, v_job.priority, i.id, v_job.type, 0, 0, 0 from item i where v_run_at <= v_now
        ), later as (
            insert into jobforge.scheduled (job_id, run_at, queue, tenant_id, priority, type, run, attempt, crashes)
            select i.id, v_run_at, v_job.queue, v_tenant, v_job.priority, v_job.type, 0, 0, 0
              from item i where v_run_at > v_now
        )
        select i.position, i.id from item i order by i.position;
    perform jobforge.wake(v_job.queue) where found and v_run_at <= v_now and p_notify is not false;
    perform jobforge.check_quota(v_tenant);
end
$function$
;
alter function jobforge.enqueue_payloads owner to jobforge_owner;
grant execute on function jobforge.enqueue_payloads to jobforge_admin;
grant execute on function jobforge.enqueue_payloads to jobforge_app;
comment on function jobforge.enqueue_payloads is 'Enqueue jobs that differ in the payload alone, all or nothing.';

-- function jobforge.enter_lines
CREATE OR REPLACE FUNCTION jobforge.enter_lines(p_jobs uuid[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
begin
    insert into jobforge.lines (tenant_id, ordering_key, job_id)
    select j.tenant_id, j.ordering_key, j.id from jobforge.jobs j where j.id = any (p_jobs) and j.ordering_key is not null;
end
$function$
;
alter function jobforge.enter_lines owner to jobforge_owner;
comment on function jobforge.enter_lines is 'Jobs that come back to life stand in their lines again.';

-- function jobforge.enter_places
CREATE OR REPLACE FUNCTION jobforge.enter_places(p_jobs jobforge.scheduled[], p_notify boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_now timestamptz := jobforge.now();
begin
    insert into jobforge.scheduled select w.* from unnest(p_jobs) w where w.run_at > v_now;
    insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
    select w.queue, w.tenant_id, w.priority, w.job_id, w.type, w.run, w.attempt, w.crashes
      from unnest(p_jobs) w where w.run_at is null or w.run_at <= v_now;
    if found and p_notify is not false then
        perform jobforge.wake(q.queue)
           from (select distinct w.queue from unnest(p_jobs) w where w.run_at is null or w.run_at <= v_now) q;
    end if;
end
$function$
;
alter function jobforge.enter_places owner to jobforge_owner;
comment on function jobforge.enter_places is 'Put jobs where they wait from now on.';

-- function jobforge.export_tenant
CREATE OR REPLACE FUNCTION jobforge.export_tenant(p_tenant_id text, p_cursor uuid DEFAULT NULL::uuid, p_limit integer DEFAULT 1000)
 RETURNS TABLE(job_id uuid, record text)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
begin
    perform jobforge.check_tenant(p_tenant_id);
    return query
        select a.id,
               case when coalesce(runs.part, 0) = 0 then json_build_object(
                        'job', a, 'attempts', coalesce(runs.attempts, '[]'),
                        'artifacts', coalesce((select json_agg(json_build_object('name', f.name,
                            'media_type', f.media_type, 'size', f.size, 'sha256', f.sha256, 'location', f.location,
                            'created_at', f.created_at) order by f.name)
                            from jobforge.artifacts f where f.job_id = a.id and f.tenant_id = p_tenant_id), '[]'),
                        'cancel_requested_at', (select c.requested_at from jobforge.cancel_requests c
                                                 where c.job_id = a.id and c.tenant_id = p_tenant_id),
                        'deliveries', (select coalesce(json_agg(d order by d.run), '[]') from jobforge.webhook_deliveries d
                                        where d.job_id = a.id and d.tenant_id = p_tenant_id))
                    else json_build_object('job_id', a.id, 'attempts', runs.attempts)
               end::text
          from (select j.id from jobforge.jobs j
                 where j.tenant_id = p_tenant_id and (p_cursor is null or j.id > p_cursor)
                 order by j.id limit p_limit) page
         cross join lateral (  -- limit: as in list_jobs
               select * from jobforge.all_jobs one where one.id = page.id and one.tenant_id = p_tenant_id limit 1) a
          left join lateral (
               select numbered.part, json_agg(numbered.t order by numbered.run) as attempts
                 from (select t, t.run, (row_number() over (order by t.run) - 1) / 1000 as part
                         from jobforge.all_attempts t where t.job_id = a.id and t.tenant_id = p_tenant_id) numbered
                group by numbered.part) runs on true
         order by a.id, runs.part;
end
$function$
;
alter function jobforge.export_tenant owner to jobforge_owner;
grant execute on function jobforge.export_tenant to jobforge_admin;
comment on function jobforge.export_tenant is 'Everything of a tenant''s jobs, as JSON objects.';

-- function jobforge.find_place
CREATE OR REPLACE FUNCTION jobforge.find_place(p_job jobforge.jobs, p_lock boolean)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_place text;
begin
    for i in 1 .. 100 loop  -- who was waited for has moved it
        if p_lock then
            perform from jobforge.scheduled s where s.tenant_id = p_job.tenant_id and s.job_id = p_job.id for update;
            if found then
                return 'scheduled';
            end if;
            perform from jobforge.ready r where r.tenant_id = p_job.tenant_id and r.job_id = p_job.id for update;
            if found then
                return 'ready';
            end if;
        end if;
        v_place := (
            select 'leases' from jobforge.leases l where l.job_id = p_job.id
            union all
            select 'outcomes' from jobforge.outcomes o where o.job_id = p_job.id
            union all
            select 'scheduled' from jobforge.scheduled s where s.tenant_id = p_job.tenant_id and s.job_id = p_job.id
            union all
            select 'ready' from jobforge.ready r where r.tenant_id = p_job.tenant_id and r.job_id = p_job.id);
        exit when not p_lock or v_place is null or v_place in ('leases', 'outcomes');
    end loop;
    return v_place;
end
$function$
;
alter function jobforge.find_place owner to jobforge_owner;
comment on function jobforge.find_place is 'The table in which a job stands.';

-- function jobforge.first_job_id
CREATE OR REPLACE FUNCTION jobforge.first_job_id(p_at timestamp with time zone)
 RETURNS uuid
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_ms bigint := greatest(floor(extract(epoch from p_at) * 1000), 0)::bigint;
begin
    return (lpad(to_hex(v_ms), 12, '0') || '70008000000000000000')::uuid;
end
$function$
;
alter function jobforge.first_job_id owner to jobforge_owner;
grant execute on function jobforge.first_job_id to jobforge_admin;
grant execute on function jobforge.first_job_id to jobforge_app;
comment on function jobforge.first_job_id is 'The least id that a job of a moment can have.';

-- function jobforge.forget_jobs
CREATE OR REPLACE FUNCTION jobforge.forget_jobs(p_jobs uuid[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
begin
    delete from jobforge.results r where r.job_id = any (p_jobs);
    delete from jobforge.attempts a where a.job_id = any (p_jobs);
    delete from jobforge.webhook_deliveries d where d.job_id = any (p_jobs);
    delete from jobforge.artifacts f where f.job_id = any (p_jobs);
end
$function$
;
alter function jobforge.forget_jobs owner to jobforge_owner;
comment on function jobforge.forget_jobs is 'Delete what the runs of jobs have left behind.';

-- function jobforge.forget_limit
CREATE OR REPLACE FUNCTION jobforge.forget_limit(p_scope text, p_name text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    delete from jobforge.limits l
     where l.scope = p_scope and l.name = p_name
       and num_nonnulls(l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting) = 0;
end
$function$
;
alter function jobforge.forget_limit owner to jobforge_owner;
comment on function jobforge.forget_limit is 'Delete the row of whom nothing is said any more.';

-- function jobforge.free_keys
CREATE OR REPLACE FUNCTION jobforge.free_keys(p_jobs uuid[])
 RETURNS uuid[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '2s'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_keyed uuid[];
    v_held  uuid[];
    v_free  uuid[];
begin
    v_keyed := array(
        select distinct on (j.tenant_id, j.type, j.unique_key) j.id from jobforge.jobs j
         where j.id = any (p_jobs) and j.unique_key is not null order by j.tenant_id, j.type, j.unique_key, j.id desc);
    if v_keyed = '{}' then
        return p_jobs;
    end if;
    begin
        insert into jobforge.unique_keys (tenant_id, type, key, job_id)
        select j.tenant_id, j.type, j.unique_key, j.id from jobforge.jobs j
         where j.id = any (v_keyed)
           and not exists (select from jobforge.unique_keys k
                            where k.tenant_id = j.tenant_id and k.type = j.type and k.key = j.unique_key)
         order by j.tenant_id, j.type, j.unique_key
        on conflict do nothing;
    exception when lock_not_available then  -- those without a key stay so, and are passed over
    end;
    v_held := array(
        select j.id from jobforge.jobs j cross join lateral (
            select from jobforge.unique_keys k
             where k.tenant_id = j.tenant_id and k.type = j.type and k.key = j.unique_key for update skip locked) k
         where j.id = any (v_keyed));
    -- behind the lock: what became of who had the key is seen
    with free as (
        select j.id, k.ctid, k.job_id from jobforge.jobs j cross join lateral (
            select u.ctid, u.job_id from jobforge.unique_keys u
             where u.tenant_id = j.tenant_id and u.type = j.type and u.key = j.unique_key limit 1) k
         where j.id = any (v_held)
           and (exists (select from jobforge.outcomes o where o.job_id = k.job_id)
                or not exists (select from jobforge.jobs h where h.id = k.job_id))
    ), taken as (  -- by place: they are locked
        update jobforge.unique_keys k set job_id = f.id from free f where k.ctid = f.ctid and f.job_id <> f.id
    )
    select array_agg(f.id) into v_free from free f;
    return array(select j.id from jobforge.jobs j where j.id = any (p_jobs) and j.unique_key is null) || v_free;
end
$function$
;
alter function jobforge.free_keys owner to jobforge_owner;
comment on function jobforge.free_keys is 'Which ended jobs no unique key keeps from coming back.';

-- function jobforge.get_artifact
CREATE OR REPLACE FUNCTION jobforge.get_artifact(p_job_id uuid, p_name text)
 RETURNS TABLE(job_id uuid, name text, tenant_id text, media_type text, size bigint, sha256 text, location text, created_at timestamp with time zone, body bytea)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant text := jobforge.current_tenant();
    v_all    boolean := v_tenant is null and row_security_active('jobforge.artifacts');
begin
    return query
        select a.job_id, a.name, a.tenant_id, a.media_type, a.size, a.sha256, a.location, a.created_at, a.body
          from jobforge.artifacts a
         where a.job_id = p_job_id and a.name = p_name and (v_all or a.tenant_id = v_tenant);
end
$function$
;
alter function jobforge.get_artifact owner to jobforge_owner;
grant execute on function jobforge.get_artifact to jobforge_admin;
grant execute on function jobforge.get_artifact to jobforge_app;
comment on function jobforge.get_artifact is 'One artifact with its bytes.';

-- function jobforge.get_job
CREATE OR REPLACE FUNCTION jobforge.get_job(p_job_id uuid)
 RETURNS SETOF jobforge.all_jobs
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant text := jobforge.current_tenant();
begin
    return query select * from jobforge.all_jobs a where a.id = p_job_id and a.tenant_id = coalesce(v_tenant, a.tenant_id);
end
$function$
;
alter function jobforge.get_job owner to jobforge_owner;
grant execute on function jobforge.get_job to jobforge_admin;
grant execute on function jobforge.get_job to jobforge_app;
comment on function jobforge.get_job is 'One job as it is now.';

-- function jobforge.has_suspect
CREATE OR REPLACE FUNCTION jobforge.has_suspect(p_queues text[], p_types text[])
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
begin
    return exists (
        select from unnest(p_queues) q (name) cross join lateral (
               select r.type, r.tenant_id, r.job_id from jobforge.ready r where r.queue = q.name and r.lane = '!suspect' limit 1000) r
         where r.type = any (p_types)
           and not exists (select from jobforge.jobs j where j.id = r.job_id and j.ordering_key is not null
                              and jobforge.waits_in_line(r.tenant_id, j.ordering_key, r.job_id))
           and (not exists (select from jobforge.limits)
                or not (jobforge.is_held('queue', q.name) or jobforge.is_held('task', r.type)
                        or jobforge.is_held('tenant', r.tenant_id))));
end
$function$
;
alter function jobforge.has_suspect owner to jobforge_owner;
grant execute on function jobforge.has_suspect to jobforge_worker;
comment on function jobforge.has_suspect is 'Whether a suspect waits that a worker could run.';

-- function jobforge.heartbeat_job
CREATE OR REPLACE FUNCTION jobforge.heartbeat_job(p_job_id uuid, p_lease_token uuid)
 RETURNS TABLE(held boolean, cancel_requested boolean, deadline timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_deadline timestamptz;
begin
    select l.deadline into v_deadline from jobforge.leases l
     where l.job_id = p_job_id and l.token = p_lease_token
       and l.tenant_id = coalesce(jobforge.current_tenant(), l.tenant_id)
       for share;
    return query select v_deadline is not null,
                        exists (select from jobforge.cancel_requests c where c.job_id = p_job_id and v_deadline is not null),
                        v_deadline;
end
$function$
;
alter function jobforge.heartbeat_job owner to jobforge_owner;
grant execute on function jobforge.heartbeat_job to jobforge_app;
grant execute on function jobforge.heartbeat_job to jobforge_worker;
comment on function jobforge.heartbeat_job is 'Whether this lease stands; holds it until the transaction ends.';

-- function jobforge.heartbeat_jobs
CREATE OR REPLACE FUNCTION jobforge.heartbeat_jobs(p_worker_id uuid, p_runs uuid[] DEFAULT NULL::uuid[], p_alive interval DEFAULT '00:00:30'::interval, p_name text DEFAULT NULL::text, p_queues text[] DEFAULT NULL::text[], p_types text[] DEFAULT NULL::text[], p_connections integer DEFAULT NULL::integer)
 RETURNS TABLE(signal text, job_id uuid, lease_token uuid)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_now   timestamptz := jobforge.now();
    v_ended jobforge.ended_run[];
begin
    perform jobforge.require_read_committed();
    if p_alive = interval '0' then
        delete from jobforge.workers w
         where w.worker_id = p_worker_id
           and not exists (select from jobforge.leases l where l.worker_id = p_worker_id);
        update jobforge.workers set alive_until = v_now where worker_id = p_worker_id;
        return;
    end if;
    perform jobforge.check_claim(p_worker_id, '{}', '{}', 1, p_alive);
    insert into jobforge.workers (worker_id, alive_until, started_at, name, queues, types, connections)
    values (p_worker_id, v_now + p_alive, v_now, left(p_name, 200), p_queues, p_types,
            case when p_connections between 0 and 100000 then p_connections end)
    on conflict (worker_id) do update
       set alive_until = excluded.alive_until, name = coalesce(excluded.name, workers.name),
           queues = coalesce(excluded.queues, workers.queues), types = coalesce(excluded.types, workers.types),
           connections = coalesce(excluded.connections, workers.connections);
    if p_runs is null then
        return;
    end if;

    return query
        select 'lost', null::uuid, held.token
          from unnest(p_runs) as held (token)
         where not exists (select from jobforge.leases l where l.token = held.token and l.worker_id = p_worker_id);
    return query
        select 'cancel', l.job_id, l.token
          from jobforge.leases l join jobforge.cancel_requests c on c.job_id = l.job_id
         where l.worker_id = p_worker_id and l.token = any (p_runs);

    with unknown as (
        select l.job_id from jobforge.leases l
         where l.worker_id = p_worker_id and l.claimed_at < v_now - p_alive and l.token <> all (p_runs)
         order by l.job_id for update skip locked
    ), gone as (
        delete from jobforge.leases l using unknown u where l.job_id = u.job_id returning l.*
    )
    select array_agg(row(0, g.job_id, g.tenant_id, g.token, g.worker_id, g.run, g.attempt, g.crashes, g.claimed_at,
                         'released', null, null, null, null, false, g.ordering_key, g.limited)::jobforge.ended_run)
      into v_ended from gone g;
    if v_ended is not null then
        perform jobforge.settle(v_ended);
        return query select 'released', e.job_id, e.token from unnest(v_ended) e;
    end if;
end
$function$
;
alter function jobforge.heartbeat_jobs owner to jobforge_owner;
grant execute on function jobforge.heartbeat_jobs to jobforge_worker;
comment on function jobforge.heartbeat_jobs is 'A worker''s sign of life; tells it which runs are lost or shall stop.';

-- function jobforge.held_by
CREATE OR REPLACE FUNCTION jobforge.held_by(p_scope text, p_name text)
 RETURNS integer
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_xid xid := (select l.xmax from jobforge.limits l where l.scope = p_scope and l.name = p_name and l.xmax <> 0);
    v_pid integer;
begin
    for v_look in 1 .. 2 loop
        v_pid := (select coalesce(k.pid, 0) from pg_locks k
                   where k.locktype = 'transactionid' and k.transactionid = v_xid and k.mode = 'ExclusiveLock' and k.granted);
        exit when v_pid is null;
        perform pg_sleep(0.1) where v_look = 1;
    end loop;
    return v_pid;
end
$function$
;
alter function jobforge.held_by owner to jobforge_owner;
comment on function jobforge.held_by is 'Who has changed a limit, and not committed it.';

-- function jobforge.impact_of_job
CREATE OR REPLACE FUNCTION jobforge.impact_of_job(p_job_id uuid, p_limit integer DEFAULT 1000, p_depth integer DEFAULT 1000)
 RETURNS TABLE(job_id uuid, depth integer, parent_id uuid, cause text, tenant_id text, queue text, type text, subject text, trace json, state text, run integer, attempt integer, max_attempts integer, crashes integer, created_at timestamp with time zone, finished_at timestamp with time zone, outcome text, error_type text, cut boolean)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_job    jobforge.all_jobs;
begin
    if p_limit is null or p_limit not between 1 and 10000 or p_depth is null or p_depth not between 0 and 10000 then
        raise exception 'jobforge: p_limit must be between 1 and 10000, p_depth between 0 and 10000'
            using errcode = 'JF003', hint = 'Ask for the impact of a job further down.';
    end if;
    select * into v_job from jobforge.get_job(p_job_id);
    if not found then
        return;
    end if;
    return query
        with recursive up as (
            select v_job.id, v_job.tenant_id, v_job.parent_id, v_job.cause, 0 as depth
            union all
            select p.id, p.tenant_id, p.parent_id, p.cause, u.depth - 1
              from up u join jobforge.jobs p on p.id = u.parent_id
               and (v_tenant is null or p.tenant_id = v_tenant) and (p.tenant_id = u.tenant_id or u.cause = 'copy')
             where u.depth > -p_depth
        ), above as materialized (select * from up limit p_limit),
        down as (
            select v_job.id, v_job.tenant_id, v_job.parent_id, v_job.cause, 0 as depth
            union all
            select c.id, c.tenant_id, c.parent_id, c.cause, d.depth + 1
              from down d join jobforge.jobs c on c.parent_id = d.id
               and (v_tenant is null or c.tenant_id = v_tenant) and (c.tenant_id = d.tenant_id or c.cause = 'copy')
             where d.depth <= p_depth
        ), below as materialized (select * from down limit p_limit + 1),
        top as (select * from above order by depth limit 1),
        found as (
            select * from above where depth < 0
            union all (select * from below where depth <= p_depth limit p_limit)
            union all
            select t.parent_id, null, null, null, t.depth - 1 from top t
             where t.parent_id is not null and t.depth > -least(p_depth, p_limit - 1)
        )
        select f.id, f.depth, f.parent_id, f.cause, f.tenant_id, a.queue, a.type, a.subject, a.trace, a.state, a.run,
               a.attempt, a.max_attempts, a.crashes, a.created_at, a.finished_at, l.outcome, l.error ->> 'type',
               (select count(*) > p_limit or max(b.depth) > p_depth from below b)
               or exists (select from top t where t.parent_id is not null and t.depth = -least(p_depth, p_limit - 1))
          from found f
          left join lateral (select * from jobforge.all_jobs one where one.id = f.id and one.tenant_id = f.tenant_id limit 1) a on true
          left join lateral (
               select t.outcome, t.error from jobforge.all_attempts t
                where t.job_id = f.id and t.tenant_id = f.tenant_id order by t.run desc limit 1) l on true
         order by f.depth, f.id;
end
$function$
;
alter function jobforge.impact_of_job owner to jobforge_owner;
grant execute on function jobforge.impact_of_job to jobforge_admin;
grant execute on function jobforge.impact_of_job to jobforge_app;
comment on function jobforge.impact_of_job is 'What caused a job, and all that it caused.';

-- function jobforge.is_held
CREATE OR REPLACE FUNCTION jobforge.is_held(p_scope text, p_name text)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return exists (
        select from jobforge.limits l
         where l.scope = p_scope and l.name = p_name
           and (l.paused_at is not null or (l.rate is not null and jobforge.tokens_of(l) < 1)
                or (l.max_running is not null and jobforge.running_of(l) >= l.max_running)));
end
$function$
;
alter function jobforge.is_held owner to jobforge_owner;
comment on function jobforge.is_held is 'Whether claims give nothing of a tenant, a queue or a task for now.';

-- function jobforge.is_storable
CREATE OR REPLACE FUNCTION jobforge.is_storable(p_document json)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    perform p_document::jsonb;
    return true;
exception when data_exception or program_limit_exceeded then
    return false;
end
$function$
;
alter function jobforge.is_storable owner to jobforge_owner;
comment on function jobforge.is_storable is 'Whether jsonb can hold a document.';

-- function jobforge.job_stats
CREATE OR REPLACE FUNCTION jobforge.job_stats(p_since timestamp with time zone DEFAULT NULL::timestamp with time zone, p_type text DEFAULT NULL::text, p_queue text DEFAULT NULL::text, p_limit integer DEFAULT 50000)
 RETURNS TABLE(type text, queue text, succeeded bigint, failed bigint, lost bigint, dead bigint, canceled bigint, run_p50 double precision, run_p95 double precision, run_max double precision, wait_p50 double precision, wait_p95 double precision, looked_at bigint, back_to timestamp with time zone)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET enable_hashagg TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_all    boolean := v_tenant is null and row_security_active('jobforge.jobs');  -- of all whom the policies show
    v_since  timestamptz := coalesce(p_since, jobforge.now() - interval '1 hour');
begin
    if p_limit is null or p_limit not between 1 and 10000000 then
        raise exception 'jobforge: p_limit must be between 1 and 10000000'
            using errcode = 'JF003', hint = 'Leave it out to look at the newest 50,000 jobs.';
    end if;
    return query
        with seen as materialized (
            select distinct p.job_id from (
                (select distinct a.job_id from jobforge.attempts a where v_all order by a.job_id desc limit p_limit)
                union all
                (select o.job_id from jobforge.outcomes o where v_all order by o.job_id desc limit p_limit)
                union all
                select o.job_id from unnest(array['succeeded', 'dead', 'canceled']) s (state) cross join lateral (
                    select o.job_id from jobforge.outcomes o
                     where o.tenant_id = v_tenant and o.state = s.state order by o.job_id desc limit p_limit) o
                union all
                select s.job_id from (select s.job_id, s.run from jobforge.scheduled s
                                       where s.tenant_id = v_tenant order by s.job_id desc limit p_limit) s where s.run > 0
                union all
                select l.job_id from jobforge.leases l where l.tenant_id = v_tenant and l.run > 1) p
             order by p.job_id desc limit p_limit
        ), ended as (
            select s.job_id, j.type, j.queue, j.run_at
              from seen s join jobforge.jobs j on j.id = s.job_id
             where (p_type is null or j.type = p_type) and (p_queue is null or j.queue = p_queue)
        ), told as (
            select e.type, e.queue, a.outcome as how,
                   case when a.outcome in ('succeeded', 'failed', 'timed_out')
                        then coalesce(a.run_ms / 1000.0, extract(epoch from a.finished_at - a.claimed_at)) end as ran,
                   -- of the first run: when a later one was due is not kept
                   case when a.run = 1 then greatest(extract(epoch from a.claimed_at - e.run_at), 0) end as waited
              from ended e join jobforge.attempts a on a.job_id = e.job_id
             where a.finished_at >= v_since and a.outcome <> 'canceled'
            union all
            select e.type, e.queue, o.state, null, null
              from ended e join jobforge.outcomes o on o.job_id = e.job_id
             where o.finished_at >= v_since and o.state <> 'succeeded'
        )
        select t.type, t.queue, count(*) filter (where t.how = 'succeeded'),
               count(*) filter (where t.how in ('failed', 'timed_out')), count(*) filter (where t.how = 'lost'),
               count(*) filter (where t.how = 'dead'), count(*) filter (where t.how = 'canceled'),
               percentile_cont(0.5) within group (order by t.ran), percentile_cont(0.95) within group (order by t.ran),
               max(t.ran)::double precision, percentile_cont(0.5) within group (order by t.waited),
               percentile_cont(0.95) within group (order by t.waited), (select count(*) from seen),
               (select j.created_at from jobforge.jobs j where (select count(*) from seen) >= p_limit
                   and j.id = (select s.job_id from seen s order by s.job_id limit 1))
          from told t group by grouping sets ((t.type, t.queue), ()) order by t.type nulls first, t.queue;
end
$function$
;
alter function jobforge.job_stats owner to jobforge_owner;
grant execute on function jobforge.job_stats to jobforge_admin;
grant execute on function jobforge.job_stats to jobforge_app;
comment on function jobforge.job_stats is 'How runs and jobs ended since a time, by type and queue.';

-- function jobforge.keep_alive
CREATE OR REPLACE FUNCTION jobforge.keep_alive(p_worker_id uuid, p_alive interval)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_now timestamptz := jobforge.now();
begin
    if not exists (select from jobforge.workers where worker_id = p_worker_id and alive_until > v_now + p_alive / 2) then
        insert into jobforge.workers (worker_id, alive_until, started_at) values (p_worker_id, v_now + p_alive, v_now)
        on conflict (worker_id) do update set alive_until = greatest(workers.alive_until, excluded.alive_until);
    end if;
end
$function$
;
alter function jobforge.keep_alive owner to jobforge_owner;
comment on function jobforge.keep_alive is 'A claim is a sign of life.';

-- function jobforge.lane_back
CREATE OR REPLACE FUNCTION jobforge.lane_back()
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$ select jobforge.turn_lane() where exists (select from jobforge.heads) $function$
;
alter function jobforge.lane_back owner to jobforge_owner;
comment on function jobforge.lane_back is 'The lane for jobs that come back from elsewhere.';

-- function jobforge.lanes_of
CREATE OR REPLACE FUNCTION jobforge.lanes_of(p_queue text, p_types text[], p_look boolean)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_turn   bigint := 1;
    v_heads  boolean := false;
    v_passed bigint := pg_stat_get_xact_tuples_returned('jobforge.ready_ring'::regclass)
                       - pg_stat_get_xact_tuples_fetched('jobforge.ready_ring'::regclass);
    v_lanes  text[] := '{!main}';
begin
    if p_look is not null then
        select s.last_value, not p_look and exists (select from jobforge.heads h where h.queue = p_queue)
          into v_turn, v_heads from jobforge.turn_lanes s;
    end if;
    -- one probe where nothing stands aside, and then one for each type
    if v_heads or v_turn > 1 or exists (select from jobforge.ready r where r.queue = p_queue and r.lane > '!suspect') then
        v_lanes := v_lanes || jobforge.turn_lanes(p_queue, p_look) || array(
            select distinct t.type from unnest(p_types) t (type)
             where case when v_heads then (select r.met from jobforge.ring_of(p_queue, array[t.type], '', false, 1) r) = 1
                        else exists (select from jobforge.ready r where r.queue = p_queue and r.lane = t.type) end);
    end if;
    v_passed := pg_stat_get_xact_tuples_returned('jobforge.ready_ring'::regclass)
                - pg_stat_get_xact_tuples_fetched('jobforge.ready_ring'::regclass) - v_passed;
    if v_passed > 100 and p_look is not true then
        perform nextval('jobforge.turn_lanes');
    end if;
    return v_lanes;
end
$function$
;
alter function jobforge.lanes_of owner to jobforge_owner;
comment on function jobforge.lanes_of is 'The lanes of a queue that a worker of some types walks.';

-- function jobforge.leave_line
CREATE OR REPLACE FUNCTION jobforge.leave_line(p_jobs uuid[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
begin
    with gone as (
        delete from jobforge.lines l using jobforge.jobs j
         where j.id = any (p_jobs) and j.ordering_key is not null
           and l.tenant_id = j.tenant_id and l.ordering_key = j.ordering_key and l.job_id = j.id
        returning l.tenant_id, l.ordering_key
    )
    insert into jobforge.turns (tenant_id, ordering_key) select distinct g.tenant_id, g.ordering_key from gone g;
end
$function$
;
alter function jobforge.leave_line owner to jobforge_owner;
comment on function jobforge.leave_line is 'Jobs that have ended leave their lines.';

-- function jobforge.leave_place
CREATE OR REPLACE FUNCTION jobforge.leave_place(p_job jobforge.jobs)
 RETURNS jobforge.scheduled
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_gone jobforge.scheduled;
begin
    delete from jobforge.scheduled s where s.tenant_id = p_job.tenant_id and s.job_id = p_job.id
    returning s.* into v_gone;
    if found then
        return v_gone;
    end if;
    delete from jobforge.ready r where r.tenant_id = p_job.tenant_id and r.job_id = p_job.id
    returning r.tenant_id, r.job_id, null, r.queue, r.priority, r.type, r.run, r.attempt, r.crashes into v_gone;
    if found then
        return v_gone;
    end if;
    return null;
end
$function$
;
alter function jobforge.leave_place owner to jobforge_owner;
comment on function jobforge.leave_place is 'Take a job out of the place where it waits.';

-- function jobforge.leave_places
CREATE OR REPLACE FUNCTION jobforge.leave_places(p_jobs uuid[])
 RETURNS SETOF jobforge.scheduled
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
begin
    return query
    with job as materialized (
        select j.id, j.tenant_id from jobforge.jobs j where j.id = any (p_jobs)
    ), later as (  -- a sub-select that locks is asked for each job, by key, whatever the planner thinks of the table
        select w.ctid from job j cross join lateral (
            select s.ctid from jobforge.scheduled s where s.tenant_id = j.tenant_id and s.job_id = j.id
               for update skip locked) w
    ), sooner as (
        select w.ctid from job j cross join lateral (
            select r.ctid from jobforge.ready r where r.tenant_id = j.tenant_id and r.job_id = j.id
               for update skip locked) w
    ), gone as (  -- by place: the rows are locked, and nothing ever updates them
        delete from jobforge.scheduled s where s.ctid = any (array(select l.ctid from later l)) returning s.*
    ), gone_too as (
        delete from jobforge.ready r where r.ctid = any (array(select s.ctid from sooner s))
        returning r.tenant_id, r.job_id, null::timestamptz, r.queue, r.priority, r.type, r.run, r.attempt, r.crashes
    )
    select * from gone union all select * from gone_too;
end
$function$
;
alter function jobforge.leave_places owner to jobforge_owner;
comment on function jobforge.leave_places is 'Take jobs out of the places where they wait.';

-- function jobforge.limit_artifacts
CREATE OR REPLACE FUNCTION jobforge.limit_artifacts(p_max_bytes integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if p_max_bytes is null or p_max_bytes not between 0 and 104857600 then
        raise exception 'jobforge: an artifact may have 0 to 104857600 bytes'
            using errcode = 'JF003', hint = 'Keep larger ones elsewhere, and note their location.';
    end if;
    update jobforge.settings set artifact_bytes = p_max_bytes;
    return p_max_bytes;
end
$function$
;
alter function jobforge.limit_artifacts owner to jobforge_owner;
grant execute on function jobforge.limit_artifacts to jobforge_admin;
comment on function jobforge.limit_artifacts is 'Let artifacts in the database have at most so many bytes.';

-- function jobforge.limit_queue
CREATE OR REPLACE FUNCTION jobforge.limit_queue(p_queue text, p_change jsonb)
 RETURNS TABLE(scope text, name text, paused_at timestamp with time zone, max_running integer, rate double precision, burst integer, weight integer, max_waiting integer)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.set_limit('queue', p_queue, p_change) l
$function$
;
alter function jobforge.limit_queue owner to jobforge_owner;
grant execute on function jobforge.limit_queue to jobforge_admin;
comment on function jobforge.limit_queue is 'Change the limits of a queue.';

-- function jobforge.limit_task
CREATE OR REPLACE FUNCTION jobforge.limit_task(p_type text, p_change jsonb)
 RETURNS TABLE(scope text, name text, paused_at timestamp with time zone, max_running integer, rate double precision, burst integer, weight integer, max_waiting integer)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.set_limit('task', p_type, p_change) l
$function$
;
alter function jobforge.limit_task owner to jobforge_owner;
grant execute on function jobforge.limit_task to jobforge_admin;
comment on function jobforge.limit_task is 'Change the limits of a task.';

-- function jobforge.limit_tenant
CREATE OR REPLACE FUNCTION jobforge.limit_tenant(p_tenant_id text, p_change jsonb)
 RETURNS TABLE(scope text, name text, paused_at timestamp with time zone, max_running integer, rate double precision, burst integer, weight integer, max_waiting integer)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.set_limit('tenant', p_tenant_id, p_change) l
$function$
;
alter function jobforge.limit_tenant owner to jobforge_owner;
grant execute on function jobforge.limit_tenant to jobforge_admin;
comment on function jobforge.limit_tenant is 'Change the limits of a tenant.';

-- function jobforge.list_artifacts
CREATE OR REPLACE FUNCTION jobforge.list_artifacts(p_job_id uuid DEFAULT NULL::uuid, p_limit integer DEFAULT 50, p_cursor uuid DEFAULT NULL::uuid, p_cursor_name text DEFAULT NULL::text)
 RETURNS TABLE(job_id uuid, name text, tenant_id text, media_type text, size bigint, sha256 text, location text, created_at timestamp with time zone)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET jit TO 'off'
AS $function$
declare
    v_tenant text := jobforge.current_tenant();
    v_all    boolean := v_tenant is null and row_security_active('jobforge.artifacts');
begin
    if p_limit is null or p_limit not between 1 and 1000 then
        raise exception 'jobforge: p_limit must be between 1 and 1000'
            using errcode = 'JF003', hint = 'Ask for pages: pass the last one as p_cursor and p_cursor_name.';
    end if;
    return query
        select a.job_id, a.name, a.tenant_id, a.media_type, a.size, a.sha256, a.location, a.created_at
          from jobforge.artifacts a
         where (v_all or a.tenant_id = v_tenant) and (p_job_id is null or a.job_id = p_job_id)
           and (p_cursor is null or a.job_id <= p_cursor)
           and (p_cursor is null or a.job_id < p_cursor or a.name < p_cursor_name)
         order by a.job_id desc, a.name desc limit p_limit;
end
$function$
;
alter function jobforge.list_artifacts owner to jobforge_owner;
grant execute on function jobforge.list_artifacts to jobforge_admin;
grant execute on function jobforge.list_artifacts to jobforge_app;
comment on function jobforge.list_artifacts is 'Artifacts without their bytes, in pages.';

-- function jobforge.list_connectors
CREATE OR REPLACE FUNCTION jobforge.list_connectors(p_tenant_id text DEFAULT NULL::text)
 RETURNS SETOF jobforge.connectors
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select * from jobforge.connectors c where p_tenant_id is null or c.tenant_id = p_tenant_id order by c.tenant_id, c.type
$function$
;
alter function jobforge.list_connectors owner to jobforge_owner;
grant execute on function jobforge.list_connectors to jobforge_admin;
comment on function jobforge.list_connectors is 'What was said of the connectors of a tenant, or of all.';

-- function jobforge.list_jobs
CREATE OR REPLACE FUNCTION jobforge.list_jobs(p_state text DEFAULT NULL::text, p_type text DEFAULT NULL::text, p_queue text DEFAULT NULL::text, p_since timestamp with time zone DEFAULT NULL::timestamp with time zone, p_until timestamp with time zone DEFAULT NULL::timestamp with time zone, p_limit integer DEFAULT 50, p_cursor uuid DEFAULT NULL::uuid)
 RETURNS SETOF jobforge.all_jobs
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET jit TO 'off'
AS $function$
declare
    v_tenant text := jobforge.current_tenant();
begin
    if p_limit is null or p_limit not between 1 and 1000 then
        raise exception 'jobforge: p_limit must be between 1 and 1000'
            using errcode = 'JF003', hint = 'Ask for pages: pass the last id as p_cursor.';
    end if;
    if p_state not in ('scheduled', 'queued', 'running', 'succeeded', 'dead', 'canceled') then
        raise exception 'jobforge: there is no state %', quote_literal(left(p_state, 50))
            using errcode = 'JF003', hint = 'States: scheduled, queued, running, succeeded, dead, canceled.';
    end if;
    if p_state is null then
        return query
            select a.* from (
                select j.id from jobforge.jobs j
                 where (v_tenant is null or j.tenant_id = v_tenant) and (p_cursor is null or j.id < p_cursor)
                   and (p_type is null or j.type = p_type) and (p_queue is null or j.queue = p_queue)
                   and (p_since is null or j.created_at >= p_since) and (p_until is null or j.created_at < p_until)
                 order by j.id desc limit p_limit) page
             cross join lateral (select * from jobforge.all_jobs b where b.id = page.id limit 1) a
             order by a.id desc;
    else
        return query
            select a.* from (
                    select o.tenant_id, o.job_id, o.state from jobforge.outcomes o
                    -- these are sorted while they are narrow: two have no index in this order
                    union all (select s.tenant_id, s.job_id, 'scheduled' from jobforge.scheduled s order by s.job_id desc)
                    union all (select r.tenant_id, r.job_id, 'queued' from jobforge.ready r order by r.job_id desc)
                    union all (select l.tenant_id, l.job_id, 'running' from jobforge.leases l order by l.job_id desc)) place
             cross join lateral (
                select * from jobforge.all_jobs b
                 where b.id = place.job_id and b.state = p_state
                   and (p_type is null or b.type = p_type) and (p_queue is null or b.queue = p_queue)
                   and (p_since is null or b.created_at >= p_since) and (p_until is null or b.created_at < p_until)
                 limit 1) a
             where place.state = p_state
               and (v_tenant is null or place.tenant_id = v_tenant) and (p_cursor is null or place.job_id < p_cursor)
             order by place.job_id desc limit p_limit;
    end if;
end
$function$
;
alter function jobforge.list_jobs owner to jobforge_owner;
grant execute on function jobforge.list_jobs to jobforge_admin;
grant execute on function jobforge.list_jobs to jobforge_app;
comment on function jobforge.list_jobs is 'Jobs by state, type, queue and time; newest first, in pages.';

-- function jobforge.list_limits
CREATE OR REPLACE FUNCTION jobforge.list_limits(p_scope text DEFAULT NULL::text)
 RETURNS TABLE(scope text, name text, paused_at timestamp with time zone, max_running integer, rate double precision, burst integer, weight integer, max_waiting integer, running integer, bucket double precision)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
begin
    if p_scope not in ('tenant', 'queue', 'task') then
        raise exception 'jobforge: there is no scope %', quote_literal(left(p_scope, 50))
            using errcode = 'JF003', hint = 'Scopes: tenant, queue, task; NULL for all.';
    end if;
    return query
        select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting,
               jobforge.running_of(l), case when l.rate is not null then jobforge.tokens_of(l) end
          from jobforge.limits l where p_scope is null or l.scope = p_scope order by l.scope, l.name;
end
$function$
;
alter function jobforge.list_limits owner to jobforge_owner;
grant execute on function jobforge.list_limits to jobforge_admin;
comment on function jobforge.list_limits is 'What was said of tenants, queues and tasks.';

-- function jobforge.list_queues
CREATE OR REPLACE FUNCTION jobforge.list_queues(p_count integer DEFAULT 100000)
 RETURNS TABLE(queue text, queued bigint, oldest timestamp with time zone, suspects bigint, scheduled bigint, next_due timestamp with time zone, running bigint, workers bigint, paused_at timestamp with time zone, max_running integer)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_now timestamptz := jobforge.now();
begin
    if p_count is null or p_count not between 1 and 100000000 then
        raise exception 'jobforge: p_count must be between 1 and 100000000'
            using errcode = 'JF003', hint = 'Leave it out to count up to 100,000 jobs of each queue.';
    end if;
    return query
        with recursive waiting (queue) as (
            (select r.queue from jobforge.ready r order by r.queue limit 1)
            union all
            select (select r.queue from jobforge.ready r where r.queue > w.queue order by r.queue limit 1)
              from waiting w where w.queue is not null
        ), later as (
            select s.queue, count(*) as scheduled, min(s.run_at) as next_due
              from (select s.queue, s.run_at from jobforge.scheduled s order by s.run_at limit p_count) s group by s.queue
        ), held as (
            select l.queue, count(*) as running from jobforge.leases l group by l.queue
        ), served as (
            select q.queue, count(*) as workers
              from jobforge.workers w cross join unnest(w.queues) q (queue) where w.alive_until > v_now group by q.queue
        ), known as (
            select w.queue from waiting w where w.queue is not null
            union select l.queue from later l union select h.queue from held h union select s.queue from served s
            union select m.name from jobforge.limits m where m.scope = 'queue'
        )
        select k.queue,
               (select count(*) from (select from jobforge.ready r
                                       where r.queue = k.queue and r.lane <> '!suspect' limit p_count) c),
               (with recursive head (lane, tenant_id, job_id, n) as (
                    (select r.lane, r.tenant_id, r.job_id, 1 from jobforge.ready r where r.queue = k.queue
                      order by r.lane, r.tenant_id, r.priority, r.job_id limit 1)
                    union all
                    select next.lane, next.tenant_id, next.job_id, h.n + 1 from head h cross join lateral (
                        select r.lane, r.tenant_id, r.job_id from jobforge.ready r
                         where r.queue = k.queue and (r.lane, r.tenant_id) > (h.lane, h.tenant_id)
                         order by r.lane, r.tenant_id, r.priority, r.job_id limit 1) next
                     where h.n < 1000)
                select min(j.run_at) from head h join jobforge.jobs j on j.id = h.job_id),
               (select count(*) from (select from jobforge.ready r where r.queue = k.queue and r.lane = '!suspect' limit p_count) c),
               coalesce(l.scheduled, 0), l.next_due, coalesce(h.running, 0), coalesce(s.workers, 0),
               m.paused_at, m.max_running
          from known k
          left join later l on l.queue = k.queue
          left join held h on h.queue = k.queue
          left join served s on s.queue = k.queue
          left join jobforge.limits m on m.scope = 'queue' and m.name = k.queue
         order by k.queue;
end
$function$
;
alter function jobforge.list_queues owner to jobforge_owner;
grant execute on function jobforge.list_queues to jobforge_admin;
comment on function jobforge.list_queues is 'The queues: what waits, what runs, who works on them.';

-- function jobforge.list_retention
CREATE OR REPLACE FUNCTION jobforge.list_retention()
 RETURNS SETOF jobforge.retention
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select * from jobforge.retention r order by r.type, r.kind
$function$
;
alter function jobforge.list_retention owner to jobforge_owner;
grant execute on function jobforge.list_retention to jobforge_admin;
comment on function jobforge.list_retention is 'How long ended jobs, results and idempotency keys are kept.';

-- function jobforge.list_secrets
CREATE OR REPLACE FUNCTION jobforge.list_secrets(p_tenant_id text DEFAULT NULL::text)
 RETURNS TABLE(tenant_id text, name text, kind text, hosts text[], previous_until timestamp with time zone, updated_at timestamp with time zone)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select s.tenant_id, s.name, s.kind, s.hosts, case when s.previous_until > jobforge.now() then s.previous_until end,
           s.updated_at
      from jobforge.connector_secrets s
     where p_tenant_id is null or s.tenant_id = p_tenant_id order by s.tenant_id, s.name
$function$
;
alter function jobforge.list_secrets owner to jobforge_owner;
grant execute on function jobforge.list_secrets to jobforge_admin;
comment on function jobforge.list_secrets is 'The secrets of a tenant, or of all, without their values.';

-- function jobforge.list_tenants
CREATE OR REPLACE FUNCTION jobforge.list_tenants()
 RETURNS TABLE(tenant_id text, queued bigint, scheduled bigint, running bigint, paused_at timestamp with time zone, max_waiting integer, max_running integer, rate double precision, burst integer, weight integer)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
begin
    return query
        select coalesce(c.tenant_id, t.tenant_id), coalesce(c.queued, 0), coalesce(c.scheduled, 0), coalesce(c.running, 0),
               t.paused_at, t.max_waiting, t.max_running, t.rate, t.burst, t.weight
          from (select p.tenant_id, sum(p.queued)::bigint as queued, sum(p.scheduled)::bigint as scheduled,
                       sum(p.running)::bigint as running
                  from (select r.tenant_id, count(*) as queued, 0 as scheduled, 0 as running
                          from jobforge.ready r group by r.tenant_id
                        union all
                        select s.tenant_id, 0, count(*), 0 from jobforge.scheduled s group by s.tenant_id
                        union all
                        select l.tenant_id, 0, 0, count(*) from jobforge.leases l group by l.tenant_id) p
                 group by p.tenant_id) c
          full join (select * from jobforge.limits l where l.scope = 'tenant') t on t.tenant_id = c.tenant_id
         order by 1;
end
$function$
;
alter function jobforge.list_tenants owner to jobforge_owner;
grant execute on function jobforge.list_tenants to jobforge_admin;
comment on function jobforge.list_tenants is 'The tenants that wait, run, are paused or have a quota.';

-- function jobforge.list_webhooks
CREATE OR REPLACE FUNCTION jobforge.list_webhooks(p_url text DEFAULT NULL::text, p_limit integer DEFAULT 1000)
 RETURNS TABLE(tenant_id text, url text, failures integer, first_failed_at timestamp with time zone, disabled_at timestamp with time zone, reason text)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
begin
    if p_limit not between 1 and 10000 then
        raise exception 'jobforge: p_limit must be between 1 and 10000'
            using errcode = 'JF003', hint = 'Ask for one endpoint: p_url.';
    end if;
    return query
        select e.tenant_id, e.url, e.failures, e.first_failed_at, e.disabled_at, e.reason
          from jobforge.webhook_endpoints e
         where (v_tenant is null or e.tenant_id = v_tenant)
           and (p_url is null or e.url_sha256 = sha256(convert_to(p_url, 'UTF8')))
         order by e.disabled_at is null, e.tenant_id, e.url limit coalesce(p_limit, 1000);
end
$function$
;
alter function jobforge.list_webhooks owner to jobforge_owner;
grant execute on function jobforge.list_webhooks to jobforge_admin;
grant execute on function jobforge.list_webhooks to jobforge_app;
comment on function jobforge.list_webhooks is 'The endpoints that fail, or are disabled.';

-- function jobforge.list_workers
CREATE OR REPLACE FUNCTION jobforge.list_workers()
 RETURNS TABLE(worker_id uuid, name text, started_at timestamp with time zone, alive_until timestamp with time zone, queues text[], types text[], running bigint)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select w.worker_id, w.name, w.started_at, w.alive_until, w.queues, w.types, coalesce(h.running, 0)
      from jobforge.workers w
      left join (select l.worker_id, count(*) as running from jobforge.leases l group by l.worker_id) h
             on h.worker_id = w.worker_id
     order by w.started_at, w.worker_id
$function$
;
alter function jobforge.list_workers owner to jobforge_owner;
grant execute on function jobforge.list_workers to jobforge_admin;
comment on function jobforge.list_workers is 'The workers that live, or were lost without taking leave.';

-- function jobforge.log_delivery
CREATE OR REPLACE FUNCTION jobforge.log_delivery(p_job_id uuid, p_lease_token uuid, p_url text, p_event_id text, p_event_type text, p_outcome text, p_status integer DEFAULT NULL::integer, p_error text DEFAULT NULL::text, p_duration_ms integer DEFAULT NULL::integer, p_preview text DEFAULT NULL::text, p_disable_after integer DEFAULT 20, p_disable_after_time interval DEFAULT '01:00:00'::interval)
 RETURNS TABLE(failures integer, disabled_at timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_now  timestamptz := jobforge.now();
    v_run  record;
    v_key  bytea := sha256(convert_to(p_url, 'UTF8'));
begin
    if p_outcome is null or p_outcome not in ('delivered', 'failed', 'gone', 'blocked', 'skipped') then
        raise exception 'jobforge: no delivery ends as %', coalesce(quote_literal(left(p_outcome, 50)), 'NULL')
            using errcode = 'JF003', hint = 'Outcomes: delivered, failed, gone, blocked, skipped.';
    end if;
    if p_url is null or length(p_url) not between 1 and 2048 or p_event_id is null or length(p_event_id) not between 1 and 200
       or p_event_type is null or length(p_event_type) > 200 then
        raise exception 'jobforge: a delivery has a URL of 1 to 2048 characters, an event id of 1 to 200, a type of up to 200'
            using errcode = 'JF003', hint = 'They are those of the job''s payload.';
    end if;
    select l.tenant_id, l.run, l.attempt into v_run from jobforge.leases l
     where l.job_id = p_job_id and l.token = p_lease_token
       and l.tenant_id = coalesce(jobforge.current_tenant(), l.tenant_id)
       for share;
    if not found then
        return;
    end if;
    insert into jobforge.webhook_deliveries (job_id, run, tenant_id, attempt, url, event_id, event_type, outcome, status,
                                             error, duration_ms, preview, at)
    values (p_job_id, v_run.run, v_run.tenant_id, v_run.attempt, p_url, p_event_id, p_event_type, p_outcome, p_status,
            left(p_error, 1000), p_duration_ms, left(p_preview, 2000), v_now);
    if p_outcome = 'delivered' then  -- one that somebody has disabled meanwhile stays so
        delete from jobforge.webhook_endpoints e
         where e.tenant_id = v_run.tenant_id and e.url_sha256 = v_key and e.disabled_at is null;
    elsif p_outcome in ('failed', 'gone') then
        insert into jobforge.webhook_endpoints as e (tenant_id, url_sha256, url, failures, first_failed_at, last_failed_at)
        values (v_run.tenant_id, v_key, p_url, 1, v_now, v_now)
        on conflict (tenant_id, url_sha256) do update
           set failures = least(e.failures, 1000000000) + 1, first_failed_at = coalesce(e.first_failed_at, v_now),
               last_failed_at = v_now;
        update jobforge.webhook_endpoints e
           set disabled_at = v_now,
               reason = case p_outcome when 'gone' then 'it answered 410 Gone'
                        else format('%s deliveries in a row have failed since %s', e.failures,
                                    jobforge.moment_text(e.first_failed_at)) end
         where e.tenant_id = v_run.tenant_id and e.url_sha256 = v_key and e.disabled_at is null
           and (p_outcome = 'gone' or e.failures >= coalesce(p_disable_after, 20)
                                      and e.first_failed_at <= v_now - coalesce(p_disable_after_time, interval '1 hour'));
    end if;
    return query
        select coalesce(e.failures, 0), e.disabled_at from (values (1)) one
          left join jobforge.webhook_endpoints e on e.tenant_id = v_run.tenant_id and e.url_sha256 = v_key;
end
$function$
;
alter function jobforge.log_delivery owner to jobforge_owner;
grant execute on function jobforge.log_delivery to jobforge_app;
grant execute on function jobforge.log_delivery to jobforge_worker;
comment on function jobforge.log_delivery is 'Note an attempt to deliver a webhook, by the lease token of its run.';

-- function jobforge.look_due
CREATE OR REPLACE FUNCTION jobforge.look_due(p_lane text, p_queue text)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_at  text := current_setting('jobforge.look_' || md5(p_lane || ' ' || p_queue), true);
    v_now float8 := extract(epoch from clock_timestamp());
begin
    if v_at !~ '^[0-9]{1,12}([.][0-9]{1,9})?$' then
        return true;
    end if;
    return coalesce(v_at::float8 not between v_now and v_now + 3600, true);
end
$function$
;
alter function jobforge.look_due owner to jobforge_owner;
comment on function jobforge.look_due is 'Whether this session looks at a lane from the beginning again.';

-- function jobforge.make_ready
CREATE OR REPLACE FUNCTION jobforge.make_ready()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_now    float8 := extract(epoch from clock_timestamp());
    v_noted  float8[] := string_to_array(nullif(current_setting('jobforge.turns', true), ''), ' ');
    v_look   boolean := coalesce(v_now >= v_noted[4], true);
    v_passed bigint;
    v_first  bigint;
    v_last   bigint;
begin
    for i in 1 .. 10 loop
        exit when jobforge.promote_due(1000) < 1000;
    end loop;
    v_passed := pg_stat_get_xact_tuples_returned('jobforge.turns_pkey'::regclass);
    v_first := (select t.id from jobforge.turns t where t.id > case when v_look then 0 else v_noted[1]::bigint end order by t.id limit 1);
    if v_first is not null then
        perform jobforge.take_turns(1000, v_first);
    end if;
    v_passed := pg_stat_get_xact_tuples_returned('jobforge.turns_pkey'::regclass) - v_passed;
    if v_noted is null and v_passed > 5000 or v_noted is not null and (v_look or v_now > v_noted[3] + 0.2) then
        v_last := (select s.last_value from jobforge.turns_id_seq s);
        v_noted := array[case when v_now > v_noted[3] + 0.2 then v_noted[2] else coalesce(v_noted[1], 0) end,  -- behind this one
                         case when v_now > v_noted[3] + 0.2 then v_last else coalesce(v_noted[2], v_last) end,  -- and then behind this
                         case when v_now > v_noted[3] + 0.2 then v_now else coalesce(v_noted[3], v_now) end,
                         case when v_look then extract(epoch from jobforge.next_look(to_timestamp(v_now))) else v_noted[4] end];
        perform set_config('jobforge.turns', case when v_look and v_passed < 2000 then '' else array_to_string(v_noted, ' ') end, false);
    end if;
end
$function$
;
alter function jobforge.make_ready owner to jobforge_owner;
comment on function jobforge.make_ready is 'Jobs that are due, or at the head of their line now, become claimable.';

-- function jobforge.mark_heads
CREATE OR REPLACE FUNCTION jobforge.mark_heads(p_queue text, p_noted jsonb, p_chance double precision)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_now  timestamptz := clock_timestamp();
    v_turn text := jobforge.turn_lane();  -- into which jobs come back in any order
begin
    with head as materialized (
        select n.lane, n.tenant_id, n.priority, coalesce(n.kept,
               overlay(n.last::text placing lpad(to_hex((('x' || right(n.last::text, 12))::bit(48)::bigint + 1) & 281474976710655),
                                                 12, '0') from 25)::uuid) as job_id  -- the next one that there can be
          from jsonb_to_recordset(p_noted) n (lane text, tenant_id text, priority smallint, taken integer, kept uuid, last uuid)
         where n.taken > 0 and n.lane <> v_turn and (n.taken > 4 * random() or random() < p_chance)
    ), gone as (
        delete from jobforge.heads d where d.ctid = any (array(
            select o.ctid from head h cross join lateral (
                   select o.ctid from jobforge.heads o
                    where o.queue = p_queue and o.lane = h.lane and o.tenant_id = h.tenant_id and o.priority = h.priority
                    order by o.marked_at desc limit 1 for update skip locked) o))
    )
    insert into jobforge.heads (queue, lane, tenant_id, priority, job_id, marked_at)
    select p_queue, h.lane, h.tenant_id, h.priority, h.job_id, v_now from head h;
end
$function$
;
alter function jobforge.mark_heads owner to jobforge_owner;
comment on function jobforge.mark_heads is 'Note where the jobs of tenants begin.';

-- function jobforge.meet_jobs
CREATE OR REPLACE FUNCTION jobforge.meet_jobs(p_tenant_id text, p_states text[], p_type text, p_queue text, p_subject text, p_since timestamp with time zone, p_until timestamp with time zone, p_error text, p_limit integer, p_cursor uuid)
 RETURNS TABLE(met uuid[], next_cursor uuid)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
declare
    v_ended  boolean := p_states && array['dead', 'canceled'];
    -- an id is of the time of its enqueue, and in a call of many up to a microsecond later for each
    v_before uuid := least(p_cursor, jobforge.first_job_id(
        least(greatest(coalesce(p_until, 'infinity'), '1970-01-01 00:00+00'), '3000-01-01 00:00+00') + interval '1 minute'));
    v_after  uuid := jobforge.first_job_id(least(greatest(p_since, '1970-01-01 00:00+00'), '3000-01-01 00:00+00'));
    v_walk   uuid[];
    v_met    uuid[] := '{}';
    v_over   boolean;
begin
    for i in 1 .. 20 loop
        v_walk := jobforge.walk_jobs(p_tenant_id, p_subject, case when v_ended then p_states end, v_before, v_after, p_limit);
        v_before := v_walk[cardinality(v_walk)];
        v_over := cardinality(v_walk) < p_limit;
        with near as materialized (  -- narrow, and most have ended or none has: before their wide rows are read
            select w.id, w.place, o.state, o.run
              from unnest(v_walk) with ordinality as w (id, place)
              -- "limit 1": each by key, whatever the planner thinks of the tables
              left join lateral (select e.state, e.run from jobforge.outcomes e where e.job_id = w.id limit 1) o on true
             where case when v_ended then o.state = any (p_states) else o.state is null end
        )
        select v_met || array_agg(n.id order by n.place) into v_met
          from near n cross join lateral (select * from jobforge.jobs k where k.id = n.id limit 1) j
         where (p_type is null or j.type = p_type) and (p_queue is null or j.queue = p_queue)
           and (p_subject is null or j.subject = p_subject)
           and (p_since is null or j.created_at >= p_since) and (p_until is null or j.created_at < p_until)
           and (v_ended or case
                    when exists (select from jobforge.leases l where l.job_id = j.id)
                        then 'running' = any (p_states)
                             and not exists (select from jobforge.cancel_requests c where c.job_id = j.id)  -- it was told
                    when exists (select from jobforge.scheduled s where s.tenant_id = j.tenant_id and s.job_id = j.id)
                        then 'scheduled' = any (p_states)
                    else 'queued' = any (p_states) end)
           and (p_error is null or exists (
                    select from jobforge.attempts a
                     where a.job_id = n.id and a.run = n.run
                       and strpos(concat(a.error ->> 'type', ': ', a.error ->> 'message'), p_error) > 0));
        if cardinality(v_met) >= p_limit then
            v_met := v_met[:p_limit];
            v_before := v_met[p_limit];
            v_over := false;
        end if;
        exit when v_over or cardinality(v_met) = p_limit;
    end loop;
    return query select v_met, case when not v_over then v_before end;
end
$function$
;
alter function jobforge.meet_jobs owner to jobforge_owner;
comment on function jobforge.meet_jobs is 'Jobs that fit, newest first, in bounded steps.';

-- function jobforge.moment_text
CREATE OR REPLACE FUNCTION jobforge.moment_text(p_at timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
$function$
;
alter function jobforge.moment_text owner to jobforge_owner;
grant execute on function jobforge.moment_text to jobforge_admin;
grant execute on function jobforge.moment_text to jobforge_app;
comment on function jobforge.moment_text is 'A moment as people read it.';

-- function jobforge.new_job_id
CREATE OR REPLACE FUNCTION jobforge.new_job_id(p_at timestamp with time zone)
 RETURNS uuid
 LANGUAGE plpgsql
 PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_us bigint := (extract(epoch from p_at) * 1000000)::bigint;
begin
    return encode(overlay(uuid_send(gen_random_uuid())
        placing int8send((v_us / 1000) << 16 | 28672 | ((v_us % 1000) * 4096 / 1000))  -- 28672: the 7 of version 7
        from 1 for 8), 'hex')::uuid;
end
$function$
;
alter function jobforge.new_job_id owner to jobforge_owner;
comment on function jobforge.new_job_id is 'A UUIDv7 for a moment.';

-- function jobforge.new_token
CREATE OR REPLACE FUNCTION jobforge.new_token(p_tenant_id text, p_expires timestamp with time zone)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_key     jobforge.tenant_keys;
    v_expires text := ceil(extract(epoch from p_expires))::bigint;
begin
    select * into v_key from jobforge.tenant_keys k where k.retired_at is null order by k.created_at desc, k.key_id limit 1;
    return v_key.key_id || '.' || v_expires || '.'
        || jobforge.token_mac(v_key, v_key.key_id || '.' || v_expires || '.' || p_tenant_id) || '.' || p_tenant_id;
end
$function$
;
alter function jobforge.new_token owner to jobforge_owner;
comment on function jobforge.new_token is 'A token for a tenant, signed with the newest key.';

-- function jobforge.next_look
CREATE OR REPLACE FUNCTION jobforge.next_look(p_began timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$ select p_began + greatest(interval '1 second', 20 * (clock_timestamp() - p_began)) $function$
;
alter function jobforge.next_look owner to jobforge_owner;
comment on function jobforge.next_look is 'When a session looks from the beginning again.';

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

-- function jobforge.parse_results
CREATE OR REPLACE FUNCTION jobforge.parse_results(p_results json)
 RETURNS TABLE(item integer, job_id uuid, token uuid, outcome text, result json, error json, delay interval, run_ms integer, final boolean, fault text)
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    c_number constant text := '^[0-9]{1,9}([.][0-9]{1,9})?$';
    v_items  json := p_results;
    v_faults text[];
    -- json passes an escape on that jsonb will not take; chr(92), because a literal backslash would be read by the caller's
    -- standard_conforming_strings
    v_alone  boolean := strpos(p_results::text, chr(92) || 'u') > 0;
begin
    loop
        if v_alone then
            select json_agg(case when f.fault is null then f.body else '{}' end order by f.item), array_agg(f.fault order by f.item)
              into v_items, v_faults
              from (select e.body, e.item, jobforge.result_fault(e.body) as fault
                      from json_array_elements(p_results) with ordinality as e (body, item)) f;
        end if;
        begin
            return query  -- json_to_recordset has read all of them before the first is judged, and judging never raises
                select j.item::integer, j.job_id, case when j.fault is null then j.lease_token end, j.outcome, j.result, j.error,
                       case when j.fault is null then j.delay::float8 * interval '1 second' end,
                       j.run_ms, coalesce(j.final = 'true', false), j.fault
                  from (select e.*,
                               case when v_faults[e.item] is not null then v_faults[e.item]
                                    when e.job_id is null then 'job_id is not a uuid'
                                    when e.lease_token is null then 'lease_token is not a uuid'
                                    when e.outcome is null then 'unknown outcome'
                                    when e.outcome not in
                                         ('succeeded', 'failed', 'timed_out', 'snoozed', 'released', 'canceled') then 'unknown outcome'
                                    when e.delay !~ c_number
                                         then 'delay is not a number of seconds between 0 and 999999999'
                                    when e.run_ms not between 0 and 999999999
                                         then 'run_ms is not a number of milliseconds between 0 and 999999999'
                                    when octet_length(e.result::text) > 262144 then 'the result has more than 262144 bytes'
                                    when octet_length(e.error::text) > 65536 then 'the error has more than 65536 bytes'
                               end as fault
                          from rows from (json_to_recordset(v_items) as (
                                   job_id uuid, lease_token uuid, outcome text, result json, error json, delay text,
                                   run_ms integer, final text)) with ordinality
                               as e (job_id, lease_token, outcome, result, error, delay, run_ms, final, item)
                        offset 0) j;  -- or each use of the fault would be one more evaluation of it
            return;
        exception when data_exception then
            if v_alone then
                raise;
            end if;
            v_alone := true;
        end;
    end loop;
end
$function$
;
alter function jobforge.parse_results owner to jobforge_owner;
comment on function jobforge.parse_results is 'The items of complete_jobs, with the fault of each bad one.';

-- function jobforge.pause
CREATE OR REPLACE FUNCTION jobforge.pause(p_scope text, p_name text)
 RETURNS SETOF jobforge.limits
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    perform jobforge.check_scope(p_scope, p_name);
    return query
        insert into jobforge.limits (scope, name, paused_at, refilled_at) values (p_scope, p_name, jobforge.now(), jobforge.now())
        on conflict (scope, name) do update set paused_at = coalesce(limits.paused_at, excluded.paused_at)
        returning *;
end
$function$
;
alter function jobforge.pause owner to jobforge_owner;
comment on function jobforge.pause is 'Let claims give nothing of a tenant, a queue or a task.';

-- function jobforge.pause_queue
CREATE OR REPLACE FUNCTION jobforge.pause_queue(p_queue text)
 RETURNS TABLE(scope text, name text, paused_at timestamp with time zone, max_running integer, rate double precision, burst integer, weight integer, max_waiting integer)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.pause('queue', p_queue) l
$function$
;
alter function jobforge.pause_queue owner to jobforge_owner;
grant execute on function jobforge.pause_queue to jobforge_admin;
comment on function jobforge.pause_queue is 'Let claims pass a queue over.';

-- function jobforge.pause_task
CREATE OR REPLACE FUNCTION jobforge.pause_task(p_type text)
 RETURNS TABLE(scope text, name text, paused_at timestamp with time zone, max_running integer, rate double precision, burst integer, weight integer, max_waiting integer)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.pause('task', p_type) l
$function$
;
alter function jobforge.pause_task owner to jobforge_owner;
grant execute on function jobforge.pause_task to jobforge_admin;
comment on function jobforge.pause_task is 'Let claims pass a task over.';

-- function jobforge.pause_tenant
CREATE OR REPLACE FUNCTION jobforge.pause_tenant(p_tenant_id text)
 RETURNS TABLE(scope text, name text, paused_at timestamp with time zone, max_running integer, rate double precision, burst integer, weight integer, max_waiting integer)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.pause('tenant', p_tenant_id) l
$function$
;
alter function jobforge.pause_tenant owner to jobforge_owner;
grant execute on function jobforge.pause_tenant to jobforge_admin;
comment on function jobforge.pause_tenant is 'Let claims pass a tenant over.';

-- function jobforge.promote_due
CREATE OR REPLACE FUNCTION jobforge.promote_due(p_limit integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
declare
    -- not in the query: a volatile function is asked for each row, and no index searched. All that is due later was read
    -- for every claim, a second for 1,000,000 jobs
    v_now   timestamptz := jobforge.now();
    v_began timestamptz := clock_timestamp();
    v_read  bigint := pg_stat_get_xact_blocks_fetched('jobforge.scheduled'::regclass);
    v_until timestamptz := to_timestamp(nullif(current_setting('jobforge.due_look_at', true), '')::float8);  -- in any DateStyle
    v_after timestamptz := '-infinity';
    v_last  timestamptz;
    v_moved integer := 0;
begin
    if v_began < v_until then
        v_after := least(to_timestamp(current_setting('jobforge.due_after')::float8), v_now);
    end if;
    -- a probe first: to begin the statement costs five times as much, and most often nothing is due
    if exists (select from jobforge.scheduled s where s.run_at >= v_after and s.run_at <= v_now) then
        with due as materialized (
            select s.ctid, s.run_at from jobforge.scheduled s where s.run_at >= v_after and s.run_at <= v_now
             order by s.run_at, s.job_id limit p_limit for update skip locked
        ), gone as (  -- by place: the rows are locked, and nothing ever updates them
            delete from jobforge.scheduled s where s.ctid = any (array(select due.ctid from due)) returning s.*
        ), moved as (
            insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
            select queue, tenant_id, priority, job_id, type, run, attempt, crashes,
                   case when crashes < 2 then (select jobforge.lane_back()) end from gone
            returning queue
        ), woken as (
            select count(jobforge.wake(q.queue)) from (select distinct queue from moved) q
        )
        select (select count(*) from moved), (select max(due.run_at) from due) into v_moved, v_last from woken;
    end if;
    v_read := pg_stat_get_xact_blocks_fetched('jobforge.scheduled'::regclass) - v_read;
    if v_after > '-infinity' or v_read > 100 + 5 * v_moved then
        perform set_config('jobforge.due_after', extract(epoch from case when v_moved < p_limit then v_now else v_last end)::text, false);
        if v_after = '-infinity' then
            perform set_config('jobforge.due_look_at', extract(epoch from jobforge.next_look(v_began))::text, false);
        end if;
    end if;
    return v_moved;
end
$function$
;
alter function jobforge.promote_due owner to jobforge_owner;
comment on function jobforge.promote_due is 'Scheduled jobs that are due become queued.';

-- function jobforge.prune
CREATE OR REPLACE FUNCTION jobforge.prune(p_limit integer DEFAULT 1000, p_anew boolean DEFAULT false)
 RETURNS TABLE(kind text, pruned integer, more boolean)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_counting boolean;
begin
    perform jobforge.check_limit(p_limit);
    v_counting := jobforge.count_newest('newest_succeeded', array['succeeded'], p_limit, coalesce(p_anew, false));
    v_counting := jobforge.count_newest('newest_failed', array['dead', 'canceled'], p_limit, coalesce(p_anew, false))
                  or v_counting;
    return query select 'jobs', p.pruned, p.more or v_counting from jobforge.prune_jobs(p_limit, coalesce(p_anew, false)) p;
    return query select 'results', p.pruned, p.more from jobforge.prune_results(p_limit, coalesce(p_anew, false)) p;
    return query select 'idempotency_keys', p.pruned, p.more from jobforge.prune_keys(p_limit, coalesce(p_anew, false)) p;
end
$function$
;
alter function jobforge.prune owner to jobforge_owner;
grant execute on function jobforge.prune to jobforge_admin;
grant execute on function jobforge.prune to jobforge_worker;
comment on function jobforge.prune is 'Delete what was kept for long enough, in bounded steps.';

-- function jobforge.prune_jobs
CREATE OR REPLACE FUNCTION jobforge.prune_jobs(p_limit integer, p_anew boolean)
 RETURNS TABLE(pruned integer, more boolean)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET max_parallel_workers_per_gather TO '0'
 SET jit TO 'off'
AS $function$
declare
    v_now    timestamptz := jobforge.now();
    v_walk   record;
    v_due    uuid[];
    v_gone   uuid[];
    v_more   boolean;
    c_look   constant integer := 5 * p_limit;  -- so many are looked at, for some are kept for longer than others
begin
    select * into v_walk from jobforge.begin_walk('jobs', array['succeeded', 'dead', 'canceled'], p_anew);
    if not found then
        return query select 0, p_anew;  -- perhaps somebody else walks: ask once more
        return;
    end if;
    v_walk.before := greatest(v_walk.before, (select n.beyond from jobforge.newest n where n.beyond is not null
                                               order by n.beyond desc limit 1));
    v_due := array(
        select m.job_id from (
            select o.job_id,
                   o.finished_at < v_now - case when own.kind is null then every.keep else own.keep end
                       or o.job_id < n.beyond as due
              from jobforge.outcomes o
              left join jobforge.jobs j on j.id = o.job_id  -- left: what is walked over is the outer side of each loop
              left join jobforge.retention own on own.kind = o.state and own.type = j.type
              left join jobforge.retention every on every.kind = o.state and every.type = ''
              left join jobforge.newest n on n.state = o.state and n.type = j.type
             where o.job_id > v_walk.behind and o.job_id < v_walk.before
             order by o.job_id limit c_look) m
         where m.due limit p_limit);  -- no further than to the last of them
    v_more := jobforge.end_walk('jobs', case when cardinality(v_due) >= p_limit then v_due[p_limit] else (
        select o.job_id from jobforge.outcomes o where o.job_id > v_walk.behind and o.job_id < v_walk.before
         order by o.job_id offset c_look - 1 limit 1) end);

    -- what was retried and ended again meanwhile has ended after v_now
    v_gone := array(select o.job_id from jobforge.outcomes o
                     where o.job_id = any (v_due) and o.finished_at < v_now for update skip locked);
    with theirs as (
        select k.tenant_id, k.type, k.key, k.job_id
          from jobforge.jobs j join jobforge.unique_keys k
               on k.tenant_id = j.tenant_id and k.type = j.type and k.key = j.unique_key and k.job_id = j.id
         where j.id = any (v_gone)
    ), free as (
        select k.tenant_id, k.type, k.key, k.job_id
          from theirs t join jobforge.unique_keys k on k.tenant_id = t.tenant_id and k.type = t.type and k.key = t.key
         where k.job_id = t.job_id for update of k skip locked
    ), gone as (
        delete from jobforge.unique_keys k using free f
         where k.tenant_id = f.tenant_id and k.type = f.type and k.key = f.key
    )
    select array(select g from unnest(v_gone) g
                  where g not in (select t.job_id from theirs t) or g in (select f.job_id from free f)) into v_gone;
    perform jobforge.forget_jobs(v_gone);
    delete from jobforge.cancel_requests d where d.ctid = any (array(  -- one that is held: settle_cancels finds it
        select c.ctid from jobforge.cancel_requests c where c.job_id = any (v_gone) for update skip locked));
    delete from jobforge.outcomes o where o.job_id = any (v_gone);
    delete from jobforge.jobs j where j.id = any (v_gone);
    return query select cardinality(v_gone), v_more;
end
$function$
;
alter function jobforge.prune_jobs owner to jobforge_owner;
comment on function jobforge.prune_jobs is 'Delete ended jobs that were kept for long enough.';

-- function jobforge.prune_keys
CREATE OR REPLACE FUNCTION jobforge.prune_keys(p_limit integer, p_anew boolean)
 RETURNS TABLE(pruned integer, more boolean)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET max_parallel_workers_per_gather TO '0'
 SET jit TO 'off'
AS $function$
declare
    v_now    timestamptz := jobforge.now();
    v_walk   record;
    v_due    uuid[];
    v_more   boolean;
    v_pruned integer;
    c_look   constant integer := 5 * p_limit;
begin
    select * into v_walk from jobforge.begin_walk('idempotency_keys', array['idempotency_key'], p_anew);
    if not found then
        return query select 0, p_anew;  -- perhaps somebody else walks: ask once more
        return;
    end if;
    v_due := array(
        select m.job_id from (
            select k.job_id,
                   k.created_at < v_now - case when own.kind is null then every.keep else own.keep end
                       and (o.job_id is not null or not exists (select from jobforge.jobs j where j.id = k.job_id)) as due
              from jobforge.idempotency_keys k
              left join jobforge.outcomes o on o.job_id = k.job_id
              left join jobforge.retention own on own.kind = 'idempotency_key' and own.type = k.type
              left join jobforge.retention every on every.kind = 'idempotency_key' and every.type = ''
             where k.job_id > v_walk.behind and k.job_id < v_walk.before
             order by k.job_id limit c_look) m
         where m.due limit p_limit);  -- no further than to the last of them
    v_more := jobforge.end_walk('idempotency_keys', case when cardinality(v_due) >= p_limit then v_due[p_limit] else (
        select k.job_id from jobforge.idempotency_keys k where k.job_id > v_walk.behind and k.job_id < v_walk.before
         order by k.job_id offset c_look - 1 limit 1) end);
    delete from jobforge.idempotency_keys d where d.ctid = any (array(
        select k.ctid from jobforge.idempotency_keys k where k.job_id = any (v_due) for update skip locked));
    get diagnostics v_pruned = row_count;
    return query select v_pruned, v_more;
end
$function$
;
alter function jobforge.prune_keys owner to jobforge_owner;
comment on function jobforge.prune_keys is 'Delete idempotency keys that were kept for long enough.';

-- function jobforge.prune_results
CREATE OR REPLACE FUNCTION jobforge.prune_results(p_limit integer, p_anew boolean)
 RETURNS TABLE(pruned integer, more boolean)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET max_parallel_workers_per_gather TO '0'
 SET jit TO 'off'
AS $function$
declare
    v_now    timestamptz := jobforge.now();
    v_walk   record;
    v_due    uuid[];
    v_more   boolean;
    v_pruned integer;
    c_look   constant integer := 5 * p_limit;
begin
    select * into v_walk from jobforge.begin_walk('results', array['result'], p_anew);
    if not found then
        return query select 0, p_anew;  -- perhaps somebody else walks: ask once more
        return;
    end if;
    v_due := array(
        select m.job_id from (
            select r.job_id,
                   o.finished_at < v_now - case when own.kind is null then every.keep else own.keep end as due
              from jobforge.results r
              -- left: what is walked over is the outer side; now and then 20,000 outcomes were read for no result at all
              left join jobforge.outcomes o on o.job_id = r.job_id
              left join jobforge.jobs j on j.id = r.job_id
              left join jobforge.retention own on own.kind = 'result' and own.type = j.type
              left join jobforge.retention every on every.kind = 'result' and every.type = ''
             where r.job_id > v_walk.behind and r.job_id < v_walk.before
             order by r.job_id limit c_look) m
         where m.due limit p_limit);  -- no further than to the last of them
    v_more := jobforge.end_walk('results', case when cardinality(v_due) >= p_limit then v_due[p_limit] else (
        select r.job_id from jobforge.results r where r.job_id > v_walk.behind and r.job_id < v_walk.before
         order by r.job_id offset c_look - 1 limit 1) end);
    delete from jobforge.results d where d.ctid = any (array(
        -- its job's outcome too: prune_jobs passes over that, for it would have to wait for the result
        select r.ctid from jobforge.results r join jobforge.outcomes o on o.job_id = r.job_id
         where r.job_id = any (v_due) and o.job_id = any (v_due) for update skip locked));
    get diagnostics v_pruned = row_count;
    return query select v_pruned, v_more;
end
$function$
;
alter function jobforge.prune_results owner to jobforge_owner;
comment on function jobforge.prune_results is 'Delete results that were kept for long enough.';

-- function jobforge.purge_rest
CREATE OR REPLACE FUNCTION jobforge.purge_rest(p_tenant_id text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    -- those of jobs that were pruned; one that came this moment has its job beside it, and keeps its key
    delete from jobforge.idempotency_keys k
     where k.tenant_id = p_tenant_id and not exists (select from jobforge.jobs j where j.id = k.job_id);
    delete from jobforge.unique_keys k
     where k.tenant_id = p_tenant_id and not exists (select from jobforge.jobs j where j.id = k.job_id);
    delete from jobforge.lines l
     where l.tenant_id = p_tenant_id and not exists (select from jobforge.jobs j where j.id = l.job_id);
    delete from jobforge.turns t where t.tenant_id = p_tenant_id;
    delete from jobforge.heads h where h.tenant_id = p_tenant_id;
    delete from jobforge.limits l where l.scope = 'tenant' and l.name = p_tenant_id;
    delete from jobforge.connectors c where c.tenant_id = p_tenant_id;
    delete from jobforge.connector_secrets s where s.tenant_id = p_tenant_id;
    delete from jobforge.webhook_endpoints e where e.tenant_id = p_tenant_id;  -- who logs a delivery has a job's lease
end
$function$
;
alter function jobforge.purge_rest owner to jobforge_owner;
comment on function jobforge.purge_rest is 'Delete what is kept of a tenant beside its jobs.';

-- function jobforge.purge_tenant
CREATE OR REPLACE FUNCTION jobforge.purge_tenant(p_tenant_id text, p_limit integer DEFAULT 1000)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '2s'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_jobs uuid[];
    v_gone uuid[];
begin
    perform jobforge.check_tenant(p_tenant_id);
    perform jobforge.check_limit(p_limit);
    v_jobs := array(select j.id from jobforge.jobs j where j.tenant_id = p_tenant_id order by j.id limit p_limit);
    if v_jobs = '{}' then
        perform jobforge.purge_rest(p_tenant_id);
        return 0;
    end if;

    -- a unique key first, then its job's place: as an enqueue does that replaces a payload
    perform from jobforge.jobs j join jobforge.unique_keys k
                 on k.tenant_id = p_tenant_id and k.type = j.type and k.key = j.unique_key and k.job_id = j.id
      where j.id = any (v_jobs) order by k.type, k.key for update of k;
    with batch as materialized (
        select u.id from unnest(v_jobs) as u (id)
    ), scheduled as (
        delete from jobforge.scheduled s using batch b where s.tenant_id = p_tenant_id and s.job_id = b.id
    ), ready as (
        delete from jobforge.ready r using batch b where r.tenant_id = p_tenant_id and r.job_id = b.id
    ), held as materialized (  -- the order in which completions lock them
        select l.job_id from jobforge.leases l where l.job_id = any (v_jobs) order by l.job_id for update
    ), leases as (
        delete from jobforge.leases l using held h where l.job_id = h.job_id
    )
    delete from jobforge.outcomes o where o.job_id = any (v_jobs);

    v_gone := array(
        select u.id from unnest(v_jobs) as u (id)
         where not exists (select from jobforge.scheduled s where s.tenant_id = p_tenant_id and s.job_id = u.id)
           and not exists (select from jobforge.ready r where r.tenant_id = p_tenant_id and r.job_id = u.id)
           and not exists (select from jobforge.leases l where l.job_id = u.id)
           and not exists (select from jobforge.outcomes o where o.job_id = u.id));
    perform jobforge.leave_line(v_gone);
    perform jobforge.forget_jobs(v_gone);
    delete from jobforge.cancel_requests c where c.job_id = any (v_gone);
    delete from jobforge.idempotency_keys k using jobforge.jobs j
     where j.id = any (v_gone) and k.tenant_id = p_tenant_id and k.type = j.type and k.key = j.idempotency_key;
    delete from jobforge.unique_keys k using jobforge.jobs j
     where j.id = any (v_gone) and k.tenant_id = p_tenant_id and k.type = j.type and k.key = j.unique_key
       and k.job_id = j.id;
    delete from jobforge.waits w where w.job_id = any (v_gone);
    delete from jobforge.jobs j where j.id = any (v_gone);
    return cardinality(v_jobs);
end
$function$
;
alter function jobforge.purge_tenant owner to jobforge_owner;
grant execute on function jobforge.purge_tenant to jobforge_admin;
comment on function jobforge.purge_tenant is 'Delete jobs of a tenant and all that belongs to them.';

-- function jobforge.put_aside
CREATE OR REPLACE FUNCTION jobforge.put_aside(p_queue text, p_lanes text[], p_tenants text[], p_types text[], p_limit integer, p_names text[], p_where text[], p_priorities smallint[], p_jobs uuid[], p_mark boolean, p_lane text DEFAULT NULL::text)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_moved integer;
    v_noted jsonb;
begin
    with visit as materialized (
        select t.tenant_id, l.lane, (-32768)::smallint as priority, '00000000-0000-0000-0000-000000000000'::uuid as job_id,
               32767::smallint as upto
          from unnest(p_tenants) t (tenant_id) cross join unnest(p_lanes) l (lane) where p_names is null
        union all
        select n.tenant_id, n.lane, n.priority, n.job_id, n.priority
          from unnest(p_names, p_where, p_priorities, p_jobs) n (tenant_id, lane, priority, job_id)
         where n.tenant_id = any (p_tenants)
    ), met as materialized (
        select m.*, t.lane from visit t
         cross join lateral (
               select r.ctid, r.tenant_id, r.priority, r.job_id, r.type from jobforge.ready r
                where r.queue = p_queue and r.lane = t.lane and r.tenant_id = t.tenant_id
                  and (r.priority, r.job_id) >= (t.priority, t.job_id) and r.priority <= t.upto
                order by r.priority, r.job_id
                limit greatest(p_limit / cardinality(p_tenants), 10)) m
    ), strange as materialized (
        select m.ctid, coalesce(p_lane, m.type) as aside, null as ordering_key
          from met m where p_lane is not null or m.type <> all (p_types)
        union all
        select m.ctid, '!ordered', j.ordering_key from met m join jobforge.jobs j on j.id = m.job_id
         where p_lane is null and m.type = any (p_types) and j.ordering_key is not null
           and jobforge.waits_in_line(m.tenant_id, j.ordering_key, m.job_id)
    ), free as materialized (
        select r.ctid, s.aside, s.ordering_key from strange s join jobforge.ready r on r.ctid = s.ctid
           for update of r skip locked
    ), gone as (
        delete from jobforge.ready r using free f where r.ctid = f.ctid returning r.*, f.aside as into_lane, f.ordering_key
    ), moved as (
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
        select g.queue, g.tenant_id, g.priority, g.job_id, g.type, g.run, g.attempt, g.crashes, g.into_lane from gone g
        returning 1
    ), turned as (
        insert into jobforge.turns (tenant_id, ordering_key)
        select distinct g.tenant_id, g.ordering_key from gone g where g.ordering_key is not null
    )
    select (select count(*) from moved), case when p_mark then (
           select jsonb_agg(n) from (
               select m.tenant_id, m.lane, m.priority, count(*) filter (where m.gone) as taken,
                      (array_agg(m.job_id order by m.job_id) filter (where not m.gone))[1] as kept,
                      (array_agg(m.job_id order by m.job_id desc) filter (where m.gone))[1] as last
                 from (select m.*, m.job_id in (select g.job_id from gone g) as gone from met m) m
                group by m.tenant_id, m.lane, m.priority) n) end
      into v_moved, v_noted;
    if p_mark then
        perform jobforge.mark_heads(p_queue, v_noted, 1);
    end if;
    return v_moved;
end
$function$
;
alter function jobforge.put_aside owner to jobforge_owner;
comment on function jobforge.put_aside is 'Take what a worker may not run out of the way of its claims.';

-- function jobforge.renew_place
CREATE OR REPLACE FUNCTION jobforge.renew_place(p_job jobforge.jobs, p_notify boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_gone jobforge.scheduled := jobforge.leave_place(p_job);
begin
    if v_gone.run_at is not null then
        insert into jobforge.scheduled select v_gone.*;
        return;
    end if;
    insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
    values (v_gone.queue, v_gone.tenant_id, v_gone.priority, v_gone.job_id, v_gone.type, v_gone.run, v_gone.attempt,
            v_gone.crashes);
    if p_notify then
        perform jobforge.wake(v_gone.queue);
    end if;
end
$function$
;
alter function jobforge.renew_place owner to jobforge_owner;
comment on function jobforge.renew_place is 'Put a waiting job into its place once more.';

-- function jobforge.replay_job
CREATE OR REPLACE FUNCTION jobforge.replay_job(p_job_id uuid, p_if_gone json DEFAULT NULL::json, p_notify boolean DEFAULT true)
 RETURNS SETOF jobforge.all_jobs
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant text := jobforge.require_tenant(null);
    v_now    timestamptz := jobforge.now();
    v_id     uuid := jobforge.new_job_id(v_now);
    v_cause  text := 'replay';
    v_job    jobforge.jobs;
begin
    select * into v_job from jobforge.jobs j where j.tenant_id = v_tenant and j.id = p_job_id;
    if not found then
        if p_if_gone is null or p_job_id is null then
            return;
        end if;
        if json_typeof(p_if_gone) <> 'object' then
            raise exception 'jobforge: p_if_gone must be a JSON object'
                using errcode = 'JF003', hint = 'Pass {"type": "...", "payload": {...}}; nothing was enqueued.';
        end if;
        if pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user), 'jobforge_admin', 'member')
           and exists (select from jobforge.jobs j where j.id = p_job_id) then
            v_cause := 'copy';
        end if;
        begin
            v_job := json_populate_record(null::jobforge.jobs, p_if_gone);
        exception when data_exception then
            raise exception 'jobforge: p_if_gone cannot be a job: %', sqlerrm
                using errcode = 'JF003', hint = 'Give each value the type that enqueue_jobs wants; nothing was enqueued.';
        end;
        v_job.payload := coalesce(v_job.payload, '{}');
        v_job.queue := coalesce(v_job.queue, 'default');
        v_job.priority := coalesce(v_job.priority, 0);
        v_job.max_attempts := coalesce(v_job.max_attempts, 5);
        perform jobforge.check_job(null, v_job.type, v_job.payload, v_job.queue, v_job.priority, null, null, null,
                                   v_job.max_attempts, v_job.retry, v_job.timeout, v_job.trace, v_job.subject,
                                   p_ordering_key => v_job.ordering_key);
    end if;
    insert into jobforge.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, timeout, retry,
                               ordering_key, subject, parent_id, cause, trace, created_at)
    values (v_id, v_tenant, v_job.queue, v_job.type, v_job.priority, v_job.payload, v_now, v_job.max_attempts,
            v_job.timeout, v_job.retry, v_job.ordering_key, v_job.subject, p_job_id, v_cause, v_job.trace, v_now);
    if v_job.ordering_key is not null then
        insert into jobforge.lines (tenant_id, ordering_key, job_id) values (v_tenant, v_job.ordering_key, v_id);
    end if;
    insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
    values (v_job.queue, v_tenant, v_job.priority, v_id, v_job.type, 0, 0, 0);
    if exists (select from jobforge.limits l where l.scope = 'tenant' and l.name = v_tenant and l.max_waiting is not null) then
        perform jobforge.check_quota(v_tenant);
    end if;
    if p_notify is not false then
        perform jobforge.wake(v_job.queue);
    end if;
    return query select * from jobforge.all_jobs a where a.tenant_id = v_tenant and a.id = v_id;
end
$function$
;
alter function jobforge.replay_job owner to jobforge_owner;
grant execute on function jobforge.replay_job to jobforge_admin;
grant execute on function jobforge.replay_job to jobforge_app;
comment on function jobforge.replay_job is 'A new job like one of this tenant: its child, with the cause replay.';

-- function jobforge.report_job_analytics
CREATE OR REPLACE FUNCTION jobforge.report_job_analytics(p_from timestamp with time zone, p_until timestamp with time zone, p_limit integer DEFAULT 500000)
 RETURNS TABLE(type text, enqueued bigint, succeeded bigint, dead bigint, canceled bigint, unfinished bigint, attempts bigint, retries bigint, lost bigint, success_rate double precision, run_p50 double precision, run_p95 double precision, run_p99 double precision, wait_p50 double precision, wait_p95 double precision, wait_p99 double precision, errors json, kinds bigint, back_to timestamp with time zone)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_limit  integer := coalesce(p_limit, 500000);
begin
    return query
        with seen as materialized (
            select * from jobforge.report_jobs(p_from, p_until, v_limit)
        ), jobs as materialized (  -- a type may be any text: only so many are told apart, whoever makes a million
            select s.type, count(*) as enqueued, count(*) filter (where s.state = 'succeeded') as succeeded,
                   count(*) filter (where s.state = 'dead') as dead,
                   count(*) filter (where s.state = 'canceled') as canceled,
                   count(*) filter (where s.state is null) as unfinished, count(distinct s.type) as kinds,
                   min(s.created_at) as first
              from seen s group by grouping sets ((s.type), ())
             order by s.type is not null, count(*) desc, s.type limit 101
        ), told as materialized (
            select case when s.type = any (array(select j.type from jobs j)) then s.type end as type,
                   a.outcome in ('succeeded', 'failed', 'timed_out') as charged, a.attempt, a.outcome,
                   left(a.error ->> 'type', 100) as error,
                   case when a.outcome in ('succeeded', 'failed', 'timed_out')
                        then coalesce(a.run_ms / 1000.0, extract(epoch from a.finished_at - a.claimed_at)) end as ran,
                   -- of the first run: when a later one was due is not kept
                   case when a.run = 1 then greatest(extract(epoch from a.claimed_at - s.run_at), 0) end as waited
              from seen s cross join lateral (  -- offset: jobs are the outer side, and not the attempts of all tenants
                   select * from jobforge.all_attempts t
                    where t.job_id = s.job_id and t.tenant_id = v_tenant offset 0) a
        ), runs as materialized (
            select t.type, grouping(t.type) as whole, count(*) filter (where t.charged) as attempts,
                   count(*) filter (where t.charged and t.attempt > 1) as retries,
                   count(*) filter (where t.outcome = 'lost') as lost,
                   percentile_cont(array[0.5, 0.95, 0.99]) within group (order by t.ran) as ran,
                   percentile_cont(array[0.5, 0.95, 0.99]) within group (order by t.waited) as waited
              from told t group by grouping sets ((t.type), ())
        ), worst as materialized (
            select * from (
                select t.type, grouping(t.type) as whole, t.error, count(*) as count, row_number() over (
                       partition by grouping(t.type), t.type order by count(*) desc, t.error collate "C") as place
                  from told t where t.error is not null group by grouping sets ((t.type, t.error), (t.error))) f
             where f.place <= 5
        )
        select j.type, j.enqueued, j.succeeded, j.dead, j.canceled, j.unfinished, coalesce(r.attempts, 0),
               coalesce(r.retries, 0), coalesce(r.lost, 0),
               j.succeeded::double precision / nullif(j.succeeded + j.dead, 0),
               r.ran[1], r.ran[2], r.ran[3], r.waited[1], r.waited[2], r.waited[3],
               (select coalesce(json_agg(json_build_object('type', w.error, 'count', w.count) order by w.place), '[]')
                  from worst w where w.whole = (j.type is null)::integer and w.type is not distinct from j.type),
               j.kinds, case when j.type is null and j.enqueued >= v_limit then j.first end
          from jobs j left join runs r on r.whole = (j.type is null)::integer and r.type is not distinct from j.type
         order by j.type is not null, j.enqueued desc, j.type;
end
$function$
;
alter function jobforge.report_job_analytics owner to jobforge_owner;
grant execute on function jobforge.report_job_analytics to jobforge_admin;
grant execute on function jobforge.report_job_analytics to jobforge_app;
comment on function jobforge.report_job_analytics is 'How a tenant''s jobs of a period went, by type.';

-- function jobforge.report_jobs
CREATE OR REPLACE FUNCTION jobforge.report_jobs(p_from timestamp with time zone, p_until timestamp with time zone, p_limit integer)
 RETURNS TABLE(job_id uuid, queue text, type text, run_at timestamp with time zone, created_at timestamp with time zone, state text, payload_bytes integer)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_tenant text := jobforge.current_tenant();
begin
    if v_tenant is null then
        raise exception 'jobforge: a report is of one tenant, and this transaction has none'
            using errcode = 'JF001',
                  hint = 'Set one in this transaction; an administrator: select jobforge.act_for(''<tenant>'').';
    end if;
    if p_from is null or p_until is null or not isfinite(p_from) or not isfinite(p_until) or p_from >= p_until
       or p_until - p_from > interval '366 days' then
        raise exception 'jobforge: a report is of a period of at most 366 days, from before until'
            using errcode = 'JF003', hint = 'Pass two times; ask for longer periods piece by piece.';
    end if;
    if p_limit is null or p_limit not between 1 and 10000000 then
        raise exception 'jobforge: p_limit must be between 1 and 10000000'
            using errcode = 'JF003', hint = 'Leave it out to look at the newest 500,000 jobs of the period.';
    end if;
    return query
        select j.id, j.queue, j.type, j.run_at, j.created_at, o.state, pg_column_size(j.payload)
          from jobforge.jobs j
          left join jobforge.outcomes o on o.job_id = j.id and o.tenant_id = v_tenant
         where j.tenant_id = v_tenant
           and j.id >= jobforge.first_job_id(p_from) and j.id < jobforge.first_job_id(p_until + interval '1 second')
           and j.created_at >= p_from and j.created_at < p_until
         order by j.id desc limit p_limit;
end
$function$
;
alter function jobforge.report_jobs owner to jobforge_owner;
grant execute on function jobforge.report_jobs to jobforge_admin;
grant execute on function jobforge.report_jobs to jobforge_app;
comment on function jobforge.report_jobs is 'The jobs of a tenant that were enqueued in a period, with their final states.';

-- function jobforge.report_tenant_usage
CREATE OR REPLACE FUNCTION jobforge.report_tenant_usage(p_from timestamp with time zone, p_until timestamp with time zone, p_limit integer DEFAULT 500000)
 RETURNS TABLE(queue text, type text, enqueued bigint, attempts bigint, run_seconds double precision, payload_bytes bigint, result_bytes bigint, artifact_bytes bigint, kinds bigint, back_to timestamp with time zone, max_waiting integer, paused_at timestamp with time zone, max_artifact_bytes integer)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_limit  integer := coalesce(p_limit, 500000);
    v_said   record;
begin
    select t.max_waiting, t.paused_at into v_said from jobforge.limits t where t.tenant_id = v_tenant;
    return query
        with seen as materialized (
            select * from jobforge.report_jobs(p_from, p_until, v_limit)
        ), used as (
            select s.queue, s.type, s.created_at, s.payload_bytes, r.attempts, r.run_seconds,
                   coalesce((select pg_column_size(v.value) from jobforge.results v
                              where v.job_id = s.job_id and v.tenant_id = v_tenant), 0) as result_bytes,
                   coalesce((select sum(pg_column_size(f.body)) from jobforge.artifacts f
                              where f.job_id = s.job_id and f.tenant_id = v_tenant), 0) as artifact_bytes
              from seen s cross join lateral (
                   select count(*) filter (where a.outcome in ('succeeded', 'failed', 'timed_out')) as attempts,
                          coalesce(sum(case when a.run_ms is not null then a.run_ms / 1000.0
                              when a.outcome in ('succeeded', 'failed', 'timed_out')
                              then extract(epoch from a.finished_at - a.claimed_at) end), 0) as run_seconds
                     from jobforge.attempts a where a.job_id = s.job_id and a.tenant_id = v_tenant) r
        )
        select u.queue, u.type, count(*), coalesce(sum(u.attempts), 0)::bigint,
               coalesce(sum(u.run_seconds), 0)::double precision, coalesce(sum(u.payload_bytes), 0)::bigint,
               coalesce(sum(u.result_bytes), 0)::bigint, coalesce(sum(u.artifact_bytes), 0)::bigint,
               count(distinct (u.queue, u.type)),
               case when u.queue is null and count(*) >= v_limit then min(u.created_at) end,
               case when u.queue is null then v_said.max_waiting end, case when u.queue is null then v_said.paused_at end,
               case when u.queue is null then jobforge.artifact_limit() end
          from used u group by grouping sets ((u.queue, u.type), ())
         order by u.queue is not null, count(*) desc, u.queue, u.type limit 201;
end
$function$
;
alter function jobforge.report_tenant_usage owner to jobforge_owner;
grant execute on function jobforge.report_tenant_usage to jobforge_admin;
grant execute on function jobforge.report_tenant_usage to jobforge_app;
comment on function jobforge.report_tenant_usage is 'What a tenant''s jobs of a period take up, by queue and type.';

-- function jobforge.report_usage_summary
CREATE OR REPLACE FUNCTION jobforge.report_usage_summary(p_from timestamp with time zone, p_until timestamp with time zone, p_limit integer DEFAULT 500000)
 RETURNS TABLE(day date, enqueued bigint, succeeded bigint, dead bigint, canceled bigint, unfinished bigint, attempts bigint, run_seconds double precision, back_to timestamp with time zone)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET enable_hashagg TO 'on'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_limit  integer := coalesce(p_limit, 500000);
begin
    return query
        with seen as materialized (
            select s.job_id, (s.created_at at time zone 'UTC')::date as day, s.state, s.created_at
              from jobforge.report_jobs(p_from, p_until, v_limit) s
        ), ran as (
            select s.day, s.state, s.created_at, r.attempts, r.run_seconds
              from seen s cross join lateral (
                   select count(*) filter (where a.outcome in ('succeeded', 'failed', 'timed_out')) as attempts,
                          coalesce(sum(case when a.run_ms is not null then a.run_ms / 1000.0
                              when a.outcome in ('succeeded', 'failed', 'timed_out')
                              then extract(epoch from a.finished_at - a.claimed_at) end), 0) as run_seconds
                     from jobforge.attempts a where a.job_id = s.job_id and a.tenant_id = v_tenant) r
            union all  -- a row for each day, and for all of them
            select d::date, 'none', null, 0, 0
              from generate_series((p_from at time zone 'UTC')::date::timestamp,
                                   ((p_until - interval '1 microsecond') at time zone 'UTC')::date::timestamp, '1 day') d
        )
        select r.day, count(*) filter (where r.created_at is not null),
               count(*) filter (where r.state = 'succeeded'), count(*) filter (where r.state = 'dead'),
               count(*) filter (where r.state = 'canceled'), count(*) filter (where r.state is null),
               sum(r.attempts)::bigint, sum(r.run_seconds)::double precision,
               case when grouping(r.day) = 1 and (select count(*) from seen) >= v_limit then min(r.created_at) end
          from ran r group by grouping sets ((r.day), ()) order by r.day nulls first;
end
$function$
;
alter function jobforge.report_usage_summary owner to jobforge_owner;
grant execute on function jobforge.report_usage_summary to jobforge_admin;
grant execute on function jobforge.report_usage_summary to jobforge_app;
comment on function jobforge.report_usage_summary is 'What a tenant has used in a period, by day.';

-- function jobforge.require_read_committed
CREATE OR REPLACE FUNCTION jobforge.require_read_committed()
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'jobforge: this function runs at READ COMMITTED only'
            using errcode = 'JF005', hint = 'Use a connection of its own, or: set transaction isolation level read committed;';
    end if;
end
$function$
;
alter function jobforge.require_read_committed owner to jobforge_owner;
comment on function jobforge.require_read_committed is 'Raises JF005 above READ COMMITTED.';

-- function jobforge.require_tenant
CREATE OR REPLACE FUNCTION jobforge.require_tenant(p_tenant_id text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant text := jobforge.current_tenant();
begin
    if v_tenant is null then
        raise exception 'jobforge: this transaction has no tenant'
            using errcode = 'JF001',
                  hint = case when exists (select from jobforge.settings s where s.tenancy = 'plain')
                      then 'Set one in this transaction: select set_config(''jobforge.tenant_id'', ''<tenant>'', true);'
                      else 'Tenancy is signed. Set a token in this transaction: '
                           'select set_config(''jobforge.tenant_token'', ''<token>'', true);' end;
    end if;
    if p_tenant_id <> v_tenant then
        raise exception 'jobforge: the tenant of the call is not the tenant of this transaction'
            using errcode = 'JF002', hint = 'Leave p_tenant_id out, or set the transaction''s tenant to it.';
    end if;
    if length(v_tenant) > 200 then
        perform jobforge.check_tenant(v_tenant);
    end if;
    return v_tenant;
end
$function$
;
alter function jobforge.require_tenant owner to jobforge_owner;
comment on function jobforge.require_tenant is 'The tenant of this transaction; raises where there is none.';

-- function jobforge.reschedule_job
CREATE OR REPLACE FUNCTION jobforge.reschedule_job(p_job_id uuid, p_run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_delay interval DEFAULT NULL::interval, p_notify boolean DEFAULT true)
 RETURNS SETOF jobforge.all_jobs
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant text := jobforge.require_tenant(null);
    v_job    jobforge.jobs;
    v_gone   jobforge.scheduled;
begin
    select * into v_job from jobforge.jobs j where j.tenant_id = v_tenant and j.id = p_job_id;
    if not found then
        return;
    end if;
    perform jobforge.check_job(null, v_job.type, '{}', v_job.queue, null, p_run_at, p_delay, null, null, null, null, null,
                               null);
    for i in 1 .. 5 loop  -- who was waited for has moved it: it stands where this statement could not see it yet
        v_gone := jobforge.leave_place(v_job);
        exit when v_gone.run is not null;
    end loop;
    if v_gone.run is null then
        raise exception 'jobforge: the job is running or has ended, it cannot be moved'
            using errcode = 'JF008', hint = 'Cancel it if it is running; retry_job brings a dead or canceled one back.';
    end if;
    v_gone.run_at := coalesce(p_run_at, jobforge.now() + p_delay);
    perform jobforge.enter_places(array[v_gone], p_notify);
    return query select * from jobforge.all_jobs a where a.tenant_id = v_tenant and a.id = p_job_id;
end
$function$
;
alter function jobforge.reschedule_job owner to jobforge_owner;
grant execute on function jobforge.reschedule_job to jobforge_admin;
grant execute on function jobforge.reschedule_job to jobforge_app;
comment on function jobforge.reschedule_job is 'Move a waiting job of this tenant to another time.';

-- function jobforge.reschedule_jobs
CREATE OR REPLACE FUNCTION jobforge.reschedule_jobs(p_run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_delay interval DEFAULT NULL::interval, p_state text DEFAULT NULL::text, p_type text DEFAULT NULL::text, p_queue text DEFAULT NULL::text, p_since timestamp with time zone DEFAULT NULL::timestamp with time zone, p_until timestamp with time zone DEFAULT NULL::timestamp with time zone, p_subject text DEFAULT NULL::text, p_limit integer DEFAULT 1000, p_cursor uuid DEFAULT NULL::uuid, p_all_tenants boolean DEFAULT false, p_dry_run boolean DEFAULT false, p_notify boolean DEFAULT true)
 RETURNS TABLE(changed integer, skipped integer, next_cursor uuid)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant text := case when p_all_tenants is not true then jobforge.require_tenant(null) end;
    v_states text[] := jobforge.check_states(p_state, array['scheduled', 'queued']);
    v_met    uuid[];
    v_cursor uuid;
    v_moved  jobforge.scheduled[];
begin
    perform jobforge.check_bulk(p_all_tenants, p_limit);
    perform jobforge.check_job(null, 'type', '{}', null, null, p_run_at, p_delay, null, null, null, null, null, null);
    select m.met, m.next_cursor into v_met, v_cursor
      from jobforge.meet_jobs(v_tenant, v_states, p_type, p_queue, p_subject, p_since, p_until, null, p_limit, p_cursor) m;
    if p_dry_run then
        return query select cardinality(v_met), 0, v_cursor;
        return;
    end if;
    v_moved := array(
        select row(g.tenant_id, g.job_id, coalesce(p_run_at, jobforge.now() + p_delay), g.queue, g.priority, g.type, g.run,
                   g.attempt, g.crashes)::jobforge.scheduled
          from jobforge.leave_places(v_met) g);
    perform jobforge.enter_places(v_moved, p_notify);
    return query select cardinality(v_moved), cardinality(v_met) - cardinality(v_moved), v_cursor;
end
$function$
;
alter function jobforge.reschedule_jobs owner to jobforge_owner;
grant execute on function jobforge.reschedule_jobs to jobforge_admin;
grant execute on function jobforge.reschedule_jobs to jobforge_app;
comment on function jobforge.reschedule_jobs is 'Move the waiting jobs that fit to another time, batch by batch.';

-- function jobforge.rescue_expired_jobs
CREATE OR REPLACE FUNCTION jobforge.rescue_expired_jobs(p_limit integer DEFAULT 1000)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return coalesce(cardinality(jobforge.take_back(p_limit)), 0);
end
$function$
;
alter function jobforge.rescue_expired_jobs owner to jobforge_owner;
grant execute on function jobforge.rescue_expired_jobs to jobforge_admin;
grant execute on function jobforge.rescue_expired_jobs to jobforge_worker;
comment on function jobforge.rescue_expired_jobs is 'Take back the leases of dead workers and passed deadlines.';

-- function jobforge.result_fault
CREATE OR REPLACE FUNCTION jobforge.result_fault(p_item json)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if json_typeof(p_item) <> 'object' then
        return 'not an object';
    end if;
    -- chr(92): a literal backslash would be read by the caller's standard_conforming_strings
    if strpos(p_item::text, chr(92) || 'u') > 0 and not jobforge.is_storable(p_item) then
        return 'contains the character NUL or half of a surrogate pair';
    end if;
    begin
        perform (p_item ->> 'job_id')::uuid;
    exception when data_exception then
        return 'job_id is not a uuid';
    end;
    begin
        perform (p_item ->> 'lease_token')::uuid;
    exception when data_exception then
        return 'lease_token is not a uuid';
    end;
    begin
        perform (p_item ->> 'run_ms')::integer;
    exception when data_exception then
        return 'run_ms is not a whole number of milliseconds';
    end;
    return null;
end
$function$
;
alter function jobforge.result_fault owner to jobforge_owner;
comment on function jobforge.result_fault is 'Why an item of complete_jobs cannot be read.';

-- function jobforge.resume
CREATE OR REPLACE FUNCTION jobforge.resume(p_scope text, p_name text)
 RETURNS SETOF jobforge.limits
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    perform jobforge.check_scope(p_scope, p_name);
    return query
        update jobforge.limits l set paused_at = null where l.scope = p_scope and l.name = p_name returning l.*;
    perform jobforge.forget_limit(p_scope, p_name);
    perform jobforge.bring_back(p_name, 10000) where p_scope = 'tenant';  -- upkeep brings the others
    perform jobforge.wake_all();
end
$function$
;
alter function jobforge.resume owner to jobforge_owner;
comment on function jobforge.resume is 'Let jobs of a tenant, a queue or a task be claimed again.';

-- function jobforge.resume_queue
CREATE OR REPLACE FUNCTION jobforge.resume_queue(p_queue text)
 RETURNS TABLE(scope text, name text, paused_at timestamp with time zone, max_running integer, rate double precision, burst integer, weight integer, max_waiting integer)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.resume('queue', p_queue) l
$function$
;
alter function jobforge.resume_queue owner to jobforge_owner;
grant execute on function jobforge.resume_queue to jobforge_admin;
comment on function jobforge.resume_queue is 'Let the jobs of a paused queue be claimed again.';

-- function jobforge.resume_task
CREATE OR REPLACE FUNCTION jobforge.resume_task(p_type text)
 RETURNS TABLE(scope text, name text, paused_at timestamp with time zone, max_running integer, rate double precision, burst integer, weight integer, max_waiting integer)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.resume('task', p_type) l
$function$
;
alter function jobforge.resume_task owner to jobforge_owner;
grant execute on function jobforge.resume_task to jobforge_admin;
comment on function jobforge.resume_task is 'Let the jobs of a paused task be claimed again.';

-- function jobforge.resume_tenant
CREATE OR REPLACE FUNCTION jobforge.resume_tenant(p_tenant_id text)
 RETURNS TABLE(scope text, name text, paused_at timestamp with time zone, max_running integer, rate double precision, burst integer, weight integer, max_waiting integer)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.resume('tenant', p_tenant_id) l
$function$
;
alter function jobforge.resume_tenant owner to jobforge_owner;
grant execute on function jobforge.resume_tenant to jobforge_admin;
comment on function jobforge.resume_tenant is 'Let the jobs of a paused tenant be claimed again.';

-- function jobforge.retire_tenant_key
CREATE OR REPLACE FUNCTION jobforge.retire_tenant_key(p_key_id text, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    perform from jobforge.settings for update;  -- of two who retire the last two keys one waits
    update jobforge.tenant_keys k set retired_at = least(k.retired_at, coalesce(p_at, jobforge.now())) where k.key_id = p_key_id;
    if not found then
        raise exception 'jobforge: there is no key %', p_key_id using errcode = 'JF003', hint = 'See: jobforge tenancy.';
    end if;
    if not exists (select from jobforge.settings s where s.tenancy = 'plain')
       and not exists (select from jobforge.tenant_keys k where k.retired_at is null) then
        raise exception 'jobforge: this is the last key, and tenancy is signed'
            using errcode = 'JF008', hint = 'Add the next key first, and give it to the application.';
    end if;
end
$function$
;
alter function jobforge.retire_tenant_key owner to jobforge_owner;
comment on function jobforge.retire_tenant_key is 'Refuse the tokens of a key. For jobforge_owner.';

-- function jobforge.retry_delay
CREATE OR REPLACE FUNCTION jobforge.retry_delay(p_retry jsonb, p_attempt integer)
 RETURNS interval
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_attempt integer := greatest(p_attempt, 1);
    v_delays  jsonb := p_retry -> 'delays';
    v_seconds float8;
begin
    if v_delays is not null then  -- the last of the list holds for all later attempts
        v_seconds := round((v_delays ->> least(v_attempt, jsonb_array_length(v_delays)) - 1)::numeric, 6)::float8;
    else
        v_seconds := least(
            coalesce(round((p_retry ->> 'max')::numeric, 6)::float8, 3600),
            coalesce(round((p_retry ->> 'base')::numeric, 6)::float8, 1)
                * power(coalesce(round((p_retry ->> 'factor')::numeric, 6)::float8, 2), least(v_attempt - 1, 60)));
    end if;
    return make_interval(secs => v_seconds * (1 + coalesce(round((p_retry ->> 'jitter')::numeric, 6)::float8, 0) * random()));
end
$function$
;
alter function jobforge.retry_delay owner to jobforge_owner;
comment on function jobforge.retry_delay is 'The wait after a failed attempt.';

-- function jobforge.retry_job
CREATE OR REPLACE FUNCTION jobforge.retry_job(p_job_id uuid, p_notify boolean DEFAULT true)
 RETURNS SETOF jobforge.all_jobs
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant text := jobforge.require_tenant(null);
    v_job    jobforge.jobs;
    v_run    integer;
begin
    select * into v_job from jobforge.jobs j where j.tenant_id = v_tenant and j.id = p_job_id;
    if not found then
        return;
    end if;
    for i in 1 .. 5 loop  -- who was waited for has retried and canceled it: another outcome, which was not seen yet
        delete from jobforge.outcomes o
         where o.job_id = v_job.id and o.state in ('dead', 'canceled') returning o.run into v_run;
        exit when found;
    end loop;
    if v_run is null and not exists (select from jobforge.jobs j where j.id = v_job.id) then
        return;  -- who was waited for has pruned or purged it
    end if;
    if v_run is null then
        raise exception 'jobforge: only a dead or canceled job can be retried'
            using errcode = 'JF008', hint = 'Enqueue a new job to run it once more.';
    end if;
    if v_job.unique_key is not null then
        perform from jobforge.take_unique_key(v_tenant, v_job.type, v_job.unique_key, 'keep', v_job.payload, v_job.id,
                                              false);
        if found then
            raise exception 'jobforge: another job with its unique key waits or runs'
                using errcode = 'JF008', hint = 'Wait until that has ended, or cancel it.';
        end if;
    end if;
    delete from jobforge.cancel_requests c where c.job_id = v_job.id;  -- one that came too late for an earlier run
    perform jobforge.enter_lines(array[v_job.id]);
    perform jobforge.enter_places(
        array[row(v_tenant, v_job.id, null, v_job.queue, v_job.priority, v_job.type, v_run, 0, 0)::jobforge.scheduled],
        p_notify);
    if exists (select from jobforge.limits l where l.scope = 'tenant' and l.name = v_tenant and l.max_waiting is not null) then
        perform jobforge.check_quota(v_tenant);
    end if;
    return query select * from jobforge.all_jobs a where a.tenant_id = v_tenant and a.id = p_job_id;
end
$function$
;
alter function jobforge.retry_job owner to jobforge_owner;
grant execute on function jobforge.retry_job to jobforge_admin;
grant execute on function jobforge.retry_job to jobforge_app;
comment on function jobforge.retry_job is 'Bring a dead or canceled job of this tenant back, with all its attempts.';

-- function jobforge.retry_jobs
CREATE OR REPLACE FUNCTION jobforge.retry_jobs(p_state text DEFAULT NULL::text, p_type text DEFAULT NULL::text, p_queue text DEFAULT NULL::text, p_since timestamp with time zone DEFAULT NULL::timestamp with time zone, p_until timestamp with time zone DEFAULT NULL::timestamp with time zone, p_subject text DEFAULT NULL::text, p_error text DEFAULT NULL::text, p_limit integer DEFAULT 1000, p_cursor uuid DEFAULT NULL::uuid, p_all_tenants boolean DEFAULT false, p_dry_run boolean DEFAULT false, p_notify boolean DEFAULT true)
 RETURNS TABLE(changed integer, skipped integer, next_cursor uuid, over_quota integer)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_tenant  text := case when p_all_tenants is not true then jobforge.require_tenant(null) end;
    v_states  text[] := jobforge.check_states(p_state, array['dead', 'canceled']);
    v_met     uuid[];
    v_cursor  uuid;
    v_back    integer;
    v_changed integer := 0;
    v_over    integer := 0;
    v_part    record;
begin
    perform jobforge.check_bulk(p_all_tenants, p_limit);
    select m.met, m.next_cursor into v_met, v_cursor
      from jobforge.meet_jobs(v_tenant, v_states, p_type, p_queue, p_subject, p_since, p_until, p_error, p_limit, p_cursor) m;
    if p_dry_run then
        return query select cardinality(v_met), 0, v_cursor, 0;
        return;
    end if;
    for v_part in
        select t.tenant_id, array_agg(j.id) as jobs
          from unnest(jobforge.free_keys(v_met)) as f (id)
         cross join lateral (select * from jobforge.jobs k where k.id = f.id limit 1) j
          left join jobforge.limits t on t.scope = 'tenant' and t.name = j.tenant_id and t.max_waiting is not null
         group by t.tenant_id order by t.tenant_id
    loop
        begin
            v_back := jobforge.revive(v_part.jobs, p_notify);
            if v_part.tenant_id is not null then
                perform jobforge.check_quota(v_part.tenant_id);
            end if;
            v_changed := v_changed + v_back;
        exception when sqlstate 'JF007' then
            if v_tenant is not null then
                raise;
            end if;
            v_over := v_over + cardinality(v_part.jobs);
        end;
    end loop;
    return query select v_changed, cardinality(v_met) - v_changed, v_cursor, v_over;
end
$function$
;
alter function jobforge.retry_jobs owner to jobforge_owner;
grant execute on function jobforge.retry_jobs to jobforge_admin;
grant execute on function jobforge.retry_jobs to jobforge_app;
comment on function jobforge.retry_jobs is 'Bring the dead or canceled jobs that fit back, batch by batch.';

-- function jobforge.revive
CREATE OR REPLACE FUNCTION jobforge.revive(p_jobs uuid[], p_notify boolean)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_back jobforge.scheduled[];
begin
    with gone as (
        delete from jobforge.outcomes d where d.ctid = any (array(
            select o.ctid from jobforge.outcomes o
             where o.job_id = any (p_jobs) and o.state in ('dead', 'canceled') for update skip locked))
        returning d.job_id, d.run
    ), late as (  -- one that came too late for an earlier run
        delete from jobforge.cancel_requests c where c.job_id = any (array(select g.job_id from gone g))
    )
    select array_agg(row(j.tenant_id, j.id, null, j.queue, j.priority, j.type, g.run, 0, 0)::jobforge.scheduled) into v_back
      from gone g cross join lateral (select * from jobforge.jobs k where k.id = g.job_id limit 1) j;
    perform jobforge.enter_lines(array(select b.job_id from unnest(v_back) b));
    perform jobforge.enter_places(v_back, p_notify);
    return coalesce(cardinality(v_back), 0);
end
$function$
;
alter function jobforge.revive owner to jobforge_owner;
comment on function jobforge.revive is 'Bring ended jobs back to where they are claimed.';

-- function jobforge.ring_of
CREATE OR REPLACE FUNCTION jobforge.ring_of(p_queue text, p_lanes text[], p_after text, p_again boolean, p_count integer, OUT tenants text[], OUT met integer, OUT last text, OUT wrapped boolean, OUT cut boolean, OUT places integer[], OUT names text[], OUT lanes text[], OUT priorities smallint[], OUT jobs uuid[])
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_stop    text;
    v_wrapped boolean;
    c_least   constant smallint := -32768;
    c_first   constant uuid := '00000000-0000-0000-0000-000000000000';
    c_last    constant uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
    -- behind all names
    c_end     constant text := case when getdatabaseencoding() = 'UTF8' then chr(1114111) else repeat(chr(255), 9) end;
begin
    with recursive walk as (  -- what is looked for stands at the low place or behind, and before the next head
        select l.lane, p_after collate "C" as low_t, s.priority as low_p, case when p_again then c_first else c_last end as low_j,
               coalesce(h.tenant_id, c_end) collate "C" as head_t, coalesce(h.priority, 0::smallint) as head_p, h.job_id as head_j,
               null::text collate "C" as tenant_id, null::smallint as priority, null::uuid as job_id,
               null::text collate "C" as seen, 0 as met, 0 as idle, false as wrapped, false as ended
          from unnest(p_lanes) l (lane)
         cross join (select case when p_again then c_least else 32767::smallint end as priority) s
          left join lateral (
               select h.tenant_id, h.priority, h.job_id from jobforge.heads h
                where h.queue = p_queue and h.lane = l.lane and (h.tenant_id, h.priority) > (p_after, s.priority)
                order by h.tenant_id, h.priority, h.marked_at desc limit 1) h on true
        union all
        select w.lane, x.tenant_id, x.priority, x.job_id,
               case when f.job_id is null then coalesce(n.tenant_id, c_end) else w.head_t end collate "C",
               case when f.job_id is null then coalesce(n.priority, 0::smallint) else w.head_p end,
               case when f.job_id is null then n.job_id else w.head_j end,
               f.tenant_id, f.priority, f.job_id, coalesce(f.tenant_id, w.seen) collate "C",
               w.met + coalesce(f.tenant_id <> coalesce(w.seen, ''), false)::integer, case when f.job_id is null then w.idle + 1 else 0 end,
               w.wrapped or (f.job_id is null and w.head_j is null),
               w.wrapped and (x.tenant_id > p_after collate "C" or (f.job_id is null and w.head_j is null)
                              or (p_again and f.tenant_id = p_after))
          from walk w
          left join lateral (  -- in two: before Postgres 18 a comparison of rows does not end a scan where the second column decides
               select * from (
                   (select r.tenant_id, r.priority, r.job_id from jobforge.ready r
                     where r.queue = p_queue and r.lane = w.lane and r.tenant_id < w.head_t
                       and (r.tenant_id, r.priority, r.job_id) >= (w.low_t, w.low_p, w.low_j)
                     order by r.tenant_id, r.priority, r.job_id limit 1)
                   union all
                   (select r.tenant_id, r.priority, r.job_id from jobforge.ready r
                     where r.queue = p_queue and r.lane = w.lane and r.tenant_id = w.head_t and r.priority < w.head_p
                       and (r.priority, r.job_id) >= (case when w.low_t = w.head_t then w.low_p else c_least end,
                                                      case when w.low_t = w.head_t then w.low_j else c_first end)
                     order by r.priority, r.job_id limit 1)) u limit 1) f on true
         cross join lateral (select case when f.job_id is not null then f.tenant_id when w.head_j is not null then w.head_t else '' end collate "C",
                                    case when f.job_id is not null then f.priority when w.head_j is not null then w.head_p else c_least end,
                                    case when f.job_id is not null then c_last when w.head_j is not null then w.head_j else c_first end) x (tenant_id, priority, job_id)
          left join lateral (
               select h.tenant_id, h.priority, h.job_id from jobforge.heads h
                where f.job_id is null and h.queue = p_queue and h.lane = w.lane and (h.tenant_id, h.priority) > (x.tenant_id, x.priority)
                order by h.tenant_id, h.priority, h.marked_at desc limit 1) n on true
         where not w.ended and w.met <= p_count and not (w.met > 0 and w.idle > 20)
    ), stop as materialized (
        select w.wrapped, w.low_t from walk w where not w.ended and w.met between 1 and p_count and w.idle > 20
         order by w.wrapped, w.low_t limit 1
    ), found as materialized (
        select w.*, dense_rank() over (order by w.wrapped, w.tenant_id) as place from walk w
         where w.job_id is not null and not w.ended
           and not exists (select from stop s where (s.wrapped, s.low_t) < (w.wrapped, w.tenant_id))
    ), here as materialized (
        select f.* from found f where f.place <= p_count
    )
    select (select array_agg(t.tenant_id order by t.place) from (select distinct h.place, h.tenant_id from here h) t),
           coalesce(max(h.place), 0), (array_agg(h.tenant_id order by h.place desc))[1], coalesce(bool_or(h.wrapped), false),
           array_agg(h.place order by h.place, h.lane), array_agg(h.tenant_id order by h.place, h.lane),
           array_agg(h.lane order by h.place, h.lane), array_agg(h.priority order by h.place, h.lane),
           array_agg(h.job_id order by h.place, h.lane),
           (select s.low_t from stop s), (select s.wrapped from stop s)
      into tenants, met, last, wrapped, places, names, lanes, priorities, jobs, v_stop, v_wrapped
      from here h;
    cut := met < p_count and v_stop is not null;
    last := case when cut then v_stop else last end;
    wrapped := case when cut then v_wrapped else wrapped or met < p_count end;
end
$function$
;
alter function jobforge.ring_of owner to jobforge_owner;
comment on function jobforge.ring_of is 'The next tenants on a ring, by the heads.';

-- function jobforge.ring_start
CREATE OR REPLACE FUNCTION jobforge.ring_start(p_queue text, p_lane text, p_heads boolean DEFAULT false)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
    v_after  text collate "C" := '';
    v_before text collate "C" := case when getdatabaseencoding() = 'UTF8' then chr(1114111) else repeat('~', 9) end;
    v_first  text collate "C";
    v_last   text collate "C";
    v_same   integer;
    v_low    integer;
    v_high   integer;
begin
    if p_heads then  -- the deleted jobs of the first and the last would be passed: one of the tenants with a head will do
        v_after := (select h.tenant_id from jobforge.heads h where h.queue = p_queue and h.lane = p_lane order by random() limit 1);
        if v_after is not null then
            return v_after;
        end if;
        v_after := '';
    end if;
    for i in 1 .. 8 loop
        select r.tenant_id into v_first from jobforge.ready r
         where r.queue = p_queue and r.lane = p_lane and r.tenant_id > v_after and r.tenant_id < v_before
         order by r.tenant_id limit 1;
        select r.tenant_id into v_last from jobforge.ready r
         where r.queue = p_queue and r.lane = p_lane and r.tenant_id > v_after and r.tenant_id < v_before
         order by r.tenant_id desc limit 1;
        exit when v_first is null or v_first = v_last;
        v_same := 0;
        while v_same < length(v_first) and left(v_first, v_same + 1) = left(v_last, v_same + 1) loop
            v_same := v_same + 1;
        end loop;
        v_low := greatest(ascii(substr(v_first, v_same + 1, 1)), 32);
        v_high := ascii(substr(v_last, v_same + 1, 1));
        exit when v_high < v_low or v_high > 126;  -- beyond lie gaps that no character may stand in
        v_low := v_low + floor(random() * (v_high - v_low + 1))::integer;
        v_after := left(v_first, v_same) || chr(v_low);
        v_before := left(v_first, v_same) || chr(v_low + 1);
    end loop;
    return v_after;
end
$function$
;
alter function jobforge.ring_start owner to jobforge_owner;
comment on function jobforge.ring_start is 'A random place on a queue''s ring of tenants.';

-- function jobforge.running_before
CREATE OR REPLACE FUNCTION jobforge.running_before(p_scope text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select coalesce(jsonb_object_agg(b.name, b.running), '{}')
      from (select case p_scope when 'tenant' then l.tenant_id when 'queue' then l.queue else l.type end as name, count(*) as running
              from jobforge.leases l where not l.limited group by 1) b
$function$
;
alter function jobforge.running_before owner to jobforge_owner;
comment on function jobforge.running_before is 'How many unmarked leases each tenant, queue or task has.';

-- function jobforge.running_of
CREATE OR REPLACE FUNCTION jobforge.running_of(p_limit jobforge.limits, p_before jsonb DEFAULT NULL::jsonb, p_locked boolean DEFAULT false)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_index   regclass := ('jobforge.leases_of_' || p_limit.scope)::regclass;
    v_name    text := p_limit.scope || ' ' || p_limit.name;
    v_all     jsonb := coalesce(nullif(current_setting('jobforge.runs', true), ''), '{}');
    v_from    bigint := case when p_limit.counted then (v_all -> v_name ->> 'from')::bigint end;
    v_runs    bigint[];
    v_last    bigint := (select s.last_value from jobforge.leases_nth s);  -- before they are counted
    v_passed  bigint := pg_stat_get_xact_tuples_returned(v_index) - pg_stat_get_xact_tuples_fetched(v_index);
    c_names   constant integer := 100;
    c_runs    constant integer := 500;
begin
    v_from := case when v_from <= v_last then v_from end;  -- where numbers begin anew after a restore a note is worth nothing
    if v_from is not null then
        v_runs := array(select jsonb_array_elements_text(v_all -> v_name -> 'runs')::bigint);
    end if;
    v_runs := jobforge.runs_of(p_limit.scope, p_limit.name, coalesce(v_from, 0), v_runs);
    v_passed := pg_stat_get_xact_tuples_returned(v_index) - pg_stat_get_xact_tuples_fetched(v_index) - v_passed;
    if p_locked and p_limit.counted and v_passed > 50 and cardinality(v_runs) <= c_runs then
        if (select count(*) from jsonb_object_keys(v_all)) > c_names then
            v_all := '{}';
        end if;
        perform set_config('jobforge.runs', (v_all || jsonb_build_object(v_name, jsonb_build_object('from', v_last, 'runs', to_jsonb(v_runs))))::text,
                           false);
    end if;
    if not p_limit.counted then
        return cardinality(v_runs)
               + coalesce((coalesce(p_before, jobforge.running_before(p_limit.scope)) ->> p_limit.name)::integer, 0);
    end if;
    return cardinality(v_runs);
end
$function$
;
alter function jobforge.running_of owner to jobforge_owner;
comment on function jobforge.running_of is 'How many jobs of a tenant, a queue or a task run.';

-- function jobforge.runs_of
CREATE OR REPLACE FUNCTION jobforge.runs_of(p_scope text, p_name text, p_from bigint, p_runs bigint[])
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET jit TO 'off'
AS $function$
begin
    case p_scope
        when 'tenant' then return array(
            select l.nth from jobforge.leases l where l.limited and l.tenant_id = p_name and l.nth > p_from
            union all
            select l.nth from unnest(p_runs) r (nth) cross join lateral (
                   select l.nth from jobforge.leases l where l.limited and l.tenant_id = p_name and l.nth = r.nth limit 1) l);
        when 'queue' then return array(
            select l.nth from jobforge.leases l where l.limited and l.queue = p_name and l.nth > p_from
            union all
            select l.nth from unnest(p_runs) r (nth) cross join lateral (
                   select l.nth from jobforge.leases l where l.limited and l.queue = p_name and l.nth = r.nth limit 1) l);
        else return array(
            select l.nth from jobforge.leases l where l.limited and l.type = p_name and l.nth > p_from
            union all
            select l.nth from unnest(p_runs) r (nth) cross join lateral (
                   select l.nth from jobforge.leases l where l.limited and l.type = p_name and l.nth = r.nth limit 1) l);
    end case;
end
$function$
;
alter function jobforge.runs_of owner to jobforge_owner;
comment on function jobforge.runs_of is 'Which jobs of a tenant, a queue or a task run.';

-- function jobforge.schema_version
CREATE OR REPLACE FUNCTION jobforge.schema_version()
 RETURNS TABLE(revision text, serves text, tenancy text)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return query
        select v.version_num::text, '0002'::text, coalesce((select s.tenancy from jobforge.settings s), 'signed')
          from jobforge.alembic_version v;
end
$function$
;
alter function jobforge.schema_version owner to jobforge_owner;
grant execute on function jobforge.schema_version to jobforge_admin;
grant execute on function jobforge.schema_version to jobforge_app;
grant execute on function jobforge.schema_version to jobforge_worker;
comment on function jobforge.schema_version is 'This schema''s revision, and the oldest code it serves.';

-- function jobforge.set_connector
CREATE OR REPLACE FUNCTION jobforge.set_connector(p_tenant_id text, p_config json, p_type text DEFAULT ''::text)
 RETURNS SETOF jobforge.connectors
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    perform jobforge.check_tenant(p_tenant_id);
    perform jobforge.check_connector(coalesce(p_type, ''), p_config);
    return query
        insert into jobforge.connectors (tenant_id, type, config, updated_at)
        values (p_tenant_id, coalesce(p_type, ''), p_config, jobforge.now())
        on conflict (tenant_id, type) do update set config = excluded.config, updated_at = excluded.updated_at
        returning *;
end
$function$
;
alter function jobforge.set_connector owner to jobforge_owner;
grant execute on function jobforge.set_connector to jobforge_admin;
comment on function jobforge.set_connector is 'Say what the built-in handlers may do for a tenant.';

-- function jobforge.set_limit
CREATE OR REPLACE FUNCTION jobforge.set_limit(p_scope text, p_name text, p_change jsonb)
 RETURNS SETOF jobforge.limits
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_allowed text[] := '{max_running, rate, burst}'::text[]
                        || case when p_scope = 'tenant' then '{weight, max_waiting}'::text[] end;
    v_limit   jobforge.limits;
    v_new     jobforge.limits;
    v_fault   text;
begin
    perform jobforge.check_scope(p_scope, p_name);
    if jsonb_typeof(p_change) is distinct from 'object' or p_change = '{}' then
        v_fault := 'the change must be a JSON object that says something';
    else
        v_fault := (
            select case when k.key <> all (v_allowed) then format('a %s has no limit %s', p_scope, quote_literal(left(k.key, 50)))
                        else format('%s must be a number or null', k.key) end
              from jsonb_each(p_change) k (key, value)
             where k.key <> all (v_allowed) or jsonb_typeof(k.value) not in ('number', 'null') limit 1);
    end if;
    if v_fault is null then
        v_fault := (select case
            when (p_change ->> 'max_running')::numeric not between 0 and 1000000 then 'max_running must be between 0 and 1000000'
            when (p_change ->> 'rate')::numeric not between 0.000001 and 1000000
                then 'rate must be more than 0 and at most 1000000 runs a second'
            when (p_change ->> 'burst')::numeric not between 1 and 1000000 then 'burst must be between 1 and 1000000'
            when (p_change ->> 'weight')::numeric not between 1 and 100 then 'weight must be between 1 and 100'
            when (p_change ->> 'max_waiting')::numeric not between 0 and 10000000 then 'max_waiting must be between 0 and 10000000'
            when exists (select from jsonb_each_text(p_change) k
                          where k.key <> 'rate' and k.value::numeric <> trunc(k.value::numeric))
                then 'all but the rate are whole numbers'
        end);
    end if;
    if v_fault is not null then
        raise exception 'jobforge: %', v_fault
            using errcode = 'JF003',
                  hint = format('Of a %s: %s; null takes a limit away. Nothing was changed.', p_scope, array_to_string(v_allowed, ', '));
    end if;

    insert into jobforge.limits (scope, name, refilled_at) values (p_scope, p_name, jobforge.now()) on conflict do nothing;
    select * into v_limit from jobforge.limits l where l.scope = p_scope and l.name = p_name for update;
    v_new := jsonb_populate_record(v_limit, case when p_change -> 'rate' = 'null' then '{"burst": null}' else '{}' end::jsonb
        || (select jsonb_object_agg(k.key, trim_scale(k.value::numeric)) from jsonb_each_text(p_change) k));  -- 5.0 is 5
    if v_new.burst is not null and v_new.rate is null then
        raise exception 'jobforge: a burst needs a rate'
            using errcode = 'JF003', hint = 'Give the rate too. Nothing was changed.';
    end if;
    v_new.bucket := case when v_new.rate is null then 0
                         when v_limit.rate is null then coalesce(v_new.burst, greatest(ceil(v_new.rate), 1))
                         else jobforge.tokens_of(v_limit) end;
    return query
        update jobforge.limits l
           set max_running = v_new.max_running, rate = v_new.rate, burst = v_new.burst, weight = v_new.weight,
               max_waiting = v_new.max_waiting, bucket = v_new.bucket, refilled_at = jobforge.now(),
               -- nobody has counted meanwhile, and claims have not waited for each other: anew, as with a new one
               since = case when v_limit.max_running is not null then l.since end,
               settled_xid = case when v_limit.max_running is not null then l.settled_xid end,
               counted = l.counted and v_limit.max_running is not null
         where l.scope = p_scope and l.name = p_name returning l.*;
    perform jobforge.forget_limit(p_scope, p_name);
    perform jobforge.bring_back(p_name, 10000) where p_scope = 'tenant';  -- upkeep brings the others
    perform jobforge.wake_all();
end
$function$
;
alter function jobforge.set_limit owner to jobforge_owner;
comment on function jobforge.set_limit is 'Change what is said of a tenant, a queue or a task.';

-- function jobforge.set_retention
CREATE OR REPLACE FUNCTION jobforge.set_retention(p_kind text, p_keep interval, p_type text DEFAULT NULL::text, p_newest integer DEFAULT NULL::integer)
 RETURNS SETOF jobforge.retention
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if p_kind is null or p_kind not in ('succeeded', 'dead', 'canceled', 'result', 'idempotency_key') then
        raise exception 'jobforge: nothing is kept that is called %', coalesce(quote_literal(left(p_kind, 50)), 'NULL')
            using errcode = 'JF003', hint = 'Kinds: succeeded, dead, canceled, result, idempotency_key.';
    end if;
    if not jobforge.check_interval(p_keep, interval '0', interval '36500 days') then
        raise exception 'jobforge: p_keep must be between 0 and 36500 days'
            using errcode = 'JF003', hint = 'NULL keeps it for ever.';
    end if;
    if length(p_type) > 100 or p_type !~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$' then
        raise exception 'jobforge: no job has the type %', quote_literal(left(p_type, 50))
            using errcode = 'JF003', hint = 'NULL stands for every type.';
    end if;
    if p_newest < 1 or (p_newest is not null and p_kind in ('result', 'idempotency_key')) then
        raise exception 'jobforge: p_newest must be 1 or more, and is for succeeded, dead and canceled jobs'
            using errcode = 'JF003', hint = 'Leave it out, or let a p_keep of 0 keep none.';
    end if;
    delete from jobforge.newest n where n.state = p_kind and (p_type is null or n.type = p_type);  -- another number counts
    return query
        insert into jobforge.retention (kind, type, keep, newest) values (p_kind, coalesce(p_type, ''), p_keep, p_newest)
        on conflict (kind, type) do update set keep = excluded.keep, newest = excluded.newest
        returning *;
end
$function$
;
alter function jobforge.set_retention owner to jobforge_owner;
grant execute on function jobforge.set_retention to jobforge_admin;
comment on function jobforge.set_retention is 'Say how long a kind is kept, of every type or of one.';

-- function jobforge.set_secret
CREATE OR REPLACE FUNCTION jobforge.set_secret(p_tenant_id text, p_name text, p_kind text, p_value text, p_hosts text[] DEFAULT NULL::text[], p_overlap interval DEFAULT NULL::interval)
 RETURNS TABLE(tenant_id text, name text, kind text, hosts text[], previous_until timestamp with time zone, updated_at timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_now   timestamptz := jobforge.now();
    v_until timestamptz;
begin
    perform jobforge.check_tenant(p_tenant_id);
    if p_name is null or length(p_name) > 100 or p_name !~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$' then
        raise exception 'jobforge: % is no name for a secret', coalesce(quote_literal(left(p_name, 50)), 'NULL')
            using errcode = 'JF003', hint = 'Use 1 to 100 of A-Z a-z 0-9 _ . : - and do not begin with . : -';
    end if;
    if p_kind is null or p_kind not in ('sealed', 'reference') then
        raise exception 'jobforge: a secret is sealed or a reference, not %', coalesce(quote_literal(left(p_kind, 50)), 'NULL')
            using errcode = 'JF003', hint = 'Secrets are sealed before they come here: jobforge secrets set.';
    end if;
    if p_value is null or octet_length(p_value) not between 1 and 65536 then  -- it may be a secret: it is not shown
        raise exception 'jobforge: the value of a secret has 1 to 65536 bytes'
            using errcode = 'JF003', hint = 'Keep larger ones where a reference leads.';
    end if;
    if cardinality(p_hosts) > 100 or exists (select from unnest(p_hosts) h where coalesce(length(h), 0) not between 1 and 255) then
        raise exception 'jobforge: a secret may go to 100 hosts at most, of 1 to 255 characters each'
            using errcode = 'JF003', hint = 'Name hosts such as api.example.com, or *.example.com.';
    end if;
    if not jobforge.check_interval(p_overlap, interval '0', interval '365 days') then
        raise exception 'jobforge: p_overlap must be between 0 and 365 days'
            using errcode = 'JF003', hint = 'NULL: the one before is gone at once.';
    end if;
    v_until := v_now + nullif(p_overlap, interval '0');
    return query
        insert into jobforge.connector_secrets as s (tenant_id, name, kind, value, hosts, updated_at)
        values (p_tenant_id, p_name, p_kind, p_value, coalesce(p_hosts, '{}'), v_now)
        on conflict (tenant_id, name) do update
           set kind = excluded.kind, value = excluded.value, hosts = coalesce(p_hosts, s.hosts), updated_at = v_now,
               previous_kind = case when v_until is not null then s.kind end,
               previous_value = case when v_until is not null then s.value end,
               previous_until = v_until
        returning s.tenant_id, s.name, s.kind, s.hosts, s.previous_until, s.updated_at;
end
$function$
;
alter function jobforge.set_secret owner to jobforge_owner;
grant execute on function jobforge.set_secret to jobforge_admin;
comment on function jobforge.set_secret is 'Keep a secret of a tenant''s, sealed or as a reference.';

-- function jobforge.settle
CREATE OR REPLACE FUNCTION jobforge.settle(p_ended jobforge.ended_run[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_now     timestamptz := jobforge.now();
    v_woken   integer;
    c_crashes constant integer := 5;  -- as many lost workers, and the job is taken for their killer
begin
    with ended as (
        select e.*, j.queue, j.type, j.priority, j.max_attempts, j.retry, c.job_id is not null as cancel
          from unnest(p_ended) e
          left join jobforge.jobs j on j.id = case when e.outcome <> 'succeeded' then e.job_id end
          left join jobforge.cancel_requests c on c.job_id = e.job_id
    ), verdict as materialized (
        select e.*,
               case when e.outcome = 'succeeded' then 'succeeded'
                    when e.outcome = 'canceled' or e.cancel then 'canceled'
                    when e.outcome in ('failed', 'timed_out') and (e.final or e.attempt >= e.max_attempts) then 'dead'
                    when e.outcome = 'lost' and e.crashes + 1 >= c_crashes then 'dead'
               end as final_state,
               case when e.outcome in ('failed', 'timed_out') then coalesce(e.delay, jobforge.retry_delay(e.retry, e.attempt))
                    when e.outcome = 'lost' and e.crashes > 0 then jobforge.retry_delay('{"jitter": 1}', e.crashes)
                    else coalesce(e.delay, interval '0') end as wait,
               case when e.outcome in ('failed', 'timed_out') then e.attempt else e.attempt - 1 end as charged,
               case when e.outcome = 'lost' then e.crashes + 1 else e.crashes end as crashed,
               -- as an item it was told by its worker (0: by a rescue); a released run may not have been started
               case when e.outcome in ('failed', 'timed_out', 'snoozed') and e.item > 0 then 0
                    when e.outcome = 'lost' then e.crashes + 1 else e.crashes end as carried
          from ended e
    ), recorded as (
        insert into jobforge.attempts (job_id, run, tenant_id, attempt, outcome, worker_id, token, claimed_at, finished_at, run_ms, error)
        select job_id, run, tenant_id, attempt, outcome, worker_id, token, claimed_at, v_now, run_ms, error from verdict
    ), finished as (
        insert into jobforge.outcomes (job_id, tenant_id, state, run, attempt, crashes, finished_at)
        select job_id, tenant_id, final_state, run, case when final_state = 'succeeded' then attempt else charged end,
               crashed, v_now from verdict where final_state is not null
    ), returned as (
        insert into jobforge.results (job_id, tenant_id, value)
        select job_id, tenant_id, result from verdict where final_state = 'succeeded' and result is not null
    ), later as (
        insert into jobforge.scheduled (job_id, run_at, queue, tenant_id, priority, type, run, attempt, crashes)
        select job_id, v_now + wait, queue, tenant_id, priority, type, run, charged, carried
          from verdict where final_state is null and wait > interval '0' and queue is not null
    ), again as (
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
        select queue, tenant_id, priority, job_id, type, run, charged, carried, case when carried < 2 then (select jobforge.lane_back()) end
          from verdict where final_state is null and wait <= interval '0' and queue is not null
        returning queue
    ), left_line as (
        delete from jobforge.lines d where d.ctid = any (array(
            select l.ctid from verdict v cross join lateral (select l.ctid from jobforge.lines l  -- by a probe each
             where (l.tenant_id, l.ordering_key, l.job_id) = (v.tenant_id, v.ordering_key, v.job_id) limit 1) l
             where v.final_state is not null))
    ), turned as (  -- whatever became of it, nothing of its line runs now
        insert into jobforge.turns (tenant_id, ordering_key)
        select distinct tenant_id, ordering_key from verdict where ordering_key is not null
    ), answered as (
        delete from jobforge.cancel_requests c where c.job_id = any (array(select v.job_id from verdict v where v.cancel))
    )
    select count(jobforge.wake(q.queue)) into v_woken from (select distinct queue from again) q;
    perform jobforge.wake_kept(p_ended) from unnest(p_ended) e where e.limited or e.ordering_key is not null limit 1;
    perform jobforge.tell_waiting(array(select e.job_id from unnest(p_ended) e));
end
$function$
;
alter function jobforge.settle owner to jobforge_owner;
comment on function jobforge.settle is 'Where a run ends: its attempt is recorded, and the job finds its next place.';

-- function jobforge.settle_cancels
CREATE OR REPLACE FUNCTION jobforge.settle_cancels(p_limit integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_asked   uuid[];
    v_settled integer;
begin
    v_asked := array(
        select c.job_id from jobforge.cancel_requests c
         where not exists (select from jobforge.leases l where l.job_id = c.job_id)
         order by random() limit p_limit for update skip locked);
    if v_asked = '{}' then
        return 0;
    end if;
    perform jobforge.end_waiting(array(select g from jobforge.leave_places(v_asked) g), true);
    delete from jobforge.cancel_requests c
     where c.job_id = any (v_asked)
       and (exists (select from jobforge.outcomes o where o.job_id = c.job_id)
            -- purged, while the request was not committed yet
            or not exists (select from jobforge.jobs j where j.id = c.job_id));
    get diagnostics v_settled = row_count;
    return v_settled;
end
$function$
;
alter function jobforge.settle_cancels owner to jobforge_owner;
comment on function jobforge.settle_cancels is 'Cancel requests that met no run.';

-- function jobforge.shares
CREATE OR REPLACE FUNCTION jobforge.shares(p_tenants text[], p_left integer, p_others integer, OUT tenants text[], OUT shares integer[], OUT last text, OUT stopped text[], OUT limited text[], OUT places integer[])
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    with given as materialized (  -- grouped and not joined: neither side has an index
        select t.tenant_id, min(t.place) as place, min(t.budget) as budget, coalesce(max(t.weight), 1) as weight,
               bool_or(t.stopped) as stopped, count(t.stopped) > 0 as limited
          from (select u.tenant_id, u.place, null as budget, null as weight, null as stopped
                  from unnest(p_tenants) with ordinality u (tenant_id, place)
                union all
                select b.name, null, b.budget, b.weight, b.stopped from jobforge.budget('tenant', p_tenants) b) t
         group by t.tenant_id
    ), share as (
        select g.tenant_id, g.place,
               least(g.weight * greatest(p_left / (sum(g.weight) over () + p_others), 1), g.budget)::integer as share
          from given g where g.budget is distinct from 0
    ), placed as (
        select s.*, sum(s.share) over (order by s.place) - s.share as before from share s
    ), turned as (  -- who is last and has a part of its share only comes again, by chance, so often that it has all of it: it
        -- goes before the others, and the ring goes on behind the one that is last now
        select p.tenant_id, p.share, p.before,
               p.place as was,
               case when p.before between 1 and p_left - 1 and random() > (p_left - p.before)::float8 / least(p.share, p_left)
                    then 0 else p.place end as place
          from placed p
    )
    select array_agg(p.tenant_id order by p.place) filter (where p.before < p_left),
           array_agg(least(p.share, p_left - p.before)::integer order by p.place) filter (where p.before < p_left),
           case when bool_or(p.before >= p_left or p.place = 0) then
               (array_agg(p.tenant_id order by p.place desc) filter (where p.before < p_left))[1] end,
           (select array_agg(g.tenant_id) from given g where g.stopped),
           (select coalesce(array_agg(g.tenant_id), '{}') from given g where g.limited),
           array_agg(p.was::integer order by p.place) filter (where p.before < p_left)
      into tenants, shares, last, stopped, limited, places
      from turned p;
end
$function$
;
alter function jobforge.shares owner to jobforge_owner;
comment on function jobforge.shares is 'How many jobs each tenant may give a claim.';

-- function jobforge.spend
CREATE OR REPLACE FUNCTION jobforge.spend(p_scope text, p_name text, p_taken integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    update jobforge.limits l set bucket = jobforge.tokens_of(l) - p_taken, refilled_at = jobforge.now()
     where l.scope = p_scope and l.name = p_name and l.rate is not null and p_taken > 0;
end
$function$
;
alter function jobforge.spend owner to jobforge_owner;
comment on function jobforge.spend is 'Take the runs that have begun out of a rate''s bucket.';

-- function jobforge.store_artifact
CREATE OR REPLACE FUNCTION jobforge.store_artifact(p_job_id uuid, p_lease_token uuid, p_name text, p_media_type text, p_body bytea DEFAULT NULL::bytea, p_location text DEFAULT NULL::text, p_size bigint DEFAULT NULL::bigint, p_sha256 text DEFAULT NULL::text)
 RETURNS TABLE(name text, size bigint, sha256 text, created_at timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_tenant text;
    v_now    timestamptz := jobforge.now();
    v_limit  integer := jobforge.artifact_limit();
    c_most   constant integer := 20;
begin
    if p_name is null or p_name !~ '^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$' then
        raise exception 'jobforge: % is no name of an artifact', coalesce(quote_literal(left(p_name, 50)), 'NULL')
            using errcode = 'JF003', hint = 'Use 1 to 100 of A-Z a-z 0-9 _ . - and do not begin with . or -';
    end if;
    if p_media_type is null or length(p_media_type) > 100
       or p_media_type !~ '^[a-z0-9.+-]+/[a-z0-9.+-]+(; ?[a-z]+=[a-zA-Z0-9-]+)?$' then
        raise exception 'jobforge: the media type of % is none', p_name
            using errcode = 'JF003', hint = 'Write it as text/csv, or text/html; charset=utf-8.';
    end if;
    if (p_body is null) = (p_location is null) or p_location ~ '[[:cntrl:]]'
       or length(p_location) not between 1 and 2000 then
        raise exception 'jobforge: artifact % needs a body or a location, and not both', p_name
            using errcode = 'JF003', hint = 'Pass p_body; or p_location (1 to 2000 characters) with p_size and p_sha256.';
    end if;
    if p_location is not null and (p_size is null or p_size < 0 or p_sha256 is null or p_sha256 !~ '^[0-9a-f]{64}$') then
        raise exception 'jobforge: artifact % has a location, and needs its size and its SHA-256', p_name
            using errcode = 'JF003', hint = 'Pass p_size in bytes, and p_sha256 in lower-case hex.';
    end if;
    if octet_length(p_body) > v_limit then
        raise exception 'jobforge: artifact % has % bytes, % are allowed', p_name, octet_length(p_body), v_limit
            using errcode = 'JF009',
                  hint = 'Make it smaller, or keep it elsewhere and pass its location; '
                         'or an administrator raises it: limit_artifacts.';
    end if;
    select l.tenant_id into v_tenant from jobforge.leases l
     where l.job_id = p_job_id and l.token = p_lease_token
       and l.tenant_id = coalesce(jobforge.current_tenant(), l.tenant_id)
       for update;
    if v_tenant is null then
        return;
    end if;
    delete from jobforge.artifacts a where a.job_id = p_job_id and a.name = p_name;
    if (select count(*) from jobforge.artifacts a where a.job_id = p_job_id) >= c_most then
        raise exception 'jobforge: a job has % artifacts at most', c_most
            using errcode = 'JF003', hint = 'Put several files into one, or make a job for each.';
    end if;
    return query
        insert into jobforge.artifacts as a (job_id, name, tenant_id, media_type, size, sha256, body, location, created_at)
        values (p_job_id, p_name, v_tenant, p_media_type, coalesce(octet_length(p_body), p_size),
                coalesce(encode(sha256(p_body), 'hex'), p_sha256), p_body, p_location, v_now)
        returning a.name, a.size, a.sha256, a.created_at;
end
$function$
;
alter function jobforge.store_artifact owner to jobforge_owner;
grant execute on function jobforge.store_artifact to jobforge_app;
grant execute on function jobforge.store_artifact to jobforge_worker;
comment on function jobforge.store_artifact is 'Keep a file that a run has made, by its lease token.';

-- function jobforge.take_back
CREATE OR REPLACE FUNCTION jobforge.take_back(p_limit integer)
 RETURNS jobforge.ended_run[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_now   timestamptz := jobforge.now();
    v_ended jobforge.ended_run[];
begin
    perform jobforge.check_limit(p_limit);
    with expired as (
        select l.job_id, l.deadline > v_now as lost
          from jobforge.leases l
         where l.worker_id not in (select w.worker_id from jobforge.workers w where w.alive_until > v_now)
            or l.deadline <= v_now
         order by l.job_id limit p_limit for update of l skip locked
    ), gone as (
        delete from jobforge.leases l using expired x where l.job_id = x.job_id returning l.*, x.lost
    )
    select array_agg(row(0, g.job_id, g.tenant_id, g.token, g.worker_id, g.run, g.attempt, g.crashes, g.claimed_at,
                         case when g.lost then 'lost' else 'timed_out' end, null,
                         case when g.lost then '{"type": "WorkerLost", "message": "the worker stopped sending heartbeats"}'
                              else '{"type": "TimedOut", "message": "the lease passed its deadline"}' end::json,
                         null, null, false, g.ordering_key, g.limited)::jobforge.ended_run)
      into v_ended from gone g;
    if v_ended is not null then
        perform jobforge.settle(v_ended);
    end if;
    return v_ended;
end
$function$
;
alter function jobforge.take_back owner to jobforge_owner;
comment on function jobforge.take_back is 'End the runs of dead workers and passed deadlines, and give them.';

-- function jobforge.take_idempotency_key
CREATE OR REPLACE FUNCTION jobforge.take_idempotency_key(p_tenant_id text, p_type text, p_key text, p_payload json, p_job_id uuid, p_now timestamp with time zone)
 RETURNS TABLE(job_id uuid, payload_differs boolean)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
begin
    loop
        insert into jobforge.idempotency_keys (tenant_id, type, key, job_id, created_at)
        values (p_tenant_id, p_type, p_key, p_job_id, p_now)
        on conflict do nothing;
        exit when found;
        return query
            select k.job_id, coalesce(j.payload::jsonb <> p_payload::jsonb, false)
              from jobforge.idempotency_keys k left join jobforge.jobs j on j.id = k.job_id
             where k.tenant_id = p_tenant_id and k.type = p_type and k.key = p_key;
        exit when found;  -- else the original's key was pruned between the two statements: it is ours now
    end loop;
end
$function$
;
alter function jobforge.take_idempotency_key owner to jobforge_owner;
comment on function jobforge.take_idempotency_key is 'Give an idempotency key to a job, unless another has it.';

-- function jobforge.take_turns
CREATE OR REPLACE FUNCTION jobforge.take_turns(p_limit integer, p_first bigint)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_from  bigint := p_first + floor(random() * (1 + (select s.last_value from jobforge.turns_id_seq s) - p_first));
    v_lane  text := jobforge.turn_lane();
    v_moved integer;
begin
    with later as materialized (
        select t.ctid, t.tenant_id, t.ordering_key from jobforge.turns t where t.id >= v_from
         order by t.id limit p_limit for update skip locked
    ), sooner as materialized (
        select t.ctid, t.tenant_id, t.ordering_key from jobforge.turns t where t.id >= p_first and t.id < v_from
         order by t.id
         limit p_limit - (select count(*) from later) for update skip locked
    ), turn as materialized (
        select * from later union all select * from sooner
    ), head as materialized (
        select k.tenant_id, k.ordering_key, h.job_id
          from (select distinct turn.tenant_id, turn.ordering_key from turn) k
         cross join lateral (select l.job_id from jobforge.lines l
                              where l.tenant_id = k.tenant_id and l.ordering_key = k.ordering_key
                                and exists (select from jobforge.jobs j where j.id = l.job_id)
                              order by l.job_id limit 1) h
    ), waiting as materialized (
        select h.tenant_id, h.ordering_key, h.job_id
          from head h cross join lateral (  -- by its key: a join began with all that was deleted
               select from jobforge.ready r
                where r.tenant_id = h.tenant_id and r.job_id = h.job_id and r.lane = '!ordered' limit 1) r
         where not jobforge.waits_in_line(h.tenant_id, h.ordering_key, h.job_id)
    ), free as materialized (
        select r.ctid, r.job_id from waiting w cross join lateral (
               select r.ctid, r.job_id from jobforge.ready r where r.tenant_id = w.tenant_id and r.job_id = w.job_id
                  for update skip locked) r
    ), gone as (
        delete from jobforge.ready r where r.ctid = any (array(select f.ctid from free f)) returning r.*
    ), moved as (
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
        select g.queue, g.tenant_id, g.priority, g.job_id, g.type, g.run, g.attempt, g.crashes,
               case when g.crashes < 2 then v_lane end  -- which has no heads, or it might wait for a full look
          from gone g
        returning queue
    ), seen as (
        delete from jobforge.turns t where t.ctid = any (array(
            select turn.ctid from turn
             where not exists (select from waiting w
                                where w.tenant_id = turn.tenant_id and w.ordering_key = turn.ordering_key
                                  and w.job_id <> all (array(select f.job_id from free f)))))
    ), woken as (
        select count(jobforge.wake(q.queue)) from (select distinct m.queue from moved m) q
    )
    select count(*) into v_moved from moved cross join woken;
    return v_moved;
end
$function$
;
alter function jobforge.take_turns owner to jobforge_owner;
comment on function jobforge.take_turns is 'Jobs that have become the heads of their lines can be claimed.';

-- function jobforge.take_unique_key
CREATE OR REPLACE FUNCTION jobforge.take_unique_key(p_tenant_id text, p_type text, p_key text, p_on_duplicate text, p_payload json, p_job_id uuid, p_notify boolean)
 RETURNS TABLE(job_id uuid, payload_differs boolean)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
    v_job   jobforge.jobs;
    v_place text;
begin
    loop
        insert into jobforge.unique_keys (tenant_id, type, key, job_id)
        values (p_tenant_id, p_type, p_key, p_job_id) on conflict do nothing;
        if found then
            return;
        end if;
        perform from jobforge.unique_keys k
          where k.tenant_id = p_tenant_id and k.type = p_type and k.key = p_key for update;
        exit when found;  -- else it was pruned between the two statements
    end loop;
    select j.* into v_job from jobforge.unique_keys k join jobforge.jobs j on j.id = k.job_id
     where k.tenant_id = p_tenant_id and k.type = p_type and k.key = p_key;
    if v_job.id = p_job_id then
        return;
    end if;

    v_place := jobforge.find_place(v_job, p_on_duplicate <> 'keep');
    if v_place in ('scheduled', 'ready') or (v_place = 'leases' and p_on_duplicate = 'keep') then
        if p_on_duplicate = 'replace' then
            update jobforge.jobs j set payload = p_payload where j.id = v_job.id;
            perform jobforge.renew_place(v_job, p_notify);
        end if;
        return query select v_job.id, v_job.payload::jsonb is distinct from p_payload::jsonb;
        return;
    end if;
    update jobforge.unique_keys k set job_id = p_job_id
     where k.tenant_id = p_tenant_id and k.type = p_type and k.key = p_key;
end
$function$
;
alter function jobforge.take_unique_key owner to jobforge_owner;
comment on function jobforge.take_unique_key is 'Give a unique key to a job, unless an active one keeps it.';

-- function jobforge.tell_waiting
CREATE OR REPLACE FUNCTION jobforge.tell_waiting(p_job_ids uuid[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if not exists (select from jobforge.waits) then
        return;
    end if;
    if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        perform from jobforge.waits w
          where w.job_id = any (p_job_ids) and exists (select from jobforge.outcomes o where o.job_id = w.job_id);
    else
        delete from jobforge.waits d where d.ctid = any (array(
            select w.ctid from jobforge.waits w
             where w.job_id = any (p_job_ids) and exists (select from jobforge.outcomes o where o.job_id = w.job_id)
               for update of w skip locked));
    end if;
    if found and pg_notification_queue_usage() < 0.5 then
        perform pg_notify('jobforge_done', '');
    end if;
end
$function$
;
alter function jobforge.tell_waiting owner to jobforge_owner;
comment on function jobforge.tell_waiting is 'Send a NOTIFY if somebody waits for one of these jobs.';

-- function jobforge.token_mac
CREATE OR REPLACE FUNCTION jobforge.token_mac(p_key jobforge.tenant_keys, p_signed text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return encode(sha256(p_key.outer_pad || sha256(p_key.inner_pad || convert_to(p_signed, 'UTF8'))), 'hex');
end
$function$
;
alter function jobforge.token_mac owner to jobforge_owner;
comment on function jobforge.token_mac is 'The signature of a tenant token, in hex.';

-- function jobforge.token_tenant
CREATE OR REPLACE FUNCTION jobforge.token_tenant(p_token text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_key_id  text := split_part(p_token, '.', 1);
    v_expires text := split_part(p_token, '.', 2);
    v_mac     text := split_part(p_token, '.', 3);
    v_tenant  text := substr(p_token, length(v_key_id) + length(v_expires) + length(v_mac) + 4);
    v_key     jobforge.tenant_keys;
begin
    if p_token is null then
        return null;
    end if;
    select * into v_key from jobforge.tenant_keys k
     where k.key_id = v_key_id and (k.retired_at is null or k.retired_at > now());
    if not found or v_tenant = '' or v_expires ~ '[^0-9]' or length(v_expires) not between 1 and 11
       or sha256(convert_to(v_mac, 'UTF8'))
          <> sha256(convert_to(jobforge.token_mac(v_key, v_key_id || '.' || v_expires || '.' || v_tenant), 'UTF8'))
    then
        raise exception 'jobforge: the tenant token is not valid'
            using errcode = 'JF006', hint = 'Sign it with a key that this database knows: jobforge tenancy.';
    end if;
    if to_timestamp(v_expires::bigint) <= now() then
        raise exception 'jobforge: the tenant token had expired when this transaction began'
            using errcode = 'JF006', hint = 'Sign a new one for each transaction.';
    end if;
    return v_tenant;
end
$function$
;
alter function jobforge.token_tenant owner to jobforge_owner;
comment on function jobforge.token_tenant is 'The tenant that a token names; raises JF006 for a bad one.';

-- function jobforge.tokens_of
CREATE OR REPLACE FUNCTION jobforge.tokens_of(p_limit jobforge.limits)
 RETURNS double precision
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select least(coalesce(p_limit.burst, greatest(ceil(p_limit.rate), 1)),
                 p_limit.bucket + p_limit.rate * extract(epoch from jobforge.now() - p_limit.refilled_at)::double precision)
$function$
;
alter function jobforge.tokens_of owner to jobforge_owner;
comment on function jobforge.tokens_of is 'How many runs a rate lets begin now.';

-- function jobforge.turn_lane
CREATE OR REPLACE FUNCTION jobforge.turn_lane()
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$ select '!turn' || lpad(s.last_value::text, 9, '0') from jobforge.turn_lanes s $function$
;
alter function jobforge.turn_lane owner to jobforge_owner;
comment on function jobforge.turn_lane is 'The lane into which jobs come back now.';

-- function jobforge.turn_lanes
CREATE OR REPLACE FUNCTION jobforge.turn_lanes(p_queue text, p_look boolean)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_noted text := 'jobforge.turn_' || md5(p_queue);
    v_last  text := jobforge.turn_lane();
    v_from  text := least(coalesce(case when not p_look then nullif(current_setting(v_noted, true), '') end, '!turn'), v_last);
    v_lanes text[];
begin
    with recursive lane (name) as (
        select (select r.lane from jobforge.ready r where r.queue = p_queue and r.lane >= v_from and r.lane < '!turo'
                 order by r.lane limit 1)
        union all
        select (select r.lane from jobforge.ready r where r.queue = p_queue and r.lane > l.name and r.lane < '!turo'
                 order by r.lane limit 1) from lane l where l.name is not null
    )
    select array_agg(l.name order by l.name) into v_lanes from lane l where l.name is not null;
    if v_last > '!turn000000001' then
        perform set_config(v_noted, coalesce(v_lanes[1], v_last), false);
    end if;
    if p_look and cardinality(v_lanes) > 3 then
        with old as materialized (
            select r.ctid from jobforge.ready r where r.queue = p_queue and r.lane = v_lanes[1] limit 1000 for update skip locked
        ), gone as (
            delete from jobforge.ready r where r.ctid = any (array(select o.ctid from old o)) returning r.*
        )
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
        select g.queue, g.tenant_id, g.priority, g.job_id, g.type, g.run, g.attempt, g.crashes, v_last from gone g;
    end if;
    return v_lanes;
end
$function$
;
alter function jobforge.turn_lanes owner to jobforge_owner;
comment on function jobforge.turn_lanes is 'The lanes of a queue in which there are jobs whose turn has come.';

-- function jobforge.upkeep
CREATE OR REPLACE FUNCTION jobforge.upkeep(p_worker_id uuid DEFAULT NULL::uuid, p_limit integer DEFAULT 1000, p_prune boolean DEFAULT true)
 RETURNS TABLE(step text, moved integer, jobs json)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_now   timestamptz := jobforge.now();
    v_moved integer;
    v_ended jobforge.ended_run[];
    v_named json;
    c_named constant integer := 20;
begin
    perform jobforge.check_limit(p_limit);
    v_ended := jobforge.take_back(p_limit);
    if v_ended is not null then
        select json_agg(json_build_object('job_id', e.job_id, 'tenant_id', e.tenant_id, 'type', j.type, 'run', e.run,
                                          'attempt', e.attempt, 'outcome', e.outcome) order by e.job_id)
          into v_named
          from unnest(v_ended[:c_named]) e join jobforge.jobs j on j.id = e.job_id;
    end if;
    return query select 'rescued', coalesce(cardinality(v_ended), 0), v_named;
    return query select 'promoted', jobforge.promote_due(p_limit), null::json;
    return query select 'resumed', jobforge.bring_back(null, p_limit), null::json;
    return query select 'canceled', jobforge.settle_cancels(p_limit), null::json;

    delete from jobforge.heads d where d.ctid = any (array(  -- behind a held snapshot an idle tenant needs its own all the same
        select h.ctid from jobforge.heads h
         where h.marked_at < v_now - interval '1 minute' and pg_stat_get_dead_tuples('jobforge.ready'::regclass) < 20000
         limit p_limit for update of h skip locked));
    delete from jobforge.waits d where d.ctid = any (array(
        select w.ctid from jobforge.waits w where w.until < v_now limit p_limit for update of w skip locked));
    delete from jobforge.webhook_endpoints d where d.ctid = any (array(  -- a tenant may make up URLs without end
        select e.ctid from jobforge.webhook_endpoints e
         where e.disabled_at is null and e.last_failed_at < v_now - interval '90 days'
         order by e.last_failed_at limit p_limit for update of e skip locked));
    delete from jobforge.workers d where d.ctid = any (array(  -- one that is in a heartbeat just now is passed over
        select w.ctid from jobforge.workers w
         where w.alive_until < v_now - interval '1 hour' and w.worker_id is distinct from p_worker_id
           and not exists (select from jobforge.leases l where l.worker_id = w.worker_id)
           for update of w skip locked));
    get diagnostics v_moved = row_count;
    return query select 'forgotten', v_moved, null::json;
    if p_prune is not false then
        return query select 'pruned', sum(p.pruned)::integer, null::json from jobforge.prune(p_limit) p;
    end if;
end
$function$
;
alter function jobforge.upkeep owner to jobforge_owner;
grant execute on function jobforge.upkeep to jobforge_admin;
grant execute on function jobforge.upkeep to jobforge_worker;
comment on function jobforge.upkeep is 'Rescue, promote, late cancels, dead workers, pruning; in bounded steps.';

-- function jobforge.use_tenancy
CREATE OR REPLACE FUNCTION jobforge.use_tenancy(p_tenancy text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if p_tenancy is null or p_tenancy not in ('plain', 'signed') then
        raise exception 'jobforge: tenancy is plain or signed' using errcode = 'JF003', hint = 'Pass one of the two.';
    end if;
    insert into jobforge.settings (tenancy) values (p_tenancy)
    on conflict (only_row) do update set tenancy = excluded.tenancy;  -- also the lock that retire_tenant_key waits for
    if p_tenancy = 'signed' and not exists (select from jobforge.tenant_keys k where k.retired_at is null) then
        raise exception 'jobforge: signed tenancy needs a key'
            using errcode = 'JF008', hint = 'Add one, and give it to the application: jobforge tenancy add-key.';
    end if;
end
$function$
;
alter function jobforge.use_tenancy owner to jobforge_owner;
comment on function jobforge.use_tenancy is 'Switch to plain or signed tenancy. For jobforge_owner.';

-- function jobforge.waits_in_line
CREATE OR REPLACE FUNCTION jobforge.waits_in_line(p_tenant_id text, p_ordering_key text, p_job_id uuid)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return exists (select from jobforge.lines l
                    where l.tenant_id = p_tenant_id and l.ordering_key = p_ordering_key and l.job_id < p_job_id
                      and exists (select from jobforge.jobs j where j.id = l.job_id))
        or exists (select from jobforge.leases r
                    where r.tenant_id = p_tenant_id and r.ordering_key = p_ordering_key and r.job_id <> p_job_id);
end
$function$
;
alter function jobforge.waits_in_line owner to jobforge_owner;
comment on function jobforge.waits_in_line is 'Whether another job of its line comes before a job.';

-- function jobforge.wake
CREATE OR REPLACE FUNCTION jobforge.wake(p_queue text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    c_asleep constant integer := 1785686131;  -- of all such locks, as in doze
begin
    if p_queue <> ':cancel'  -- which is for those who run something
       and clock_timestamp() < now() + interval '50 ms'
       and (case when pg_try_advisory_lock(c_asleep, hashtext(p_queue))  -- "and" promises no order
                 then pg_advisory_unlock(c_asleep, hashtext(p_queue)) else false end)
    then
        return;
    end if;
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify('jobforge', p_queue);
    end if;
end
$function$
;
alter function jobforge.wake owner to jobforge_owner;
comment on function jobforge.wake is 'A hint for sleeping workers that the queue has got something.';

-- function jobforge.wake_all
CREATE OR REPLACE FUNCTION jobforge.wake_all()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
    v_queue text collate "C" := '';
begin
    for i in 1 .. 1000 loop
        select min(r.queue) into v_queue from jobforge.ready r where r.queue > v_queue;
        exit when v_queue is null;
        perform jobforge.wake(v_queue);
    end loop;
end
$function$
;
alter function jobforge.wake_all owner to jobforge_owner;
comment on function jobforge.wake_all is 'Wake the workers of all queues in which something waits.';

-- function jobforge.wake_kept
CREATE OR REPLACE FUNCTION jobforge.wake_kept(p_ended jobforge.ended_run[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_material TO 'off'
 SET jit TO 'off'
AS $function$
declare
    v_old boolean := current_setting('transaction_isolation') in ('repeatable read', 'serializable');
begin
    perform jobforge.wake(k.queue) from (
        select j.queue from unnest(p_ended) e join jobforge.jobs j on j.id = e.job_id
         where e.limited or v_old and e.ordering_key is not null
        union
        select j.queue from unnest(p_ended) e cross join lateral (
               select l.job_id from jobforge.lines l
                where l.tenant_id = e.tenant_id and l.ordering_key = e.ordering_key order by l.job_id limit 1) l
          join jobforge.jobs j on j.id = l.job_id
         where not v_old) k;
end
$function$
;
alter function jobforge.wake_kept owner to jobforge_owner;
comment on function jobforge.wake_kept is 'Hints for what the end of a run makes room for.';

-- function jobforge.walk_jobs
CREATE OR REPLACE FUNCTION jobforge.walk_jobs(p_tenant_id text, p_subject text, p_states text[], p_before uuid, p_after uuid, p_limit integer)
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
begin
    if p_subject is not null and p_tenant_id is not null then
        return array(select j.id from jobforge.jobs j
                      where j.tenant_id = p_tenant_id and j.subject = p_subject and j.id < p_before and j.id >= p_after
                      order by j.id desc limit p_limit);
    elsif p_states is null and p_tenant_id is not null then
        return array(select j.id from jobforge.jobs j
                      where j.tenant_id = p_tenant_id and j.id < p_before and j.id >= p_after
                      order by j.id desc limit p_limit);
    elsif p_states is null then
        return array(select j.id from jobforge.jobs j where j.id < p_before and j.id >= p_after order by j.id desc limit p_limit);
    elsif p_tenant_id is not null then
        return array(select w.job_id from unnest(p_states) as s (state) cross join lateral (
                            select o.job_id from jobforge.outcomes o
                             where o.tenant_id = p_tenant_id and o.state = s.state
                               and o.job_id < p_before and o.job_id >= p_after
                             order by o.job_id desc limit p_limit) w
                      order by w.job_id desc limit p_limit);
    end if;
    return array(select o.job_id from jobforge.outcomes o
                  where o.state in ('dead', 'canceled') and o.job_id < p_before and o.job_id >= p_after
                  order by o.job_id desc limit p_limit);
end
$function$
;
alter function jobforge.walk_jobs owner to jobforge_owner;
comment on function jobforge.walk_jobs is 'The next jobs of an index, newest first.';

-- function jobforge.why_ended
CREATE OR REPLACE FUNCTION jobforge.why_ended(p_job jobforge.all_jobs, p_last jobforge.all_attempts)
 RETURNS TABLE(code text, says text, detail json)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select w.code, w.says, json_build_object('finished_at', p_job.finished_at, 'run', p_last.run, 'outcome', p_last.outcome)
      from (values
        (p_job.state = 'succeeded', 'succeeded',
         format('it succeeded in run %s, at attempt %s of %s', p_job.run, p_job.attempt, p_job.max_attempts)),
        (p_job.state = 'canceled' and p_last.finished_at is distinct from p_job.finished_at,
         'canceled_waiting', 'it was canceled while it waited'),
        (p_job.state = 'canceled', 'canceled_running', format('it was canceled in run %s', p_job.run)),
        (p_last.outcome = 'lost', 'crashed',
         format('it has lost %s workers in a row, and is taken for what killed them', p_job.crashes)),
        (p_job.attempt >= p_job.max_attempts, 'attempts_used',
         case p_job.max_attempts when 1 then 'its only attempt has failed'
                                 else format('all its %s attempts have failed', p_job.max_attempts) end),
        (true, 'final', format('attempt %s failed in a way that no retry can cure', p_job.attempt))
      ) w (holds, code, says)
     where w.holds limit 1
$function$
;
alter function jobforge.why_ended owner to jobforge_owner;
grant execute on function jobforge.why_ended to jobforge_admin;
grant execute on function jobforge.why_ended to jobforge_app;
comment on function jobforge.why_ended is 'How a job came to its end.';

-- function jobforge.why_job
CREATE OR REPLACE FUNCTION jobforge.why_job(p_job_id uuid)
 RETURNS TABLE(code text, says text, detail json)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_now     timestamptz := jobforge.now();
    v_job     jobforge.all_jobs;
    v_last    jobforge.all_attempts;
    v_workers record;
begin
    select * into v_job from jobforge.get_job(p_job_id);
    if not found then
        return;
    end if;
    select * into v_last from jobforge.all_attempts a
     where a.job_id = v_job.id and a.tenant_id = v_job.tenant_id order by a.run desc limit 1;
    if v_job.state = 'queued' then
        return query select * from jobforge.why_queued(v_job);
    elsif v_job.state = 'scheduled' then
        return query
            select case when v_job.due_at <= v_now then 'overdue' else w.code end,
                   case when v_job.due_at <= v_now
                        then 'it has been due since ' || jobforge.moment_text(v_job.due_at) || ': the next claim or upkeep of any worker queues it'
                        else w.says || jobforge.moment_text(v_job.due_at) end
                   || case when v_job.attempt > 0 then format(', as attempt %s of %s', v_job.attempt + 1, v_job.max_attempts) else '' end,
                   json_build_object('due_at', v_job.due_at, 'attempt', v_job.attempt, 'max_attempts', v_job.max_attempts)
              from (select case when v_last.outcome in ('failed', 'timed_out', 'lost') then 'retry'
                                when v_last.outcome in ('snoozed', 'released') then v_last.outcome else 'delayed' end,
                           case when v_last.outcome in ('failed', 'timed_out', 'lost') then 'it is retried at '
                                when v_last.outcome in ('snoozed', 'released') then 'its last run put it off until '
                                else 'it was enqueued for ' end) w (code, says);
        return query select w.* from jobforge.why_queued(v_job) w where w.code not in ('next', 'behind');  -- were it due
    elsif v_job.state = 'running' then
        select * into v_workers from jobforge.workers_of_job(v_job.id);
        return query
            select case when v_workers.alive_until > v_now then 'running' else 'worker_lost' end,
                   case when v_workers.alive_until > v_now
                        then format('it is running since %s, as attempt %s of %s; its worker, up since %s, is taken for alive '
                                    'until %s; its lease ends at %s', jobforge.moment_text(v_job.claimed_at),
                                    v_job.attempt, v_job.max_attempts, jobforge.moment_text(v_workers.started_at),
                                    jobforge.moment_text(v_workers.alive_until), jobforge.moment_text(v_job.deadline))
                        else 'its worker has not been heard of' || coalesce(' since ' || jobforge.moment_text(v_workers.alive_until), '')
                             || ': the next upkeep of any worker takes the job back' end,
                   json_build_object('worker_id', v_job.worker_id, 'claimed_at', v_job.claimed_at, 'attempt', v_job.attempt, 'deadline',
                                     v_job.deadline, 'started_at', v_workers.started_at, 'alive_until', v_workers.alive_until);
        return query
            select 'past_deadline', 'its lease has passed its deadline, ' || jobforge.moment_text(v_job.deadline) || ': it is taken back',
                   json_build_object('deadline', v_job.deadline) where v_job.deadline <= v_now;
        return query
            select 'cancel_requested', 'it was asked to stop at ' || jobforge.moment_text(c.requested_at),
                   json_build_object('requested_at', c.requested_at)
              from jobforge.cancel_requests c where c.job_id = v_job.id and c.tenant_id = v_job.tenant_id;
    else
        return query select * from jobforge.why_ended(v_job, v_last);
    end if;
    return query
        select 'last_run', format('run %s ended as %s%s', v_last.run, v_last.outcome,
                                  coalesce(': ' || nullif(concat_ws(': ', v_last.error ->> 'type',
                                                                    left(v_last.error ->> 'message', 500)), ''), '')),
               json_build_object('run', v_last.run, 'outcome', v_last.outcome, 'finished_at', v_last.finished_at,
                                 'worker_id', v_last.worker_id)
         where v_last.run is not null and v_job.state <> 'succeeded';
end
$function$
;
alter function jobforge.why_job owner to jobforge_owner;
grant execute on function jobforge.why_job to jobforge_admin;
grant execute on function jobforge.why_job to jobforge_app;
comment on function jobforge.why_job is 'Why a job does not run, or how it came to its end.';

-- function jobforge.why_limited
CREATE OR REPLACE FUNCTION jobforge.why_limited(p_job_id uuid)
 RETURNS TABLE(code text, says text, detail json)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
    v_admin boolean := pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user), 'jobforge_admin', 'member');
    v_job   jobforge.jobs;
    v_limit jobforge.limits;
    v_told  boolean;  -- whoever asks may know the number
    v_pid   integer;  -- of who has changed the limit, and not committed it
    v_other uuid;
begin
    select * into v_job from jobforge.jobs j
     where j.id = p_job_id and (j.tenant_id = (select jobforge.current_tenant()) or v_admin);
    for v_limit in
        select * from jobforge.limits l
         where (l.scope = 'tenant' and l.name = v_job.tenant_id) or (l.scope = 'queue' and l.name = v_job.queue)
            or (l.scope = 'task' and l.name = v_job.type)
         order by l.scope desc
    loop
        v_told := v_admin or v_limit.scope = 'tenant';
        v_pid := null;
        if v_limit.paused_at is not null then
            return query select v_limit.scope || '_paused',
                format('its %s is paused since %s', v_limit.scope, jobforge.moment_text(v_limit.paused_at)),
                json_build_object('paused_at', v_limit.paused_at);
            continue;
        end if;
        if v_limit.max_running > 0 or v_limit.rate is not null then  -- those that claims lock
            v_pid := jobforge.held_by(v_limit.scope, v_limit.name);
        end if;
        if v_pid is not null then
            return query select v_limit.scope || '_held',
                concat(format('the limits of its %s were changed in a transaction that is still open: claims give none of its jobs '
                              'until that is committed or rolled back', v_limit.scope),
                       case when v_admin then case v_pid when 0 then ', by commit prepared or rollback prepared'
                                                         else format(', by backend %s', v_pid) end end),
                json_build_object('pid', case when v_admin then v_pid end);
        end if;
        if v_limit.max_running is not null and jobforge.running_of(v_limit) >= v_limit.max_running then
            return query select v_limit.scope || '_full',
                concat(format('its %s runs as many jobs as it may', v_limit.scope), case when v_told then ': ' || v_limit.max_running end),
                json_build_object('max_running', case when v_told then v_limit.max_running end);
        elsif v_limit.rate is not null and jobforge.tokens_of(v_limit) < 1 then
            return query select v_limit.scope || '_rate',
                concat(format('its %s begins as many jobs as it may', v_limit.scope), case when v_told then ': ' || v_limit.rate || ' a second' end),
                json_build_object('rate', case when v_told then v_limit.rate end);
        end if;
    end loop;
    if v_job.ordering_key is not null and jobforge.waits_in_line(v_job.tenant_id, v_job.ordering_key, v_job.id) then
        v_other := coalesce(
            (select r.job_id from jobforge.leases r
              where r.tenant_id = v_job.tenant_id and r.ordering_key = v_job.ordering_key limit 1),
            (select l.job_id from jobforge.lines l
              where l.tenant_id = v_job.tenant_id and l.ordering_key = v_job.ordering_key order by l.job_id limit 1));
        return query select 'in_line',
            format('the job %s of its ordering key, %s, comes first', v_other, v_job.ordering_key),
            json_build_object('before', v_other, 'ordering_key', v_job.ordering_key);
    end if;
end
$function$
;
alter function jobforge.why_limited owner to jobforge_owner;
grant execute on function jobforge.why_limited to jobforge_admin;
grant execute on function jobforge.why_limited to jobforge_app;
comment on function jobforge.why_limited is 'What keeps claims from a job: its tenant, queue, task or line.';

-- function jobforge.why_queued
CREATE OR REPLACE FUNCTION jobforge.why_queued(p_job jobforge.all_jobs)
 RETURNS TABLE(code text, says text, detail json)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_held    boolean := false;
    v_in_line boolean := false;
    v_quota   integer := (select l.max_waiting from jobforge.limits l where l.tenant_id = p_job.tenant_id);
    v_suspect boolean := p_job.crashes >= 2;
    v_workers record;
    v_before  bigint;
    c_look    constant integer := 10000;  -- so many before it are counted
begin
    select * into v_workers from jobforge.workers_of_job(p_job.id);
    for code, says, detail in select * from jobforge.why_limited(p_job.id) loop
        v_held := true;
        v_in_line := v_in_line or code = 'in_line';
        return next;
    end loop;
    if v_workers.living = 0 then
        return query select 'no_worker', format('no live worker works on the queue %s%s', p_job.queue,
                                                '; the last one lived until ' || jobforge.moment_text(v_workers.last_alive)),
                            json_build_object('last_alive', v_workers.last_alive);
    elsif v_workers.knowing = 0 then
        return query select 'unknown_type', format('of the live workers of its queue (%s) none knows the type %s',
                                                   v_workers.living, p_job.type),
                            json_build_object('living', v_workers.living);
    end if;
    if v_suspect then
        return query select 'suspect', format('it has lost its last %s workers: it runs alone, in a worker that is idle or '
                                              'makes way for it', p_job.crashes),
                            json_build_object('crashes', p_job.crashes);
    end if;
    v_before := (select count(*) from (
        select from jobforge.ready r
         where r.queue = p_job.queue and r.tenant_id = p_job.tenant_id
           and r.lane = (select o.lane from jobforge.ready o where o.tenant_id = p_job.tenant_id and o.job_id = p_job.id)
           and (r.priority, r.job_id) < (p_job.priority, p_job.id) limit c_look) b);
    return query
        select case when v_before = 0 then 'next' else 'behind' end,
               case when v_before = 0 then 'it is the next of its tenant in this queue'
                    when v_before = 1 then 'one job of its tenant comes first in this queue'
                    else format('%s jobs of its tenant come first in this queue',
                                case when v_before = c_look then c_look || ' or more' else v_before::text end) end
               || case when v_workers.knowing > 0 and not v_held
                       then format('; workers that know its type: %s', v_workers.knowing) else '' end
               || case when p_job.attempt > 0
                       then format('; it has used %s of %s attempts', p_job.attempt, p_job.max_attempts) else '' end,
               json_build_object('before', v_before, 'knowing', v_workers.knowing, 'attempt', p_job.attempt,
                                 'max_attempts', p_job.max_attempts)
         where not v_in_line;
    if v_quota is not null then
        return query select 'quota', format('its tenant may have %s waiting jobs: more are refused', v_quota),
                            json_build_object('max_waiting', v_quota);
    end if;
end
$function$
;
alter function jobforge.why_queued owner to jobforge_owner;
grant execute on function jobforge.why_queued to jobforge_admin;
grant execute on function jobforge.why_queued to jobforge_app;
comment on function jobforge.why_queued is 'Why a queued job is not running.';

-- function jobforge.workers_of
CREATE OR REPLACE FUNCTION jobforge.workers_of(p_queue text, p_type text, p_worker_id uuid DEFAULT NULL::uuid)
 RETURNS TABLE(living integer, knowing integer, last_alive timestamp with time zone, alive_until timestamp with time zone, started_at timestamp with time zone)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select count(*) filter (where w.here and w.lives)::integer,
           count(*) filter (where w.here and w.lives and (w.types is null or p_type = any (w.types)))::integer,
           max(w.alive_until) filter (where w.here),
           max(w.alive_until) filter (where w.worker_id = p_worker_id),
           max(w.started_at) filter (where w.worker_id = p_worker_id)
      from (select k.*, k.queues is null or p_queue = any (k.queues) as here, k.alive_until > n.now as lives
              from jobforge.workers k cross join (select jobforge.now() as now) n) w
$function$
;
alter function jobforge.workers_of owner to jobforge_owner;
grant execute on function jobforge.workers_of to jobforge_admin;
comment on function jobforge.workers_of is 'How many workers live that could run such a job.';

-- function jobforge.workers_of_job
CREATE OR REPLACE FUNCTION jobforge.workers_of_job(p_job_id uuid)
 RETURNS TABLE(living integer, knowing integer, last_alive timestamp with time zone, alive_until timestamp with time zone, started_at timestamp with time zone)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    select w.living, w.knowing, w.last_alive, w.alive_until, w.started_at
      from jobforge.jobs j
      left join jobforge.leases l on l.job_id = j.id
     cross join lateral jobforge.workers_of(j.queue, j.type, l.worker_id) w
     where j.id = p_job_id
       and (j.tenant_id = (select jobforge.current_tenant())
            or pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user), 'jobforge_admin', 'member'))
$function$
;
alter function jobforge.workers_of_job owner to jobforge_owner;
grant execute on function jobforge.workers_of_job to jobforge_admin;
grant execute on function jobforge.workers_of_job to jobforge_app;
comment on function jobforge.workers_of_job is 'How many workers live that could run this job.';
