-- Whether a job with an ordering key has to wait: an earlier one of its line has not ended, or any other runs (a later one,
-- where this one was retried, or was committed late). One that was deleted by hand keeps nobody.
create or replace function jobforge.waits_in_line(p_tenant_id text, p_ordering_key text, p_job_id uuid) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select from jobforge.lines l
                    where l.tenant_id = p_tenant_id and l.ordering_key = p_ordering_key and l.job_id < p_job_id
                      and exists (select from jobforge.jobs j where j.id = l.job_id))
        or exists (select from jobforge.leases r
                    where r.tenant_id = p_tenant_id and r.ordering_key = p_ordering_key and r.job_id <> p_job_id);
end
$$;

comment on function jobforge.waits_in_line is 'Whether another job of its line comes before a job.';
