-- How a job came to its end.
create or replace function jobforge.why_ended(p_job jobforge.all_jobs, p_last jobforge.all_attempts)
returns table (code text, says text, detail json)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select w.code, w.says, json_build_object('finished_at', p_job.finished_at, 'run', p_last.run, 'outcome', p_last.outcome)
      from (values
        (p_job.state = 'succeeded', 'succeeded',
         format('it succeeded in run %s, at attempt %s of %s', p_job.run, p_job.attempt, p_job.max_attempts)),
        (p_job.state = 'canceled' and p_last.finished_at is distinct from p_job.finished_at,
         'canceled_waiting', 'it was canceled while it waited'),
        (p_job.state = 'canceled', 'canceled_running', format('it was canceled in run %s', p_job.run)),
        (p_last.outcome = 'lost', 'crashed',
         format('it has lost %s workers in a row, and is taken for what killed them', p_job.crashes)),
        (p_job.attempt >= p_job.max_attempts, 'attempts_used',
         case p_job.max_attempts when 1 then 'its only attempt has failed'
                                 else format('all its %s attempts have failed', p_job.max_attempts) end),
        (true, 'final', format('attempt %s failed in a way that no retry can cure', p_job.attempt))
      ) w (holds, code, says)
     where w.holds limit 1
$$;

grant execute on function jobforge.why_ended to jobforge_app, jobforge_admin;
comment on function jobforge.why_ended is 'How a job came to its end.';
