"""`jobforge limits`, `jobforge queues …`, `jobforge tasks …`."""
