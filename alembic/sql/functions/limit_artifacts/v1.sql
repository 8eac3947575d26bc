-- Lets artifacts in the database have at most so many bytes, from now on; 0 lets none in. What is there stays. They are
-- held in memory whole, by the server and by who reads them: hence the 100 MB.
create or replace function jobforge.limit_artifacts(p_max_bytes integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_max_bytes is null or p_max_bytes not between 0 and 104857600 then
        raise exception 'jobforge: an artifact may have 0 to 104857600 bytes'
            using errcode = 'JF003', hint = 'Keep larger ones elsewhere, and note their location.';
    end if;
    update jobforge.settings set artifact_bytes = p_max_bytes;
    return p_max_bytes;
end
$$;

grant execute on function jobforge.limit_artifacts(integer) to jobforge_admin;
comment on function jobforge.limit_artifacts(integer) is 'Let artifacts in the database have at most so many bytes.';
