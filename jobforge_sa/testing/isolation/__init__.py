"""Assertions that tenants are apart, made by attacking as each of them and by reading the catalog."""

from jobforge_sa.testing.isolation.isolation import Isolation
from jobforge_sa.testing.isolation.verdict import NotIsolated, ProvesNothing

__all__ = ["Isolation", "NotIsolated", "ProvesNothing"]
