-- Each delete of a referenced row reads the whole referencing table, and holds its locks meanwhile: a tenant that makes
-- rows go away makes the queue slow for all.
select 'warning' as level, format('constraint %I on %s', f.conname, f.conrelid::regclass) as object,
       'no index begins with its columns' as detail,
       format('create index on %s (%s);', f.conrelid::regclass,
              (select string_agg(quote_ident(a.attname), ', ' order by place)
                 from unnest(f.conkey) with ordinality k(attnum, place)
                 join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.attnum)) as remedy
  from pg_constraint f
  join pg_class c on c.oid = f.conrelid and c.relnamespace = to_regnamespace('jobforge')
 where f.contype = 'f'
   and not exists (select from pg_index i
                    where i.indrelid = f.conrelid and i.indisvalid and i.indpred is null
                      and f.conkey <@ (i.indkey::smallint[])[0:cardinality(f.conkey) - 1]);
