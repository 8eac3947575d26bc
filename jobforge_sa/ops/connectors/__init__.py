"""`jobforge connectors`, `secrets` and `webhooks`: what built-in handlers may do, with what, and what they did."""
