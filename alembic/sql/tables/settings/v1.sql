-- What holds for the whole schema, in one row. Reading it costs current_tenant() 2 microseconds; a row that is
-- missing means signed, so that nothing opens when it gets lost.
create table jobforge.settings (
    only_row boolean          primary key default true check (only_row),
    tenancy  text collate "C" not null check (tenancy in ('plain', 'signed')),
    artifact_bytes integer not null default 1048576 check (artifact_bytes between 0 and 104857600)
);

alter table jobforge.settings enable row level security;
alter table jobforge.settings force row level security;
create policy settings_owner on jobforge.settings to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');

insert into jobforge.settings (tenancy) values ('plain');
comment on table jobforge.settings is 'What holds for the whole schema: the tenancy, and how large an artifact may be.';
