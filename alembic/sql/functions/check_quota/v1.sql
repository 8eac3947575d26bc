-- Refuses more waiting jobs than the tenant's quota. It is called after the new ones were stored, and counts those
-- and what is committed, no further than to the quota: in the queues of the new jobs, and in the next 200 that there are,
-- for whoever makes thousands of queues must not slow the enqueues of others. So who may name the queues of its jobs can
-- spread over more than that, and is held by no quota: applications name queues, and not their users. Nothing is locked: a
-- long import would stop all other requests of its tenant. So transactions that race at the very edge may pass it together.
create or replace function jobforge.check_quota(p_tenant_id text, p_queues text[]) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_quota   integer := (select t.max_waiting from jobforge.tenants t where t.tenant_id = p_tenant_id);
    v_left    integer := v_quota + 1;  -- so many more, and it is over
    v_queue   text collate "C" := '';
    v_queues  text[] := array(select distinct q from unnest(p_queues) q);
begin
    if v_quota is null then
        return;
    end if;
    if cardinality(v_queues) >= 100 then  -- as many as enqueue_jobs passes on: there may be more
        raise exception 'jobforge: a tenant with a quota enqueues into 99 queues at most in one call'
            using errcode = 'JF003', hint = 'Name fewer queues: one for each kind of worker is enough.';
    end if;
    v_left := v_left - (select count(*) from (
        select from jobforge.scheduled s where s.tenant_id = p_tenant_id limit v_left) s);
    for i in 1 .. cardinality(v_queues) + 200 loop
        exit when v_left <= 0;
        if i <= cardinality(v_queues) then
            v_left := v_left - jobforge.count_ready(v_queues[i], p_tenant_id, v_left);
            continue;
        end if;
        -- the index begins with the queue: from one to the next, however many jobs of others there are
        select min(r.queue) into v_queue from jobforge.ready r where r.queue > v_queue;
        exit when v_queue is null;
        if v_queue <> all (v_queues) then
            v_left := v_left - jobforge.count_ready(v_queue, p_tenant_id, v_left);
        end if;
    end loop;
    if v_left <= 0 then
        raise exception 'jobforge: the tenant''s quota of % waiting jobs is used up', v_quota
            using errcode = 'JF007', hint = 'Wait until some have run; or an administrator raises it: limit_tenant.';
    end if;
end
$$;

comment on function jobforge.check_quota(text, text[]) is 'Raises JF007 where a tenant has more waiting jobs than its quota.';
