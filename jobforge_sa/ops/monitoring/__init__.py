"""Metrics and health over HTTP: of a worker, and of the state of the database."""
