-- Enqueues an array of jobs, each an object with enqueue_job's arguments without p_, in one statement: 10,000 jobs
-- are one round trip. All or nothing: a bad one raises with its position. Answers come in the order of the array.
-- Keys are met sorted, in one order whatever the database's collation (clients sort larger calls themselves), so that two
-- bulk calls with common keys wait for each other instead of deadlocking. Jobs with a unique key go one by one through
-- enqueue_job, before the others.
create or replace function jobforge.enqueue_jobs(p_jobs json, p_tenant_id text default null, p_notify boolean default true)
returns table ("position" integer, id uuid, created boolean, payload_differs boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- keys are met by key, however small the planner takes a table for
set jit = off  -- the price of what is switched off looks like a large query
as $$
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
$$;

grant execute on function jobforge.enqueue_jobs to jobforge_app, jobforge_admin;
comment on function jobforge.enqueue_jobs is 'Enqueue an array of jobs in this transaction, all or nothing.';
