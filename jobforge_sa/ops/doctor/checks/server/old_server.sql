-- Policies, grants and plans of the schema are written for Postgres 15 and later, and tested there.
select 'error' as level, 'Postgres ' || current_setting('server_version') as object,
       'it is older than Postgres 15' as detail, 'upgrade the server to Postgres 15 or later' as remedy
 where current_setting('server_version_num')::int < 150000;
