-- Keeps a file that a run has made: its bytes, or where they were put. The token is the right to, as for a completion;
-- a tenant, where one is set, must be the job's. Called in the transaction of the completion it is there if and only if
-- the run counts. A name that the job has already is replaced: an earlier run that failed may have left it. No row:
-- the lease is gone. It stays locked until the transaction ends, so that two calls of one run come one after the other.
create or replace function jobforge.store_artifact(
    p_job_id uuid, p_lease_token uuid, p_name text, p_media_type text, p_body bytea default null,
    p_location text default null, p_size bigint default null, p_sha256 text default null
) returns table (name text, size bigint, sha256 text, created_at timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_tenant text;
    v_now    timestamptz := jobforge.now();
    v_limit  integer := jobforge.artifact_limit();
    c_most   constant integer := 20;
begin
    if p_name is null or p_name !~ '^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$' then
        raise exception 'jobforge: % is no name of an artifact', coalesce(quote_literal(left(p_name, 50)), 'NULL')
            using errcode = 'JF003', hint = 'Use 1 to 100 of A-Z a-z 0-9 _ . - and do not begin with . or -';
    end if;
    if p_media_type is null or length(p_media_type) > 100
       or p_media_type !~ '^[a-z0-9.+-]+/[a-z0-9.+-]+(; ?[a-z]+=[a-zA-Z0-9-]+)?$' then
        raise exception 'jobforge: the media type of % is none', p_name
            using errcode = 'JF003', hint = 'Write it as text/csv, or text/html; charset=utf-8.';
    end if;
    if (p_body is null) = (p_location is null) or p_location ~ '[[:cntrl:]]'
       or length(p_location) not between 1 and 2000 then
        raise exception 'jobforge: artifact % needs a body or a location, and not both', p_name
            using errcode = 'JF003', hint = 'Pass p_body; or p_location (1 to 2000 characters) with p_size and p_sha256.';
    end if;
    if p_location is not null and (p_size is null or p_size < 0 or p_sha256 is null or p_sha256 !~ '^[0-9a-f]{64}$') then
        raise exception 'jobforge: artifact % has a location, and needs its size and its SHA-256', p_name
            using errcode = 'JF003', hint = 'Pass p_size in bytes, and p_sha256 in lower-case hex.';
    end if;
    if octet_length(p_body) > v_limit then
        raise exception 'jobforge: artifact % has % bytes, % are allowed', p_name, octet_length(p_body), v_limit
            using errcode = 'JF009',
                  hint = 'Make it smaller, or keep it elsewhere and pass its location; '
                         'or an administrator raises it: limit_artifacts.';
    end if;
    select l.tenant_id into v_tenant from jobforge.leases l
     where l.job_id = p_job_id and l.token = p_lease_token
       and l.tenant_id = coalesce(jobforge.current_tenant(), l.tenant_id)
       for update;
    if v_tenant is null then
        return;
    end if;
    delete from jobforge.artifacts a where a.job_id = p_job_id and a.name = p_name;
    if (select count(*) from jobforge.artifacts a where a.job_id = p_job_id) >= c_most then
        raise exception 'jobforge: a job has % artifacts at most', c_most
            using errcode = 'JF003', hint = 'Put several files into one, or make a job for each.';
    end if;
    return query
        insert into jobforge.artifacts as a (job_id, name, tenant_id, media_type, size, sha256, body, location, created_at)
        values (p_job_id, p_name, v_tenant, p_media_type, coalesce(octet_length(p_body), p_size),
                coalesce(encode(sha256(p_body), 'hex'), p_sha256), p_body, p_location, v_now)
        returning a.name, a.size, a.sha256, a.created_at;
end
$$;

grant execute on function jobforge.store_artifact to jobforge_app, jobforge_worker;
comment on function jobforge.store_artifact is 'Keep a file that a run has made, by its lease token.';
