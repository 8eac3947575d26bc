-- Claims one suspect, of the first of these queues that has any: claim_suspect. What was said of its tenant, queue and task
-- holds for it as for any job.
create or replace function jobforge.claim_alone(
    p_worker_id uuid, p_queues text[], p_types text[], p_said boolean
) returns table (
    job_id uuid, tenant_id text, queue text, type text, priority smallint, payload text, run integer, attempt integer,
    max_attempts integer, crashes integer, lease_token uuid, claimed_at timestamptz, deadline timestamptz,
    timeout interval, run_at timestamptz, created_at timestamptz, idempotency_key text, parent_id uuid, trace text,
    tenant_token text
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
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
$$;

comment on function jobforge.claim_alone is 'Claim one suspect.';
