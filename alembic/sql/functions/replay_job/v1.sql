-- A new job like one of this tenant, due now, whatever became of that: its child, with the cause replay. It has neither the
-- original's idempotency key nor its unique key, or it would be the original; in its line it stands last. p_if_gone says what the original was, as
-- an item of enqueue_jobs, and counts only where the original is pruned, or is not this tenant's: then the new job is
-- what its caller could have enqueued himself. Only an administrator's, of another tenant's job, has the cause copy: by it
-- the map of that job leads here, and no tenant can put its jobs into another's map. Returns the new
-- job; nothing for an unknown id without p_if_gone.
create or replace function jobforge.replay_job(p_job_id uuid, p_if_gone json default null, p_notify boolean default true)
returns setof jobforge.all_jobs
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
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
$$;

grant execute on function jobforge.replay_job to jobforge_app, jobforge_admin;
comment on function jobforge.replay_job is 'A new job like one of this tenant: its child, with the cause replay.';
