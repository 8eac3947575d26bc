-- Tenants, queues and tasks that are paused, and tenants whose quota is used up: of the first 100 that have one of up to 20,000 jobs. So the
-- look costs the same however many jobs wait, and a quota of millions is not counted out.
with limited as (
    select l.tenant_id, l.max_waiting from jobforge.limits l
     where l.scope = 'tenant' and l.max_waiting <= 20000 order by l.name limit 100
)
select (select count(*) from (select from jobforge.limits l
                               where l.scope = 'tenant' and l.paused_at is not null limit 10000) p) as tenants,
       (select count(*) from (select from jobforge.limits l
                               where l.scope = 'queue' and l.paused_at is not null limit 10000) p) as queues,
       (select count(*) from (select from jobforge.limits l
                               where l.scope = 'task' and l.paused_at is not null limit 10000) p) as tasks,
       (select count(*) from limited l
         cross join lateral (
               select count(*) as jobs from (
                   select from jobforge.scheduled s where s.tenant_id = l.tenant_id limit l.max_waiting) s) later
         cross join lateral (
               select count(*) as jobs from (
                   select from jobforge.ready r where r.tenant_id = l.tenant_id limit l.max_waiting) r) now
         where later.jobs + now.jobs >= l.max_waiting) as full
