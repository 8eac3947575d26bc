"""`jobforge replay …`: bundles, and handlers that are tried out."""
