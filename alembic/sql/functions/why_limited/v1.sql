-- What was said of a job's tenant, queue or task that keeps claims from it now, or the job of its line that it waits for. Of a
-- job of this tenant; an administrator may ask for any, and he alone hears the numbers of queues and tasks.
create or replace function jobforge.why_limited(p_job_id uuid)
returns table (code text, says text, detail json)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_admin boolean := pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user), 'jobforge_admin', 'member');
    v_job   jobforge.jobs;
    v_limit jobforge.limits;
    v_told  boolean;  -- whoever asks may know the number
    v_pid   integer;  -- of who has changed the limit, and not committed it
    v_other uuid;
begin
    select * into v_job from jobforge.jobs j
     where j.id = p_job_id and (j.tenant_id = (select jobforge.current_tenant()) or v_admin);
    for v_limit in
        select * from jobforge.limits l
         where (l.scope = 'tenant' and l.name = v_job.tenant_id) or (l.scope = 'queue' and l.name = v_job.queue)
            or (l.scope = 'task' and l.name = v_job.type)
         order by l.scope desc
    loop
        v_told := v_admin or v_limit.scope = 'tenant';
        v_pid := null;
        if v_limit.paused_at is not null then
            return query select v_limit.scope || '_paused',
                format('its %s is paused since %s', v_limit.scope, jobforge.moment_text(v_limit.paused_at)),
                json_build_object('paused_at', v_limit.paused_at);
            continue;
        end if;
        if v_limit.max_running > 0 or v_limit.rate is not null then  -- those that claims lock
            v_pid := jobforge.held_by(v_limit.scope, v_limit.name);
        end if;
        if v_pid is not null then
            return query select v_limit.scope || '_held',
                concat(format('the limits of its %s were changed in a transaction that is still open: claims give none of its jobs '
                              'until that is committed or rolled back', v_limit.scope),
                       case when v_admin then case v_pid when 0 then ', by commit prepared or rollback prepared'
                                                         else format(', by backend %s', v_pid) end end),
                json_build_object('pid', case when v_admin then v_pid end);
        end if;
        if v_limit.max_running is not null and jobforge.running_of(v_limit) >= v_limit.max_running then
            return query select v_limit.scope || '_full',
                concat(format('its %s runs as many jobs as it may', v_limit.scope), case when v_told then ': ' || v_limit.max_running end),
                json_build_object('max_running', case when v_told then v_limit.max_running end);
        elsif v_limit.rate is not null and jobforge.tokens_of(v_limit) < 1 then
            return query select v_limit.scope || '_rate',
                concat(format('its %s begins as many jobs as it may', v_limit.scope), case when v_told then ': ' || v_limit.rate || ' a second' end),
                json_build_object('rate', case when v_told then v_limit.rate end);
        end if;
    end loop;
    if v_job.ordering_key is not null and jobforge.waits_in_line(v_job.tenant_id, v_job.ordering_key, v_job.id) then
        v_other := coalesce(
            (select r.job_id from jobforge.leases r
              where r.tenant_id = v_job.tenant_id and r.ordering_key = v_job.ordering_key limit 1),
            (select l.job_id from jobforge.lines l
              where l.tenant_id = v_job.tenant_id and l.ordering_key = v_job.ordering_key order by l.job_id limit 1));
        return query select 'in_line',
            format('the job %s of its ordering key, %s, comes first', v_other, v_job.ordering_key),
            json_build_object('before', v_other, 'ordering_key', v_job.ordering_key);
    end if;
end
$$;

grant execute on function jobforge.why_limited(uuid) to jobforge_app, jobforge_admin;
comment on function jobforge.why_limited(uuid) is 'What keeps claims from a job: its tenant, queue, task or line.';
