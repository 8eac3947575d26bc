-- Whether jsonb can hold a document: no NUL, no half of a surrogate pair. Raising would be simpler, but its caller
-- judges one of many items. Asked only where the text has a \u in it.
create or replace function jobforge.is_storable(p_document json) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform p_document::jsonb;
    return true;
exception when data_exception or program_limit_exceeded then
    return false;
end
$$;

comment on function jobforge.is_storable(json) is 'Whether jsonb can hold a document.';
