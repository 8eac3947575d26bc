-- Who lives until when. One update for each worker and heartbeat, however many jobs it holds.
create table jobforge.workers (
    worker_id   uuid        primary key,
    alive_until timestamptz not null,
    started_at  timestamptz not null,
    name        text,        -- host and pid, for people
    queues      text[],
    types       text[],
    connections integer      -- opens at most so many; NULL: it has not said
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

alter table jobforge.workers enable row level security;
alter table jobforge.workers force row level security;
create policy workers_owner on jobforge.workers to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy workers_admin on jobforge.workers for select to jobforge_admin using (true);

grant select on jobforge.workers to jobforge_admin;
comment on table jobforge.workers is 'Who lives until when. A lease lives while its worker does.';
