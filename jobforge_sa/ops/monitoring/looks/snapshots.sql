-- How long the oldest transaction has been open that keeps vacuum from the rows of jobs that have been run. Of other
-- logins it is seen by members of pg_read_all_stats only.
select coalesce(extract(epoch from max(clock_timestamp() - a.xact_start)), 0)::float8
  from pg_stat_activity a
 where a.datname = current_database() and a.backend_xmin is not null and a.pid <> pg_backend_pid()
