"""Write down all that stands in our schema, as text that a reviewer reads as a diff.

Versioned SQL files hide what a change does to the whole: grants, policies, indexes, bodies. This shows it. It
is the same on every Postgres that we support, so tests compare with it and `doctor` finds what was altered by
hand (`ops/doctor/made/` has what each revision makes); `pg_dump` changes its output with its version. Near to SQL, it
is made to be read, not to be run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine

from jobforge_sa.db.migrate import database_url

__all__ = ["describe", "parse", "snapshot", "statements", "statements_of"]

_HEADER = "-- Schema jobforge as Postgres reports it, written by jobforge_sa.db.introspect; not to be edited.\n"
_KINDS = ("role", "schema", "type", "sequence", "table", "view", "function")

# how a statement begins that stands behind another; in the bodies of functions no line does
_BEGINS = r"(?:alter|grant|comment on|create policy|CREATE (?:UNIQUE )?INDEX|CREATE STATISTICS) "

# The catalog prints names, times and numbers as the session likes them: all of it is pinned while we read.
_SETTINGS = {
    "search_path": "pg_catalog",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "quote_all_identifiers": "off",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}

# Everything that has an owner and an ACL: its kind and name as a GRANT writes them, catalog, oid, owner, ACL.
_OBJECTS = """
with ours as (
    select to_regnamespace('jobforge')::oid as oid
), objects as (
    select 'schema' as kind, nspname::text as name, 'pg_namespace'::regclass as catalog, n.oid,
           nspowner as owner, coalesce(nspacl, acldefault('n', nspowner)) as acl
      from pg_namespace n join ours on n.oid = ours.oid
    union all
    select case when relkind = 'S' then 'sequence' when relkind in ('v', 'm') then 'view' else 'table' end,
           format('jobforge.%I', relname), 'pg_class'::regclass, c.oid, relowner,
           coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner))
      from pg_class c join ours on relnamespace = ours.oid
     where relkind in ('r', 'p', 'f', 'v', 'm', 'S')
    union all
    select 'type', format('jobforge.%I', typname), 'pg_type'::regclass, t.oid, typowner,
           coalesce(typacl, acldefault('T', typowner))
      from pg_type t join ours on typnamespace = ours.oid
     where typtype in ('d', 'e', 'r')
        or typtype = 'c' and exists (select from pg_class c where c.oid = typrelid and relkind = 'c')
    union all
    select 'function', format('jobforge.%I', proname), 'pg_proc'::regclass, p.oid, proowner,
           coalesce(proacl, acldefault('f', proowner))
      from pg_proc p join ours on pronamespace = ours.oid
)
"""

_ROLES = """
select 'role', rolname::text, concat_ws(' ', 'create role', rolname,
       case when rolcanlogin then 'login' else 'nologin' end,
       case when rolinherit then 'inherit' else 'noinherit' end,
       case when rolsuper then 'superuser' end, case when rolbypassrls then 'bypassrls' end,
       case when rolcreaterole then 'createrole' end, case when rolcreatedb then 'createdb' end,
       case when rolreplication then 'replication' end,
       'set ' || array_to_string(rolconfig, ', '),
       (select 'in role ' || string_agg(parent, ', ' order by parent collate "C")
          from (select roleid::regrole::text as parent from pg_auth_members where member = r.oid) m)) || ';'
  from pg_roles r
 where rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
"""

# The owner's own privileges are left out: MAINTAIN is among them from Postgres 17 on.
_DEFAULT_PRIVILEGES = """
select 'schema', 'jobforge', format('alter default privileges for role %s%s on %s to %s;',
       defaclrole::regrole,
       case when defaclnamespace <> 0 then ' in schema ' || defaclnamespace::regnamespace end,
       case defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions'
                          when 'T' then 'types' when 'n' then 'schemas' else defaclobjtype::text end,
       coalesce((select string_agg(holder, ', ' order by holder collate "C")
                   from (select concat(coalesce(nullif(grantee, 0)::regrole::text, 'public'), ': ',
                                       lower(privilege_type)) as holder
                           from aclexplode(defaclacl) where grantee <> defaclrole) h),
                'nobody but the owner'))
  from pg_default_acl
 where defaclrole = to_regrole('jobforge_owner') or defaclnamespace = to_regnamespace('jobforge')
"""

_TYPES = """
select o.kind, o.name, format('create type %s as %s;', o.name, case typtype
       when 'e' then (select format('enum (%s)',
                                    string_agg(quote_literal(enumlabel), ', ' order by enumsortorder))
                        from pg_enum where enumtypid = o.oid)
       when 'd' then (select concat_ws(' ', format_type(typbasetype, typtypmod),
                             case when typnotnull then 'not null' end, 'default ' || typdefault,
                             string_agg(pg_get_constraintdef(c.oid), ' ' order by conname))
                        from pg_constraint c where contypid = o.oid and contype = 'c')
       when 'c' then (select format(E'(\\n    %s\\n)', string_agg(concat_ws(' ', quote_ident(attname),
                             format_type(atttypid, atttypmod),
                             case when attcollation <> e.typcollation
                                  then 'collate ' || attcollation::regcollation end),
                             E',\\n    ' order by attnum))
                        from pg_attribute a join pg_type e on e.oid = atttypid
                       where attrelid = t.typrelid and attnum > 0 and not attisdropped)
       else 'range' end)
  from objects o join pg_type t on t.oid = o.oid where o.kind = 'type'
"""

_SEQUENCES = """
select o.kind, o.name, concat_ws(' ', 'create sequence', o.name, 'as', format_type(seqtypid, null),
       'start', seqstart, 'increment', seqincrement, 'minvalue', seqmin, 'maxvalue', seqmax,
       'cache', seqcache, case when seqcycle then 'cycle' end,
       (select format('owned by %s.%I', refobjid::regclass, attname)
          from pg_depend d join pg_attribute a on attrelid = refobjid and attnum = refobjsubid
         where d.classid = 'pg_class'::regclass and objid = o.oid and deptype in ('a', 'i'))) || ';'
  from objects o join pg_sequence on seqrelid = o.oid
"""

# Not-null constraints are shown at their columns: only Postgres 18 has them in the catalog by name.
_TABLES = """
, lines as (
    select attrelid as oid, 1 as part, attnum as place, '' as name, concat_ws(' ', quote_ident(attname),
           format_type(atttypid, atttypmod),
           case when attcollation <> typcollation then 'collate ' || attcollation::regcollation end,
           case when attnotnull then 'not null' end,
           case attidentity when 'a' then 'generated always as identity'
                            when 'd' then 'generated by default as identity' end,
           case attgenerated when '' then 'default ' || pg_get_expr(adbin, adrelid)
                             else format('generated always as (%s) %s',
                                         regexp_replace(pg_get_expr(adbin, adrelid), '[[:space:]]+', ' ', 'g'),
                                         case attgenerated when 's' then 'stored' else 'virtual' end) end,
           case when attstorage <> typstorage then 'storage ' || attstorage::text end,
           case when attcompression <> '' then 'compression ' || attcompression::text end,
           'statistics ' || nullif(attstattarget, -1),
           'with (' || array_to_string(attoptions, ', ') || ')') as line
      from pg_attribute
      join pg_type t on t.oid = atttypid
      left join pg_attrdef on adrelid = attrelid and adnum = attnum
     where attnum > 0 and not attisdropped
    union all
    select conrelid, 2, 0, conname, format('constraint %I %s', conname, pg_get_constraintdef(oid))
      from pg_constraint where contype <> 'n' and contype <> 't'
)
select o.kind, o.name, concat(
       'create ', case relpersistence when 'u' then 'unlogged ' end, 'table ', o.name, E' (\\n    ',
       (select string_agg(line, E',\\n    ' order by part, place, name collate "C")
          from lines l where l.oid = o.oid),
       E'\\n)', ' partition by ' || pg_get_partkeydef(o.oid),
       (select E' with (\\n    ' || string_agg(opt, E',\\n    ' order by opt collate "C") || E'\\n)'
          from (select unnest(c.reloptions) as opt
                union all
                select 'toast.' || unnest(reloptions) from pg_class where oid = c.reltoastrelid) opts), ';')
  from objects o join pg_class c on c.oid = o.oid where o.kind = 'table'
"""

# The columns with their types, because clients are told of them and the query does not say: `select *`, `max(x)`.
_VIEWS = """
select o.kind, o.name, concat('create ', case relkind when 'm' then 'materialized ' end, 'view ', o.name,
       (select format(E' (\\n    %s\\n)', string_agg(concat_ws(' ', quote_ident(attname),
               format_type(atttypid, atttypmod),
               case when attcollation <> typcollation then 'collate ' || attcollation::regcollation end),
               E',\\n    ' order by attnum))
          from pg_attribute join pg_type t on t.oid = atttypid where attrelid = o.oid and attnum > 0),
       ' with (' || nullif(array_to_string(array(select unnest(reloptions) order by 1), ', '), '') || ')',
       E' as\\n', pg_get_viewdef(o.oid))
  from objects o join pg_class c on c.oid = o.oid where o.kind = 'view'
"""

_FUNCTIONS = """
select o.kind, o.name, case prokind when 'a' then format('create aggregate %s', p.oid::regprocedure)
                                    else pg_get_functiondef(p.oid) end || ';'
  from objects o join pg_proc p on p.oid = o.oid where o.kind = 'function'
"""

_OWNERS = "select kind, name, format('alter %s %s owner to %s;', kind, name, owner::regrole) from objects"

_INDEXES = """
select o.kind, o.name, concat(pg_get_indexdef(indexrelid), case when not indisvalid then ' -- INVALID' end,
       case when indisreplident then ' -- replica identity' end, ';')
  from objects o join pg_index on indrelid = o.oid
 where o.kind in ('table', 'view')
   and not exists (select from pg_constraint where conindid = indexrelid and contype in ('p', 'u', 'x'))
"""

_ROW_SECURITY = """
select kind, name, format('alter table %s %s row level security;', name, word)
  from objects o join pg_class c on c.oid = o.oid,
       (values ('enable'), ('force')) as words (word)
 where word = 'enable' and relrowsecurity or word = 'force' and relforcerowsecurity
union all
select kind, name, format('alter table %s replica identity %s;', name, relreplident)
  from objects o join pg_class c on c.oid = o.oid where kind = 'table' and relreplident <> 'd'
union all  -- read through a parent, only the parent's policies count
select o.kind, o.name, format('alter table %s inherit %s;', inhrelid::regclass, inhparent::regclass)
  from objects o join pg_inherits on o.oid in (inhrelid, inhparent) where o.kind = 'table'
union all  -- what no other query looks at: an operator, a collation, a dictionary
select 'schema', 'jobforge', format('create %s %s;', found.type, found.identity)
  from pg_depend d cross join lateral pg_identify_object(d.classid, d.objid, 0) found
 where d.refclassid = 'pg_namespace'::regclass and d.refobjid = to_regnamespace('jobforge') and d.deptype = 'n'
   and d.classid not in ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_statistic_ext'::regclass)
"""

_POLICIES = """
select o.kind, o.name, concat(format('create policy %I on %s as %s for %s to %s', polname, o.name,
       case when polpermissive then 'permissive' else 'restrictive' end,
       case polcmd when '*' then 'all' when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                   else 'delete' end,
       (select string_agg(role, ', ' order by role collate "C")
          from (select coalesce(nullif(r, 0)::regrole::text, 'public') as role
                  from unnest(polroles) as r) roles)),
       E'\\n    using (' || pg_get_expr(polqual, polrelid) || ')',
       E'\\n    with check (' || pg_get_expr(polwithcheck, polrelid) || ')', ';')
  from objects o join pg_policy on polrelid = o.oid
"""

_OTHERS = """
select o.kind, o.name, concat(definition, ';') from objects o join (
    select tgrelid as relid, concat(pg_get_triggerdef(oid),
           case when tgenabled <> 'O' then ' -- enabled: ' || tgenabled::text end) as definition
      from pg_trigger where not tgisinternal
    union all select ev_class, pg_get_ruledef(oid) from pg_rewrite where rulename <> '_RETURN'
    union all select stxrelid, pg_get_statisticsobjdef(oid) from pg_statistic_ext
) d on relid = o.oid where o.catalog = 'pg_class'::regclass
"""

_GRANTS = """
, granted as (
    select kind, name, grantee, is_grantable,
           string_agg(lower(privilege_type), ', ' order by privilege_type collate "C") as privileges
      from objects, aclexplode(acl) where grantee <> owner group by kind, name, grantee, is_grantable
    union all
    select kind, name, grantee, is_grantable,
           format('%s (%s)', lower(privilege_type), string_agg(quote_ident(attname), ', ' order by attnum))
      from objects o join pg_attribute on attrelid = o.oid, aclexplode(attacl)
     where o.catalog = 'pg_class'::regclass and not attisdropped and grantee <> owner
     group by kind, name, grantee, is_grantable, privilege_type
)
select kind, name, format('grant %s on %s %s to %s%s;', privileges, kind, name,
       coalesce(nullif(grantee, 0)::regrole::text, 'public'),
       case when is_grantable then ' with grant option' end)
  from granted
"""

_COMMENTS = """
select o.kind, o.name, format('comment on %s is %L;', case
       when d.classoid = o.catalog and d.objsubid = 0 then o.kind || ' ' || o.name
       when d.classoid = o.catalog then format('column %s.%I', o.name, attname)
       else (select format('%s %s', type, identity) from pg_identify_object(d.classoid, d.objoid, 0)) end,
       description)
  from pg_description d
  left join pg_index on d.classoid = 'pg_class'::regclass and indexrelid = d.objoid
  left join pg_policy on d.classoid = 'pg_policy'::regclass and pg_policy.oid = d.objoid
  left join pg_trigger on d.classoid = 'pg_trigger'::regclass and pg_trigger.oid = d.objoid
  left join pg_constraint on d.classoid = 'pg_constraint'::regclass and pg_constraint.oid = d.objoid
  join objects o
    on o.oid = coalesce(indrelid, polrelid, tgrelid, nullif(conrelid, 0), nullif(contypid, 0), d.objoid)
   and (o.catalog = d.classoid or coalesce(polrelid, tgrelid, conrelid) is not null)
  left join pg_attribute on o.catalog = 'pg_class'::regclass and attrelid = d.objoid and attnum = d.objsubid
"""

# The order in which the lines of one object follow each other.
_QUERIES: tuple[str, ...] = (
    _ROLES,
    *(_OBJECTS + query for query in (_TYPES, _SEQUENCES, _TABLES, _VIEWS, _FUNCTIONS, _INDEXES, _OWNERS)),
    *(_OBJECTS + query for query in (_ROW_SECURITY, _POLICIES, _OTHERS, _GRANTS)),
    _DEFAULT_PRIVILEGES,
    _OBJECTS + _COMMENTS,
)


def snapshot(connection: Connection) -> str:
    """Describe schema jobforge and its roles; equal schemas give equal text on every supported Postgres.

    Reads the catalog only, needs no rights, and has to be inside a transaction (not AUTOCOMMIT).
    """
    found = describe(connection)
    return _HEADER + "".join(f"\n-- {name}\n{text}\n" for name, text in found.items())


def describe(connection: Connection) -> dict[str, str]:
    """The same by object, each under its kind and name, such as "table jobforge.jobs"."""
    return {name: "\n".join(texts) for name, texts in statements(connection).items()}


def statements(connection: Connection) -> dict[str, list[str]]:
    """The same by object and statement."""
    objects: dict[tuple[int, str], list[str]] = {}
    with _pinned(connection):
        for query in _QUERIES:
            for kind, name, text in sorted(_rows(connection, query)):
                objects.setdefault((_KINDS.index(kind), name), []).append(_plain(kind, text))
    return {f"{_KINDS[kind]} {name}": texts for (kind, name), texts in sorted(objects.items())}


def parse(text: str) -> dict[str, str]:
    """What `describe` gave, from a snapshot of ours. Of others', a name could look like the line between two."""
    parts = re.split(rf"\n-- ((?:{'|'.join(_KINDS)}) \S+)\n", text.removeprefix(_HEADER))
    return {name: body.removesuffix("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def statements_of(text: str) -> list[str]:
    """The statements of one object, from a snapshot of ours."""
    return re.split(rf"\n(?={_BEGINS})", text) if text else []


def _rows(connection: Connection, query: str) -> Iterator[tuple[str, str, str]]:
    rows = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    return ((str(kind), str(name), str(text)) for kind, name, text in rows)


def _plain(kind: str, text: str) -> str:
    """Undo what one version of Postgres writes differently from another.

    Before 16 a view over one relation names it before every column, later ones do not.
    """
    text = "\n".join(line.rstrip() for line in text.splitlines())
    alone = r"\bFROM (?:\w+\.)?(\w+)(?: (\w+))?(?=;|\s+(?:WHERE|GROUP|ORDER|LIMIT)\b)"
    if kind == "view" and len(re.findall(r"\b(?:FROM|JOIN)\b", text)) == 1 and (found := re.search(alone, text)):
        text = _without(found[2] or found[1], text)
    if kind == "view" and (found := re.search(r"^   FROM \(.*\) (\w+)$", text, re.DOTALL | re.MULTILINE)):
        text = _without(found[1], text)
    return text


def _without(name: str, text: str) -> str:
    """The text without a relation's name before its columns."""
    return re.sub(rf"(?<![\w.\"]){name}\.", "", text)


@contextmanager
def _pinned(connection: Connection) -> Iterator[None]:
    """Pin the settings that the catalog's functions obey, and give back the caller's."""
    names = ", ".join(f"current_setting('{name}')" for name in _SETTINGS)
    before = connection.exec_driver_sql(f"select {names}").one()
    _set(connection, list(_SETTINGS.values()))
    yield
    _set(connection, list(before))


def _set(connection: Connection, values: Sequence[str]) -> None:
    quoted = (value.replace("'", "''") for value in values)
    calls = (f"set_config('{name}', '{value}', true)" for name, value in zip(_SETTINGS, quoted, strict=True))
    connection.exec_driver_sql(f"select {', '.join(calls)}", execution_options={"no_parameters": True})


def main(arguments: Sequence[str]) -> None:
    """Print the snapshot of the database at a URL, or at the one that the environment names."""
    with create_engine(database_url(*arguments)).connect() as connection:
        sys.stdout.write(snapshot(connection))


if __name__ == "__main__":
    main(sys.argv[1:])
