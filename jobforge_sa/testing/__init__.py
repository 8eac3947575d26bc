"""For tests: a Postgres without Docker and without root, and assertions that tenants are apart."""
