-- Outside of "(select ...)" a policy calls its function once for each row instead of once for each statement: 3,187 ms
-- against 135 ms for a million jobs. A tenant that lists often enough makes the queue slow for all.
select 'warning' as level, format('policy %I on %s', p.polname, p.polrelid::regclass) as object,
       'it calls a function for each row: ' || expression as detail,
       format('alter policy %I on %s %s (tenant_id = (select jobforge.current_tenant()));',
              p.polname, p.polrelid::regclass, clause) as remedy
  from pg_policy p
  join pg_class c on c.oid = p.polrelid and c.relnamespace = to_regnamespace('jobforge')
 cross join lateral (values ('using', pg_get_expr(p.polqual, p.polrelid)),
                            ('with check', pg_get_expr(p.polwithcheck, p.polrelid))) part(clause, expression)
       -- what is left when subqueries are taken out, two levels of parentheses deep
 where regexp_replace(expression, '\( SELECT ([^()]|\(([^()]|\([^()]*\))*\))*\)', '', 'g')
       ~ '(\mjobforge\.\w+|\mcurrent_setting)\(';
