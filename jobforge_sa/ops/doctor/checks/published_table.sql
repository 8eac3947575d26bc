-- Logical replication asks no policy: who subscribes to a publication of our tables, or reads its slot, reads the jobs of
-- all tenants and the tokens of the leases.
select 'warning' as level, format('publication %I', p.pubname) as object,
       'it sends ' || string_agg(format('%I', t.tablename), ', ' order by t.tablename) as detail,
       case when p.puballtables
            then format('drop publication %I; create publication %1$I for tables in schema public;', p.pubname)
            when exists (select from pg_publication_namespace s
                          where s.pnpubid = p.oid and s.pnnspid = to_regnamespace('jobforge'))
            then format('alter publication %I drop tables in schema jobforge;', p.pubname)
            else format('alter publication %I drop table %s;', p.pubname,
                        string_agg(format('jobforge.%I', t.tablename), ', ' order by t.tablename)) end as remedy
  from pg_publication p
  join pg_publication_tables t on t.pubname = p.pubname and t.schemaname = 'jobforge'
 group by p.oid, p.pubname, p.puballtables;
