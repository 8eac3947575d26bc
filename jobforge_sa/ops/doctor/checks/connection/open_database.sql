-- Roles belong to the whole cluster. Where PUBLIC may connect, a login of another application of this cluster that was
-- given jobforge_app or jobforge_admin for its own database has that right here too.
select 'note' as level, format('database %I', d.datname) as object,
       format('PUBLIC may connect, and the cluster has other databases: %s', others.names) as detail,
       format('revoke connect, temporary on database %I from public;  -- then grant connect to its own logins', d.datname)
           as remedy
  from pg_database d
 cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) held
 cross join lateral (
       select concat(string_agg(quote_ident(o.datname), ', ' order by o.datname) filter (where o.place <= 3),
                     case when count(*) > 3 then format(' and %s more', count(*) - 3) end) as names, count(*)
         from (select datname, row_number() over (order by datname) as place from pg_database
                where datallowconn and not datistemplate and datname not in (current_database(), 'postgres')) o
       ) others
 where d.datname = current_database() and held.grantee = 0 and held.privilege_type = 'CONNECT' and others.count > 0;
