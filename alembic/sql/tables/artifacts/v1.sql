-- What runs have made beside their results: files with a name and a type, such as reports. Small ones stand here with
-- their bytes; of others it is noted where they were put. Written by the token of a run, in the transaction of its
-- completion: what a lost run has made is not here.
create table jobforge.artifacts (
    job_id     uuid             not null,
    name       text collate "C" not null,
    tenant_id  text collate "C" not null,
    media_type text             not null,
    size       bigint           not null,
    sha256     text             not null,   -- in lower-case hex, of the bytes wherever they are
    body       bytea,
    location   text,                        -- where they are, if not here
    created_at timestamptz      not null,
    primary key (job_id, name),
    check ((body is null) <> (location is null))
);
create index artifacts_tenant on jobforge.artifacts (tenant_id, job_id, name);

-- as in jobs: no guess of the planner spells a name
alter table jobforge.artifacts alter tenant_id set statistics 0, alter name set statistics 0,
    alter location set statistics 0, alter sha256 set statistics 0, alter body set statistics 0;

alter table jobforge.artifacts enable row level security;
alter table jobforge.artifacts force row level security;
create policy artifacts_owner on jobforge.artifacts to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy artifacts_tenant on jobforge.artifacts for select to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()));
create policy artifacts_wall on jobforge.artifacts as restrictive to jobforge_app
    using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
create policy artifacts_admin on jobforge.artifacts for select to jobforge_admin using (true);

grant select on jobforge.artifacts to jobforge_app, jobforge_admin;
comment on table jobforge.artifacts is 'What runs have made beside their results, such as reports.';
