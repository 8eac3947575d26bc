-- Takes back the leases of dead workers and passed deadlines, and says how many.
create or replace function jobforge.rescue_expired_jobs(p_limit integer default 1000) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce(cardinality(jobforge.take_back(p_limit)), 0);
end
$$;

grant execute on function jobforge.rescue_expired_jobs to jobforge_worker, jobforge_admin;
comment on function jobforge.rescue_expired_jobs is 'Take back the leases of dead workers and passed deadlines.';
