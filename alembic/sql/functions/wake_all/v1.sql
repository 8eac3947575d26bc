-- Wakes the workers of the queues in which something waits: up to 1,000 of them; those of more find out by polling.
create or replace function jobforge.wake_all() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_queue text collate "C" := '';
begin
    for i in 1 .. 1000 loop
        select min(r.queue) into v_queue from jobforge.ready r where r.queue > v_queue;
        exit when v_queue is null;
        perform jobforge.wake(v_queue);
    end loop;
end
$$;

comment on function jobforge.wake_all() is 'Wake the workers of all queues in which something waits.';
