-- A trigger runs as whoever writes, and here that is jobforge_owner, for all tenants: its code sees every job that is
-- enqueued, claimed or completed, and may change it. Our revisions make none.
select 'error' as level, format('trigger %I on %s', t.tgname, t.tgrelid::regclass) as object,
       format('it calls %s%s', t.tgfoid::regprocedure, case when t.tgenabled = 'D' then ' (disabled)' else '' end) as detail,
       format('drop trigger %I on %s;', t.tgname, t.tgrelid::regclass) as remedy
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid and c.relnamespace = to_regnamespace('jobforge')
 where not t.tgisinternal;
