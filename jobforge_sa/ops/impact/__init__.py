"""`jobforge impact …`."""
