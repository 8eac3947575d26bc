"""Which revisions of the schema this code works with. Constants only."""

HEAD = "0002"
"""The newest revision that this code knows. An older schema lacks something that it calls."""

CHANNEL = "jobforge"
"""The channel of the wake-up hints; their payload is a queue's name."""
