-- A hint for sleeping workers that the queue has got something; delivered at commit, equal ones of a transaction once.
-- Anybody in the cluster may fill the queue of notifications, and with a full one every commit that notifies fails:
-- claims must go on then, so hints end when it is half full. Workers poll all the same.
create or replace function jobforge.wake(p_queue text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify('jobforge', p_queue);
    end if;
end
$$;

comment on function jobforge.wake(text) is 'A hint for sleeping workers that the queue has got something.';
