-- The next p_limit jobs from p_before back to p_after, newest first: the ids of an index that has just these, in this
-- order. With p_states those that have ended so; else all, for no index knows what has not ended.
create or replace function jobforge.walk_jobs(
    p_tenant_id text, p_subject text, p_states text[], p_before uuid, p_after uuid, p_limit integer
) returns uuid[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_custom_plan  -- or the partial index is not seen
as $$
begin
    if p_subject is not null and p_tenant_id is not null then
        return array(select j.id from jobforge.jobs j
                      where j.tenant_id = p_tenant_id and j.subject = p_subject and j.id < p_before and j.id >= p_after
                      order by j.id desc limit p_limit);
    elsif p_states is null and p_tenant_id is not null then
        return array(select j.id from jobforge.jobs j
                      where j.tenant_id = p_tenant_id and j.id < p_before and j.id >= p_after
                      order by j.id desc limit p_limit);
    elsif p_states is null then
        return array(select j.id from jobforge.jobs j where j.id < p_before and j.id >= p_after order by j.id desc limit p_limit);
    elsif p_tenant_id is not null then
        return array(select w.job_id from unnest(p_states) as s (state) cross join lateral (
                            select o.job_id from jobforge.outcomes o
                             where o.tenant_id = p_tenant_id and o.state = s.state
                               and o.job_id < p_before and o.job_id >= p_after
                             order by o.job_id desc limit p_limit) w
                      order by w.job_id desc limit p_limit);
    end if;
    return array(select o.job_id from jobforge.outcomes o
                  where o.state in ('dead', 'canceled') and o.job_id < p_before and o.job_id >= p_after
                  order by o.job_id desc limit p_limit);
end
$$;

comment on function jobforge.walk_jobs is 'The next jobs of an index, newest first.';
