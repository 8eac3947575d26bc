-- Tenants that are paused, and those whose quota is used up: of the first 100 that have one of up to 20,000 jobs, in the
-- first 50 queues. So the look costs the same however many jobs wait, and a quota of millions is not counted out.
with recursive queue (name, n) as (
    (select r.queue, 1 from jobforge.ready r order by r.queue limit 1)
    union all
    select (select r.queue from jobforge.ready r where r.queue > q.name order by r.queue limit 1), q.n + 1
      from queue q where q.name is not null and q.n < 50
), limited as (
    select t.tenant_id, t.max_waiting from jobforge.tenants t
     where t.max_waiting <= 20000 order by t.tenant_id limit 100
)
select (select count(*) from (select from jobforge.tenants t where t.paused_at is not null limit 10000) p) as paused,
       (select count(*) from limited l
         cross join lateral (
               select count(*) as jobs from (
                   select from jobforge.scheduled s where s.tenant_id = l.tenant_id limit l.max_waiting) s) later
         cross join lateral (
               select coalesce(sum(one.jobs), 0) as jobs from queue q cross join lateral (
                   select count(*) as jobs from (
                       select from jobforge.ready r where r.queue = q.name and r.suspect = any ('{false,true}'::boolean[])
                          and r.tenant_id = l.tenant_id limit l.max_waiting) r) one) now
         where later.jobs + now.jobs >= l.max_waiting) as full
