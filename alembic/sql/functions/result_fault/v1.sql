-- Why an item of complete_jobs cannot be read; NULL where it can. Asked only where one of them has made the whole array
-- unreadable, for each question costs a subtransaction.
create or replace function jobforge.result_fault(p_item json) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if json_typeof(p_item) <> 'object' then
        return 'not an object';
    end if;
    -- chr(92): a literal backslash would be read by the caller's standard_conforming_strings
    if strpos(p_item::text, chr(92) || 'u') > 0 and not jobforge.is_storable(p_item) then
        return 'contains the character NUL or half of a surrogate pair';
    end if;
    begin
        perform (p_item ->> 'job_id')::uuid;
    exception when data_exception then
        return 'job_id is not a uuid';
    end;
    begin
        perform (p_item ->> 'lease_token')::uuid;
    exception when data_exception then
        return 'lease_token is not a uuid';
    end;
    begin
        perform (p_item ->> 'run_ms')::integer;
    exception when data_exception then
        return 'run_ms is not a whole number of milliseconds';
    end;
    return null;
end
$$;

comment on function jobforge.result_fault(json) is 'Why an item of complete_jobs cannot be read.';
