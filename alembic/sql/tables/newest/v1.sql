-- What is kept by number: how many of a state and type were counted so far, from the newest on, and which was the last of
-- those that stay. Made by count_newest, whose walk is far ahead of the one that deletes.
create table jobforge.newest (
    state   text collate "C" not null,
    type    text collate "C" not null,
    counted bigint           not null,
    beyond  uuid,                       -- all that were enqueued before are too many; NULL: not so many were met
    primary key (state, type)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

alter table jobforge.newest enable row level security;
alter table jobforge.newest force row level security;
create policy newest_owner on jobforge.newest to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy newest_admin on jobforge.newest for select to jobforge_admin using (true);

grant select on jobforge.newest to jobforge_admin;
comment on table jobforge.newest is 'What is kept by number, as far as it was counted.';
