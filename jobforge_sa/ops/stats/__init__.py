"""`jobforge stats`."""
