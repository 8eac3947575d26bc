-- Which of these ended jobs may come back to life as far as unique keys go: those without one, and of those with one key
-- the newest, where no other active job has it; the key is its own then. A key that nobody has yet may have to be waited
-- for, in the order of keys and before anything else is locked; one that somebody holds is passed over.
create or replace function jobforge.free_keys(p_jobs uuid[]) returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set enable_seqscan = off  -- met by key
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
declare
    v_keyed uuid[];
    v_held  uuid[];
    v_free  uuid[];
begin
    v_keyed := array(
        select distinct on (j.tenant_id, j.type, j.unique_key) j.id from jobforge.jobs j
         where j.id = any (p_jobs) and j.unique_key is not null order by j.tenant_id, j.type, j.unique_key, j.id desc);
    if v_keyed = '{}' then
        return p_jobs;
    end if;
    begin
        insert into jobforge.unique_keys (tenant_id, type, key, job_id)
        select j.tenant_id, j.type, j.unique_key, j.id from jobforge.jobs j
         where j.id = any (v_keyed)
           and not exists (select from jobforge.unique_keys k
                            where k.tenant_id = j.tenant_id and k.type = j.type and k.key = j.unique_key)
         order by j.tenant_id, j.type, j.unique_key
        on conflict do nothing;
    exception when lock_not_available then  -- those without a key stay so, and are passed over
    end;
    v_held := array(
        select j.id from jobforge.jobs j cross join lateral (
            select from jobforge.unique_keys k
             where k.tenant_id = j.tenant_id and k.type = j.type and k.key = j.unique_key for update skip locked) k
         where j.id = any (v_keyed));
    -- behind the lock: what became of who had the key is seen
    with free as (
        select j.id, k.ctid, k.job_id from jobforge.jobs j cross join lateral (
            select u.ctid, u.job_id from jobforge.unique_keys u
             where u.tenant_id = j.tenant_id and u.type = j.type and u.key = j.unique_key limit 1) k
         where j.id = any (v_held)
           and (exists (select from jobforge.outcomes o where o.job_id = k.job_id)
                or not exists (select from jobforge.jobs h where h.id = k.job_id))
    ), taken as (  -- by place: they are locked
        update jobforge.unique_keys k set job_id = f.id from free f where k.ctid = f.ctid and f.job_id <> f.id
    )
    select array_agg(f.id) into v_free from free f;
    return array(select j.id from jobforge.jobs j where j.id = any (p_jobs) and j.unique_key is null) || v_free;
end
$$;

comment on function jobforge.free_keys is 'Which ended jobs no unique key keeps from coming back.';
