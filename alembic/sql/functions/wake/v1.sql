-- A hint for sleeping workers that the queue has got something; delivered at commit, equal ones of a transaction once.
-- A commit that notifies takes a lock over the whole cluster until the disk has it, so one commit at a time: none where no
-- worker of the queue sleeps. A sleeper holds a lock as a shared one (see doze); here it is asked for as an exclusive one,
-- and given back at once. Whoever gets it has seen that nobody sleeps. Two who ask at the same instant: one takes the
-- other for a sleeper, and sends a hint too many.
-- A worker may fall asleep between this look and the commit. It looks once more when it holds the lock, and finds
-- whatever was committed by then; missed is only what asked before and was committed behind that look. So a transaction
-- that is not young any more always sends its hint. For the others the sleeper looks again at twice the age of its sleep,
-- from 10 ms on: what is committed t behind its last look is found t later at most, or at its next poll.
-- Anybody in the cluster may fill the queue of notifications, and with a full one every commit that notifies fails:
-- claims must go on then, so hints end when it is half full. Workers poll all the same.
create or replace function jobforge.wake(p_queue text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    c_asleep constant integer := 1785686131;  -- of all such locks, as in doze
begin
    if p_queue <> ':cancel'  -- which is for those who run something
       and clock_timestamp() < now() + interval '50 ms'
       and (case when pg_try_advisory_lock(c_asleep, hashtext(p_queue))  -- "and" promises no order
                 then pg_advisory_unlock(c_asleep, hashtext(p_queue)) else false end)
    then
        return;
    end if;
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify('jobforge', p_queue);
    end if;
end
$$;

comment on function jobforge.wake(text) is 'A hint for sleeping workers that the queue has got something.';
