-- A table that is read through its parent is read by the parent's policies alone, and a parent shows its children's rows
-- whatever their policies say. Who may read that other table reads the jobs of all tenants, or slips in rows of his own.
select 'error' as level, 'table ' || case when ours.child then c.oid else p.oid end::regclass as object,
       case when ours.child then format('it is a child of %s, whose policies alone decide who reads it there', p.oid::regclass)
            else format('it has a child, %s, whose rows it shows as its own', c.oid::regclass) end as detail,
       case when c.relispartition then format('alter table %s detach partition %s;', p.oid::regclass, c.oid::regclass)
            else format('alter table %s no inherit %s;', c.oid::regclass, p.oid::regclass) end as remedy
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid and c.relkind in ('r', 'p', 'f')
  join pg_class p on p.oid = i.inhparent
 cross join lateral (select c.relnamespace = to_regnamespace('jobforge') as child,
                            p.relnamespace = to_regnamespace('jobforge') as parent) ours
 where ours.child or ours.parent;
