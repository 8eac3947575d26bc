-- How many jobs of a tenant a queue has, counted up to p_limit.
create or replace function jobforge.count_ready(p_queue text, p_tenant_id text, p_limit integer) returns integer
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
    return (select count(*) from (
        (select from jobforge.ready r where r.queue = p_queue and not r.suspect and r.tenant_id = p_tenant_id
          limit greatest(p_limit, 0))
        union all
        (select from jobforge.ready r where r.queue = p_queue and r.suspect and r.tenant_id = p_tenant_id
          limit greatest(p_limit, 0))) r);
end
$$;

comment on function jobforge.count_ready is 'How many jobs of a tenant a queue has, up to a limit.';
