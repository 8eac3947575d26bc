-- Default privileges decide who may use what later revisions create. Without ours each new function is everybody's for
-- as long as nobody notices; with somebody else's it is theirs.
select 'error' as level, 'new ' || kind.name || ' of jobforge_owner' as object,
       format('PUBLIC will hold %s on them', upper(kind.privilege)) as detail,
       format('alter default privileges for role jobforge_owner revoke %s on %s from public;', kind.privilege, kind.name)
           as remedy
  from (values ('f'::"char", 'functions', 'execute'), ('T'::"char", 'types', 'usage')) kind(letter, name, privilege)
 where to_regnamespace('jobforge') is not null
   and not exists (  -- global ones only: those of a schema add to the built-in ones, and take nothing away
       select from pg_default_acl d
        where d.defaclrole = to_regrole('jobforge_owner') and d.defaclnamespace = 0 and d.defaclobjtype = kind.letter
          and not exists (select from aclexplode(d.defaclacl) held where held.grantee = 0))
union all
select 'error', format('new %s of %I', kind.name, creator.rolname),
       format('%s will hold %s on them', coalesce(quote_ident(r.rolname), 'PUBLIC'), held.privilege_type),
       format('alter default privileges for role %I %srevoke %s on %s from %s;', creator.rolname,
              case when d.defaclnamespace <> 0 then 'in schema jobforge ' else '' end, held.privilege_type, kind.name,
              coalesce(quote_ident(r.rolname), 'public'))
  from pg_default_acl d
  join pg_roles creator on creator.oid = d.defaclrole
  join (values ('r'::"char", 'tables'), ('S'::"char", 'sequences'), ('f'::"char", 'functions'), ('T'::"char", 'types'),
               ('n'::"char", 'schemas')) kind(letter, name) on kind.letter = d.defaclobjtype
 cross join lateral aclexplode(d.defaclacl) held
  left join pg_roles r on r.oid = held.grantee
 where held.grantee <> d.defaclrole
   and (creator.rolname = 'jobforge_owner' and d.defaclnamespace in (0, coalesce(to_regnamespace('jobforge'), 0))
        or d.defaclnamespace = to_regnamespace('jobforge'))
   and not (held.grantee = 0 and d.defaclobjtype in ('f', 'T') and d.defaclnamespace = 0);  -- told above
