-- An event trigger runs in the sessions of others, migrators and superusers included. One at login that names a tenant
-- gives each session one that nobody asked for; one at changes of the schema may undo what a migration closes.
select case when e.evtevent = 'login' or coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) ~* '\mjobforge\M|request\.jwt'
            then 'warning' else 'note' end as level,
       format('event trigger %I', e.evtname) as object,
       format('it calls %s at %s, as %s', p.oid::regprocedure, e.evtevent,
              case when p.prosecdef then quote_ident(o.rolname) else 'whoever is there' end) as detail,
       format('alter event trigger %I disable;  -- unless you know what it is for', e.evtname) as remedy
  from pg_event_trigger e
  join pg_proc p on p.oid = e.evtfoid
  join pg_roles o on o.oid = p.proowner
 where e.evtenabled <> 'D'
   and not exists (select from pg_depend d  -- an extension's own
                    where d.classid = 'pg_event_trigger'::regclass and d.objid = e.oid and d.deptype = 'e');
