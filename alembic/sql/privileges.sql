-- Closed by default: for everything that jobforge_owner will ever create, also for the functions of later revisions.
-- "in schema" would not do: it can only add to the built-in grants to PUBLIC. It runs as jobforge_owner before every
-- migration, because a dump of the schema alone does not hold default privileges, and a restored one must stay closed.
alter default privileges for role jobforge_owner revoke execute on functions from public;
alter default privileges for role jobforge_owner revoke usage on types from public;
