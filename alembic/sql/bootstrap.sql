-- What must stand before the first revision: four roles and the schema. It runs before every migration and
-- changes nothing where all is in place, so that a DBA may run it first where the migrator has too few rights.
-- Roles belong to the whole cluster: they are never dropped by a downgrade.
do $bootstrap$
declare
    v_me      constant text := quote_ident(current_user);
    v_grant   constant text := case when current_setting('server_version_num')::int >= 160000
        then format('grant jobforge_owner to %s with inherit false, set true;', v_me)
        else format('grant jobforge_owner to %s;', v_me) end;
    v_member  constant text := case when current_setting('server_version_num')::int >= 160000
        then 'SET' else 'MEMBER' end;
    v_role    text;
    v_missing text := '';
begin
    foreach v_role in array array['jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin'] loop
        continue when exists (select from pg_catalog.pg_roles where rolname = v_role);
        begin
            -- nothing but these two words: some managed services refuse a role that spells out NOSUPERUSER
            execute format('create role %I nologin noinherit', v_role);
        exception
            when duplicate_object or unique_violation then null;  -- another migrator was quicker
            when insufficient_privilege then v_missing := v_missing || format('create role %I nologin noinherit; ', v_role);
        end;
    end loop;
    if v_missing <> '' then
        raise exception 'jobforge: % may not create the roles that jobforge needs', current_user
            using errcode = 'insufficient_privilege', hint = 'A DBA runs once: ' || v_missing || v_grant;
    end if;

    select string_agg(rolname, ', ') into v_missing from pg_catalog.pg_roles
     where rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
       and (rolsuper or rolbypassrls or rolcanlogin);
    if v_missing is not null then
        raise exception 'jobforge: these roles can log in, are superusers or bypass row level security: %', v_missing
            using errcode = 'insufficient_privilege',
                  hint = format('alter role %s nologin nosuperuser nobypassrls;', split_part(v_missing, ', ', 1));
    end if;

    if not pg_catalog.pg_has_role(current_user, 'jobforge_owner', v_member) then
        begin
            execute v_grant;
        exception when insufficient_privilege then
            raise exception 'jobforge: % may not act as jobforge_owner', current_user
                using errcode = 'insufficient_privilege', hint = 'A DBA runs once: ' || v_grant;
        end;
    end if;

    if not exists (select from pg_catalog.pg_namespace where nspname = 'jobforge') then
        begin
            create schema jobforge authorization jobforge_owner;
        exception
            when duplicate_schema or unique_violation then null;
            when insufficient_privilege then
                raise exception 'jobforge: % may not create the schema jobforge', current_user
                    using errcode = 'insufficient_privilege',
                          hint = format('The owner of the database runs once: grant create on database %I to %s;',
                                        current_database(), v_me);
        end;
    end if;
    if (select nspowner from pg_catalog.pg_namespace where nspname = 'jobforge') <> 'jobforge_owner'::regrole then
        raise exception 'jobforge: the schema jobforge belongs to another role than jobforge_owner'
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Its owner runs once: alter schema jobforge owner to jobforge_owner;';
    end if;
end
$bootstrap$;
