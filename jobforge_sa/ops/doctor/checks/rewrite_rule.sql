-- A rule changes what a statement on our tables means: with the owner's rights it copies rows elsewhere, or does
-- something else instead. Our revisions make none.
select 'error' as level, format('rule %I on %s', w.rulename, w.ev_class::regclass) as object,
       case when w.is_instead then 'it does something else instead of the statement'
            else 'it does something besides the statement' end as detail,
       format('drop rule %I on %s;', w.rulename, w.ev_class::regclass) as remedy
  from pg_rewrite w
  join pg_class c on c.oid = w.ev_class and c.relnamespace = to_regnamespace('jobforge')
 where w.rulename <> '_RETURN';
