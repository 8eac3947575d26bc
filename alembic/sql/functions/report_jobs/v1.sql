-- What the reports are made of: the jobs of a tenant that were enqueued in [p_from, p_until), each with its final state,
-- the newest p_limit of them, newest first. A period is a range of ids, and so of the index (tenant, id): what it
-- costs grows with the tenant's jobs in the period, never with those of others. A bulk call's ids run ahead of its time
-- by a microsecond for each position: one second behind is looked through as well. Runs with the rights of who
-- asks; the tenant is named all the same, for those whom no policy binds.
create or replace function jobforge.report_jobs(p_from timestamptz, p_until timestamptz, p_limit integer)
returns table (
    job_id uuid, queue text, type text, run_at timestamptz, created_at timestamptz, state text, payload_bytes integer
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- everything is met by key
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
declare
    v_tenant text := jobforge.current_tenant();
begin
    if v_tenant is null then
        raise exception 'jobforge: a report is of one tenant, and this transaction has none'
            using errcode = 'JF001',
                  hint = 'Set one in this transaction; an administrator: select jobforge.act_for(''<tenant>'').';
    end if;
    if p_from is null or p_until is null or not isfinite(p_from) or not isfinite(p_until) or p_from >= p_until
       or p_until - p_from > interval '366 days' then
        raise exception 'jobforge: a report is of a period of at most 366 days, from before until'
            using errcode = 'JF003', hint = 'Pass two times; ask for longer periods piece by piece.';
    end if;
    if p_limit is null or p_limit not between 1 and 10000000 then
        raise exception 'jobforge: p_limit must be between 1 and 10000000'
            using errcode = 'JF003', hint = 'Leave it out to look at the newest 500,000 jobs of the period.';
    end if;
    return query
        select j.id, j.queue, j.type, j.run_at, j.created_at, o.state, pg_column_size(j.payload)
          from jobforge.jobs j
          left join jobforge.outcomes o on o.job_id = j.id and o.tenant_id = v_tenant
         where j.tenant_id = v_tenant
           and j.id >= jobforge.first_job_id(p_from) and j.id < jobforge.first_job_id(p_until + interval '1 second')
           and j.created_at >= p_from and j.created_at < p_until
         order by j.id desc limit p_limit;
end
$$;

grant execute on function jobforge.report_jobs to jobforge_app, jobforge_admin;
comment on function jobforge.report_jobs is 'The jobs of a tenant that were enqueued in a period, with their final states.';
