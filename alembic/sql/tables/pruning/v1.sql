-- How far each walk of prune has come. They go in the order of ids, which is that of age, so no table of the hot path has an
-- index by time; and whoever holds the row is the one who walks.
create table jobforge.pruning (
    walk     text        primary key check (walk in ('jobs', 'results', 'idempotency_keys', 'newest_succeeded', 'newest_failed')),
    behind   uuid        not null default '00000000-0000-0000-0000-000000000000',  -- all up to here was looked at; the nil UUID: the walk is over
    met      bigint      not null default 0,  -- so many were counted, by the walks that count
    began_at timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

alter table jobforge.pruning enable row level security;
alter table jobforge.pruning force row level security;
create policy pruning_owner on jobforge.pruning to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');
create policy pruning_admin on jobforge.pruning for select to jobforge_admin using (true);

insert into jobforge.pruning (walk, began_at)
select w, '-infinity' from unnest(array['jobs', 'results', 'idempotency_keys', 'newest_succeeded', 'newest_failed']) w;

grant select on jobforge.pruning to jobforge_admin;
comment on table jobforge.pruning is 'How far each walk of prune has come.';
