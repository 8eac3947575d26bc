"""`jobforge tenants …` and `jobforge tenancy …`."""
