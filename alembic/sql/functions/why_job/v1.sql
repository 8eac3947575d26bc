-- Why a job does not run, or how it came to its end: the answer first, then what else keeps it back, then how its last run
-- ended. Codes are for programs, the sentences for people. Nothing for an unknown id; rights as in get_job.
create or replace function jobforge.why_job(p_job_id uuid)
returns table (code text, says text, detail json)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     timestamptz := jobforge.now();
    v_job     jobforge.all_jobs;
    v_last    jobforge.all_attempts;
    v_workers record;
begin
    select * into v_job from jobforge.get_job(p_job_id);
    if not found then
        return;
    end if;
    select * into v_last from jobforge.all_attempts a
     where a.job_id = v_job.id and a.tenant_id = v_job.tenant_id order by a.run desc limit 1;
    if v_job.state = 'queued' then
        return query select * from jobforge.why_queued(v_job);
    elsif v_job.state = 'scheduled' then
        return query
            select case when v_job.due_at <= v_now then 'overdue' else w.code end,
                   case when v_job.due_at <= v_now
                        then 'it has been due since ' || jobforge.moment_text(v_job.due_at) || ': the next claim or upkeep of any worker queues it'
                        else w.says || jobforge.moment_text(v_job.due_at) end
                   || case when v_job.attempt > 0 then format(', as attempt %s of %s', v_job.attempt + 1, v_job.max_attempts) else '' end,
                   json_build_object('due_at', v_job.due_at, 'attempt', v_job.attempt, 'max_attempts', v_job.max_attempts)
              from (select case when v_last.outcome in ('failed', 'timed_out', 'lost') then 'retry'
                                when v_last.outcome in ('snoozed', 'released') then v_last.outcome else 'delayed' end,
                           case when v_last.outcome in ('failed', 'timed_out', 'lost') then 'it is retried at '
                                when v_last.outcome in ('snoozed', 'released') then 'its last run put it off until '
                                else 'it was enqueued for ' end) w (code, says);
        return query select w.* from jobforge.why_queued(v_job) w where w.code not in ('next', 'behind');  -- were it due
    elsif v_job.state = 'running' then
        select * into v_workers from jobforge.workers_of_job(v_job.id);
        return query
            select case when v_workers.alive_until > v_now then 'running' else 'worker_lost' end,
                   case when v_workers.alive_until > v_now
                        then format('it is running since %s, as attempt %s of %s; its worker, up since %s, is taken for alive '
                                    'until %s; its lease ends at %s', jobforge.moment_text(v_job.claimed_at),
                                    v_job.attempt, v_job.max_attempts, jobforge.moment_text(v_workers.started_at),
                                    jobforge.moment_text(v_workers.alive_until), jobforge.moment_text(v_job.deadline))
                        else 'its worker has not been heard of' || coalesce(' since ' || jobforge.moment_text(v_workers.alive_until), '')
                             || ': the next upkeep of any worker takes the job back' end,
                   json_build_object('worker_id', v_job.worker_id, 'claimed_at', v_job.claimed_at, 'attempt', v_job.attempt, 'deadline',
                                     v_job.deadline, 'started_at', v_workers.started_at, 'alive_until', v_workers.alive_until);
        return query
            select 'past_deadline', 'its lease has passed its deadline, ' || jobforge.moment_text(v_job.deadline) || ': it is taken back',
                   json_build_object('deadline', v_job.deadline) where v_job.deadline <= v_now;
        return query
            select 'cancel_requested', 'it was asked to stop at ' || jobforge.moment_text(c.requested_at),
                   json_build_object('requested_at', c.requested_at)
              from jobforge.cancel_requests c where c.job_id = v_job.id and c.tenant_id = v_job.tenant_id;
    else
        return query select * from jobforge.why_ended(v_job, v_last);
    end if;
    return query
        select 'last_run', format('run %s ended as %s%s', v_last.run, v_last.outcome,
                                  coalesce(': ' || nullif(concat_ws(': ', v_last.error ->> 'type',
                                                                    left(v_last.error ->> 'message', 500)), ''), '')),
               json_build_object('run', v_last.run, 'outcome', v_last.outcome, 'finished_at', v_last.finished_at,
                                 'worker_id', v_last.worker_id)
         where v_last.run is not null and v_job.state <> 'succeeded';
end
$$;

grant execute on function jobforge.why_job(uuid) to jobforge_app, jobforge_admin;
comment on function jobforge.why_job(uuid) is 'Why a job does not run, or how it came to its end.';
