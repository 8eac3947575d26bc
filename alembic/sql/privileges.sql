-- Runs as jobforge_owner before every migration.

-- The lock of all migrations: to comment on an object locks it against all others who would, until the transaction
-- ends. An advisory lock would do it too, but anybody in the database could take that and keep it.
comment on schema jobforge is 'Background jobs that commit with your data. Owned by jobforge_sa''s Alembic revisions.';

-- Closed by default: for everything that jobforge_owner will ever create, also for the functions of later revisions.
-- "in schema" would not do: it can only add to the built-in grants to PUBLIC. Again each time, because a dump of the
-- schema alone does not hold default privileges, and a restored one must stay closed.
alter default privileges for role jobforge_owner revoke execute on functions from public;
alter default privileges for role jobforge_owner revoke usage on types from public;
