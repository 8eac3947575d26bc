-- Jobs that have come to their end without a run leave their lines, and the next ones have their turn.
create or replace function jobforge.leave_line(p_jobs uuid[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- met by key
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
begin
    with gone as (
        delete from jobforge.lines l using jobforge.jobs j
         where j.id = any (p_jobs) and j.ordering_key is not null
           and l.tenant_id = j.tenant_id and l.ordering_key = j.ordering_key and l.job_id = j.id
        returning l.tenant_id, l.ordering_key
    )
    insert into jobforge.turns (tenant_id, ordering_key) select distinct g.tenant_id, g.ordering_key from gone g;
end
$$;

comment on function jobforge.leave_line(uuid[]) is 'Jobs that have ended leave their lines.';
