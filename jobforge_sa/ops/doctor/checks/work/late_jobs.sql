-- The oldest job that some tenant has waiting in a queue. Where workers live and it grows, there are too few of them, or
-- their handlers are slow. Jobs of whom claims give nothing for now, because of a pause, a limit or an earlier job of their
-- line, are meant to wait, and left out. Looked at are 200 queues, and the first 1,000 tenants of each.
with recursive queue (name, n) as (
    (select r.queue, 1 from jobforge.ready r order by r.queue limit 1)
    union all
    select (select r.queue from jobforge.ready r where r.queue > q.name order by r.queue limit 1), q.n + 1
      from queue q where q.name is not null and q.n < 200
), head as (
    select q.name as queue, h.lane, h.tenant_id, h.job_id from queue q cross join lateral (
        with recursive head (lane, tenant_id, job_id, n) as (
            (select r.lane, r.tenant_id, r.job_id, 1 from jobforge.ready r where r.queue = q.name
              order by r.lane, r.tenant_id, r.priority, r.job_id limit 1)
            union all
            select next.lane, next.tenant_id, next.job_id, h.n + 1
              from head h cross join lateral (
                   select r.lane, r.tenant_id, r.job_id from jobforge.ready r
                    where r.queue = q.name and (r.lane, r.tenant_id) > (h.lane, h.tenant_id)
                    order by r.lane, r.tenant_id, r.priority, r.job_id limit 1) next
             where h.n < 1000
        ) select * from head) h
), held as materialized (
    -- a bucket that is less than half full is being emptied: with 20 a second a look may find two that nobody has taken yet
    select l.scope, l.name from jobforge.list_limits() l
     where l.paused_at is not null or l.running >= l.max_running or l.bucket < greatest(1, coalesce(l.burst, l.rate) / 2)
), oldest as (
    select distinct on (h.queue) h.queue, h.job_id, h.tenant_id, j.type, j.run_at
      from head h join jobforge.jobs j on j.id = h.job_id
     where h.lane <> '!ordered'
       and h.queue not in (select l.name from held l where l.scope = 'queue')  -- hashed, beside 10,000: 0.2 s, joined 1.5
       and h.tenant_id not in (select l.name from held l where l.scope = 'tenant')
       and j.type not in (select l.name from held l where l.scope = 'task')
     order by h.queue, j.run_at
)
select case when o.run_at < jobforge.now() - interval '1 hour' and limited.scopes is null then 'warning' else 'note' end as level,
       format('queue %s', o.queue) as object,
       format('a job of %s waits since %s; live workers: %s%s', o.tenant_id, jobforge.moment_text(o.run_at), served.living,
              '; limited: ' || limited.scopes) as detail,
       format('jobforge why %s', o.job_id) as remedy
  from oldest o cross join lateral jobforge.workers_of(o.queue, o.type) served
 cross join lateral (
       select string_agg('its ' || l.scope, ', ' order by l.scope desc) as scopes from jobforge.limits l
        where (l.max_running is not null or l.rate is not null)
          and (l.scope, l.name) in (('tenant', o.tenant_id), ('queue', o.queue), ('task', o.type))) limited
 where served.knowing > 0 and o.run_at < jobforge.now() - interval '5 minutes';
