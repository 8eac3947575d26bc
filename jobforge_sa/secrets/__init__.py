"""Secrets of tenants, for the built-in handlers: sealed with the operator's keys, or references that he resolves."""

from jobforge_sa.secrets.keys import KEYS_VARIABLE, SecretKeys
from jobforge_sa.secrets.resolver import SecretResolver
from jobforge_sa.secrets.secret import Secret

__all__ = ["KEYS_VARIABLE", "Secret", "SecretKeys", "SecretResolver"]
