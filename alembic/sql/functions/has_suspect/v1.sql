-- Whether a suspect waits that this worker could run, for one that is busy: it claims nothing more until it is empty, and
-- asks claim_suspect then. A look costs index probes and takes no locks; it sees the first 1,000 of a queue.
create or replace function jobforge.has_suspect(p_queues text[], p_types text[]) returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
    return exists (
        select from unnest(p_queues) q (name) cross join lateral (
               select r.type, r.tenant_id, r.job_id from jobforge.ready r where r.queue = q.name and r.lane = '!suspect' limit 1000) r
         where r.type = any (p_types)
           and not exists (select from jobforge.jobs j where j.id = r.job_id and j.ordering_key is not null
                              and jobforge.waits_in_line(r.tenant_id, j.ordering_key, r.job_id))
           and (not exists (select from jobforge.limits)
                or not (jobforge.is_held('queue', q.name) or jobforge.is_held('task', r.type)
                        or jobforge.is_held('tenant', r.tenant_id))));
end
$$;

grant execute on function jobforge.has_suspect to jobforge_worker;
comment on function jobforge.has_suspect is 'Whether a suspect waits that a worker could run.';
