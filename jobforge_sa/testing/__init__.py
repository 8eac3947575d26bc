"""For tests: a Postgres without Docker and without root."""
