"""The enqueueing side: in the caller's transaction; never commits, connects or starts a thread."""
