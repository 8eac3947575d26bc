-- The tables that jobs pass through are vacuumed after so many rows, and not after a share of them, and without pauses. A
-- dump that was restored elsewhere, or a hand, may have lost that: then each claim reads past the rows of jobs that have run.
select 'warning' as level, format('table jobforge.%I', c.relname) as object,
       'its settings are not those that it was made with: ' || string_agg(
           format('%s is %s', wanted.name, coalesce(o.option_value, 'not set')), ', ' order by wanted.name) as detail,
       format('alter table jobforge.%I set (%s);', c.relname,
              string_agg(format('%s = %s', wanted.name, wanted.value), ', ' order by wanted.name)) as remedy
  from (values ('ready', 5000, true), ('scheduled', 5000, true), ('leases', 5000, true), ('lines', 5000, true),
               ('turns', 5000, true), ('heads', 5000, true), ('waits', 1000, true), ('workers', 500, false),
               ('pruning', 500, false), ('limits', 500, false)) hot (relname, rows, hurried)
  join pg_class c on c.relname = hot.relname and c.relnamespace = to_regnamespace('jobforge') and c.relkind = 'r'
 cross join lateral (values ('autovacuum_vacuum_threshold', hot.rows), ('autovacuum_vacuum_scale_factor', 0),
                            ('autovacuum_vacuum_cost_delay', case when hot.hurried then 0 end)) wanted (name, value)
  left join pg_options_to_table(c.reloptions) o on o.option_name = wanted.name
 where wanted.value is not null and o.option_value is distinct from wanted.value::text
 group by c.relname;
