-- An end makes room: for the next of its line, and for what a limit of its tenant, queue or task kept back. Who sleeps would
-- find that at its next poll only, and a line, or a tenant that may run one, would go on once a second. So workers of the
-- queue in which the head of the line waits hear of it, and where something was said of who ran, those of its queue.
-- Whether anything waits there is not asked: the front of ready is where deleted rows are (0027). Other queues of a limited
-- tenant or task are polled for, where no worker has both. Above READ COMMITTED an old snapshot does not know the line.
create or replace function jobforge.wake_kept(p_ended jobforge.ended_run[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- each is met by key
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
declare
    v_old boolean := current_setting('transaction_isolation') in ('repeatable read', 'serializable');
begin
    perform jobforge.wake(k.queue) from (
        select j.queue from unnest(p_ended) e join jobforge.jobs j on j.id = e.job_id
         where e.limited or v_old and e.ordering_key is not null
        union
        select j.queue from unnest(p_ended) e cross join lateral (
               select l.job_id from jobforge.lines l
                where l.tenant_id = e.tenant_id and l.ordering_key = e.ordering_key order by l.job_id limit 1) l
          join jobforge.jobs j on j.id = l.job_id
         where not v_old) k;
end
$$;

comment on function jobforge.wake_kept is 'Hints for what the end of a run makes room for.';
