-- NOTIFY has one queue for the whole cluster. A session that listens and stays in a transaction holds its end; when it is
-- full, every COMMIT that notifies fails. Ours stop to send hints at one half.
select case when pg_notification_queue_usage() >= 0.5 then 'error' else 'warning' end as level,
       'the queue of notifications' as object,
       format('%s %% of it are in use', round((pg_notification_queue_usage() * 100)::numeric, 1)) as detail,
       coalesce((select format('select pg_terminate_backend(%s);  -- a session with the oldest transaction, %s', a.pid, a.usename)
                   from pg_stat_activity a where a.xact_start is not null and a.pid <> pg_backend_pid()
                  order by a.xact_start limit 1),
                'end the session that listens and stays in a transaction: see pg_stat_activity') as remedy
 where pg_notification_queue_usage() >= 0.1;
