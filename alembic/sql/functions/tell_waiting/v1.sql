-- Tells those who wait for these jobs that something has ended: one NOTIFY without data, and none where nobody waits.
-- A hint, for who waits looks by itself from time to time: so a row that somebody holds is passed over, a wait that is
-- committed behind our snapshot is not seen, and a queue of notifications that is filling up is left alone (see wake).
-- Above READ COMMITTED nothing is locked, for SKIP LOCKED turns into 40001 there: a wait is renewed while its handler runs,
-- and the handler would repeat until it fails. Upkeep takes that row away.
create or replace function jobforge.tell_waiting(p_job_ids uuid[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from jobforge.waits) then
        return;
    end if;
    if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        perform from jobforge.waits w
          where w.job_id = any (p_job_ids) and exists (select from jobforge.outcomes o where o.job_id = w.job_id);
    else
        delete from jobforge.waits d where d.ctid = any (array(
            select w.ctid from jobforge.waits w
             where w.job_id = any (p_job_ids) and exists (select from jobforge.outcomes o where o.job_id = w.job_id)
               for update of w skip locked));
    end if;
    if found and pg_notification_queue_usage() < 0.5 then
        perform pg_notify('jobforge_done', '');
    end if;
end
$$;

comment on function jobforge.tell_waiting is 'Send a NOTIFY if somebody waits for one of these jobs.';
