-- Enqueues one job in the caller's transaction: it exists if and only if that commits. NULL means the default.
-- With an idempotency key, (tenant, type, key) names one job until its retention ends: a second call gets the original's
-- id, created = false, and whether its payload differs (not, where the job itself is pruned). At READ COMMITTED that holds for racing twins too: the insert
-- of the key waits for the twin's transaction, and the next statement sees what it committed. Above it a twin
-- newer than the snapshot is Postgres's own 40001.
-- With a unique key it names one job at a time instead; p_on_duplicate says what becomes of this call while there is
-- one: keep (nothing), replace (a waiting one gets this payload), merge. See take_unique_key.
-- With an ordering key it stands in that line of the tenant's: lines.
create or replace function jobforge.enqueue_job(
    p_type            text,
    p_payload         json        default '{}',
    p_tenant_id       text        default null,
    p_queue           text        default null,
    p_priority        integer     default null,
    p_run_at          timestamptz default null,
    p_delay           interval    default null,
    p_idempotency_key text        default null,
    p_max_attempts    integer     default null,
    p_retry           jsonb       default null,
    p_timeout         interval    default null,
    p_trace           json        default null,
    p_parent_id       uuid        default null,
    p_subject         text        default null,
    p_notify          boolean     default true,
    p_unique_key      text        default null,
    p_on_duplicate    text        default null,  -- keep
    p_ordering_key    text        default null
) returns table (id uuid, created boolean, payload_differs boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
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
$$;

grant execute on function jobforge.enqueue_job to jobforge_app, jobforge_admin;
comment on function jobforge.enqueue_job is 'Enqueue one job in this transaction. The same tenant, type and key: the original.';
