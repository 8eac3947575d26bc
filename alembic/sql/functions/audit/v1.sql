-- The auditor: in this statement's snapshot each job stands in exactly one place, and nothing stands anywhere
-- without its job. One row for each fault; none is the only good answer.
create or replace function jobforge.audit() returns table (job_id uuid, fault text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
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
$$;

grant execute on function jobforge.audit() to jobforge_admin;
comment on function jobforge.audit() is 'One row for each job that does not stand in exactly one place.';
