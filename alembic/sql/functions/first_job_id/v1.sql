-- The least id that a job of a moment can have. Ids are made in the order of time, and the index of jobs begins with the
-- tenant and the id: so a period is a range of it, and no index over created_at is needed.
create or replace function jobforge.first_job_id(p_at timestamptz) returns uuid
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ms bigint := greatest(floor(extract(epoch from p_at) * 1000), 0)::bigint;
begin
    return (lpad(to_hex(v_ms), 12, '0') || '70008000000000000000')::uuid;
end
$$;

grant execute on function jobforge.first_job_id(timestamptz) to jobforge_app, jobforge_admin;
comment on function jobforge.first_job_id(timestamptz) is 'The least id that a job of a moment can have.';
