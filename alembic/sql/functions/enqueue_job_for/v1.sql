-- enqueue_job for the tenant that is named first, whatever the transaction's own is. For administrators; it is the
-- grant that decides, for inside a definer function nobody can tell who called.
create or replace function jobforge.enqueue_job_for(
    p_tenant_id       text,
    p_type            text,
    p_payload         json        default '{}',
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
    p_on_duplicate    text        default null,
    p_ordering_key    text        default null
) returns table (id uuid, created boolean, payload_differs boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
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
$$;

grant execute on function jobforge.enqueue_job_for to jobforge_admin;
comment on function jobforge.enqueue_job_for is 'Enqueue one job for a tenant; for administrators.';
