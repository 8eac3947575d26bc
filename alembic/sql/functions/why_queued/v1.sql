-- Why a queued job is not running: what keeps it back, else how many come before it, else that nothing does. Who waits in
-- line is not told how many come before it: the job of its key that does is named.
create or replace function jobforge.why_queued(p_job jobforge.all_jobs)
returns table (code text, says text, detail json)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_held    boolean := false;
    v_in_line boolean := false;
    v_quota   integer := (select l.max_waiting from jobforge.limits l where l.tenant_id = p_job.tenant_id);
    v_suspect boolean := p_job.crashes >= 2;
    v_workers record;
    v_before  bigint;
    c_look    constant integer := 10000;  -- so many before it are counted
begin
    select * into v_workers from jobforge.workers_of_job(p_job.id);
    for code, says, detail in select * from jobforge.why_limited(p_job.id) loop
        v_held := true;
        v_in_line := v_in_line or code = 'in_line';
        return next;
    end loop;
    if v_workers.living = 0 then
        return query select 'no_worker', format('no live worker works on the queue %s%s', p_job.queue,
                                                '; the last one lived until ' || jobforge.moment_text(v_workers.last_alive)),
                            json_build_object('last_alive', v_workers.last_alive);
    elsif v_workers.knowing = 0 then
        return query select 'unknown_type', format('of the live workers of its queue (%s) none knows the type %s',
                                                   v_workers.living, p_job.type),
                            json_build_object('living', v_workers.living);
    end if;
    if v_suspect then
        return query select 'suspect', format('it has lost its last %s workers: it runs alone, in a worker that is idle or '
                                              'makes way for it', p_job.crashes),
                            json_build_object('crashes', p_job.crashes);
    end if;
    v_before := (select count(*) from (
        select from jobforge.ready r
         where r.queue = p_job.queue and r.tenant_id = p_job.tenant_id
           and r.lane = (select o.lane from jobforge.ready o where o.tenant_id = p_job.tenant_id and o.job_id = p_job.id)
           and (r.priority, r.job_id) < (p_job.priority, p_job.id) limit c_look) b);
    return query
        select case when v_before = 0 then 'next' else 'behind' end,
               case when v_before = 0 then 'it is the next of its tenant in this queue'
                    when v_before = 1 then 'one job of its tenant comes first in this queue'
                    else format('%s jobs of its tenant come first in this queue',
                                case when v_before = c_look then c_look || ' or more' else v_before::text end) end
               || case when v_workers.knowing > 0 and not v_held
                       then format('; workers that know its type: %s', v_workers.knowing) else '' end
               || case when p_job.attempt > 0
                       then format('; it has used %s of %s attempts', p_job.attempt, p_job.max_attempts) else '' end,
               json_build_object('before', v_before, 'knowing', v_workers.knowing, 'attempt', p_job.attempt,
                                 'max_attempts', p_job.max_attempts)
         where not v_in_line;
    if v_quota is not null then
        return query select 'quota', format('its tenant may have %s waiting jobs: more are refused', v_quota),
                            json_build_object('max_waiting', v_quota);
    end if;
end
$$;

grant execute on function jobforge.why_queued to jobforge_app, jobforge_admin;
comment on function jobforge.why_queued is 'Why a queued job is not running.';
