-- Refuses a configuration of which a handler would ignore something, or trip over it: keys that nobody knows, values of
-- another kind. A network that is not public is the word of the operator's program alone, whoever writes the row.
create or replace function jobforge.check_connector(p_type text, p_config json) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_kinds constant jsonb := '{"enabled": "boolean", "schemes": "array", "ports": "array", "methods": "array",
        "allow_hosts": "array", "deny_hosts": "array", "deny_networks": "array", "timeout": "number",
        "max_bytes": "number",
        "max_request_bytes": "number", "disable_after": "number", "disable_after_seconds": "number"}';
    v_key   text;
    v_value jsonb;
begin
    if p_type <> '' and (length(p_type) > 100 or p_type !~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$') then
        raise exception 'jobforge: no connector has the type %', quote_literal(left(p_type, 50))
            using errcode = 'JF003', hint = 'Leave the type out for every connector; or connector.http.request, for one.';
    end if;
    if json_typeof(p_config) is distinct from 'object' or octet_length(p_config::text) > 65536 then
        raise exception 'jobforge: a configuration is a JSON object of at most 65536 bytes'
            using errcode = 'JF003', hint = 'Such as {"allow_hosts": ["api.example.com"], "timeout": 10}.';
    end if;
    for v_key, v_value in select e.key, e.value from jsonb_each(p_config::jsonb) e loop
        if v_kinds ->> v_key is null then
            raise exception 'jobforge: a connector has no setting %', quote_literal(left(v_key, 50))
                using errcode = 'JF003', hint = case v_key when 'allow_networks' then
                    'Networks that are not public are named by the operator''s program only: Egress(allow_networks=...).'
                    else 'Settings: ' || (select string_agg(k, ', ' order by k) from jsonb_object_keys(v_kinds) k) || '.' end;
        end if;
        if jsonb_typeof(v_value) <> v_kinds ->> v_key
           or jsonb_typeof(v_value) = 'array' and exists (
              select from jsonb_array_elements(v_value) i
               where jsonb_typeof(i) <> case v_key when 'ports' then 'number' else 'string' end)
           or jsonb_typeof(v_value) = 'number' and not (v_value #>> '{}')::numeric between 0.001 and 1e9 then
            raise exception 'jobforge: the setting % is not what it should be', v_key
                using errcode = 'JF003',
                      hint = 'It is ' || case when v_key = 'ports' then 'an array of numbers'
                          else case v_kinds ->> v_key when 'array' then 'an array of texts' when 'boolean' then 'true or false'
                               else 'a number above 0' end end || '.';
        end if;
    end loop;
end
$$;

comment on function jobforge.check_connector is 'Raises JF003 for a configuration that could not work.';
