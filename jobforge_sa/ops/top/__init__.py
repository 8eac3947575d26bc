"""`jobforge top`: a live view."""
