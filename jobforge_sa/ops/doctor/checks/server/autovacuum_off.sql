-- Each job leaves deleted rows behind in the tables that claims read. Without autovacuum they stay, and every claim reads
-- past all of them.
select 'error' as level, 'autovacuum' as object, format('%s is off for the whole server', s.name) as detail,
       format('alter system set %I = on; select pg_reload_conf();', s.name) as remedy
  from pg_settings s
 where s.name in ('autovacuum', 'track_counts') and s.setting = 'off'
union all
select 'error', format('table jobforge.%I', c.relname), 'autovacuum is off for it',
       format('alter table jobforge.%I reset (autovacuum_enabled);', c.relname)
  from pg_class c
 where c.relnamespace = to_regnamespace('jobforge') and c.relkind = 'r'
   and exists (select from pg_options_to_table(c.reloptions) o
                where o.option_name = 'autovacuum_enabled' and not o.option_value::boolean);
