-- Whether a retry policy is one: {"base", "factor", "max", "jitter"} or {"delays": [...]}, in seconds. Unknown keys
-- are refused, so that a typing error does not become the default policy in silence.
create or replace function jobforge.check_retry(p_retry jsonb) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if jsonb_typeof(p_retry) <> 'object' or p_retry - '{base,factor,max,jitter,delays}'::text[] <> '{}' then
        return false;
    end if;
    return jsonb_path_match(p_retry, '
        (!exists($.base)   || ($.base   >= 0 && $.base   <= 2592000)) &&
        (!exists($.factor) || ($.factor >= 1 && $.factor <= 100)) &&
        (!exists($.max)    || ($.max    >= 0 && $.max    <= 2592000)) &&
        (!exists($.jitter) || ($.jitter >= 0 && $.jitter <= 1)) &&
        (!exists($.delays) || ($.delays.type() == "array" && $.delays.size() >= 1 && $.delays.size() <= 100
            && !exists($.delays[*] ? (!(@ >= 0 && @ <= 2592000)))))', silent => true) is true;
end
$$;

comment on function jobforge.check_retry(jsonb) is 'Whether a retry policy is well formed.';
