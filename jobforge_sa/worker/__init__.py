"""The worker: claims jobs, runs their handlers, reports how they ended. The database only through `db.calls`."""
