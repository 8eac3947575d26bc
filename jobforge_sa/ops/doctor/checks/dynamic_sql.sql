-- A function that runs text as SQL runs what somebody managed to put into that text; called from a function that is
-- SECURITY DEFINER it does so as jobforge_owner, who sees all tenants.
select case when p.prosecdef then 'error' else 'warning' end as level, p.oid::regprocedure::text as object,
       'its body holds ' || upper(substring(code.body from pattern)) as detail,
       format('drop %s %s;', case p.prokind when 'p' then 'procedure' else 'function' end, p.oid::regprocedure) as remedy
  from pg_proc p
       -- comments are free to speak of it; one that holds a quote may be no comment, and stays
 cross join lateral (select regexp_replace(p.prosrc, '--[^\n''"]*(\n|$)', '', 'g') as body,
       '(?i)\m(execute|query_to_xml|query_to_xmlschema|query_to_xml_and_xmlschema|dblink\w*)\M' as pattern) code
 where p.pronamespace = to_regnamespace('jobforge') and code.body ~ code.pattern;
