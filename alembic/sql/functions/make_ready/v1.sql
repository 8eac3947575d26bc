-- What every claim does first: jobs that are due become claimable, up to 10,000 of them, for those of other queues may stand
-- before ours; and so do jobs that have come to the head of their lines.
create or replace function jobforge.make_ready() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    for i in 1 .. 10 loop
        exit when jobforge.promote_due(1000) < 1000;
    end loop;
    if exists (select from jobforge.turns) then
        perform jobforge.take_turns(1000);
    end if;
end
$$;

comment on function jobforge.make_ready() is 'Jobs that are due, or at the head of their line now, become claimable.';
