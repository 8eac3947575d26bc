-- How many pages of ready and of the index that claims walk this session has read, since whenever. Differences tell what a
-- claim has passed: behind a held snapshot each deleted job costs a look at its row, else a page of the index has a hundred.
create or replace function jobforge.pages_read() returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
    select pg_stat_get_xact_blocks_fetched('jobforge.ready_ring'::regclass)
           + pg_stat_get_xact_blocks_fetched('jobforge.ready'::regclass)
$$;

comment on function jobforge.pages_read() is 'How many pages of waiting jobs this session has read.';
