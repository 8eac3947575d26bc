-- A run that has just ended: its lease, already deleted, and how it ended. Passed to jobforge.settle.
create type jobforge.ended_run as (
    item       integer,      -- the position in the caller's array; 0: no worker told it
    job_id     uuid,
    tenant_id  text,
    token      uuid,
    worker_id  uuid,
    run        integer,
    attempt    integer,
    crashes    integer,
    claimed_at timestamptz,
    outcome    text,
    run_ms     integer,
    error      json,
    result     json,
    delay      interval,     -- what the handler asked for; NULL: the job's retry policy
    final      boolean,      -- a failure that no retry can cure
    ordering_key text,       -- of its line
    limited    boolean       -- something was said of its tenant, queue or task when it was claimed
);
comment on type jobforge.ended_run is 'A run that has just ended, and how.';
