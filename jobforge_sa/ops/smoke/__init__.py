"""`jobforge smoke`: all of it, tried out on a server."""
