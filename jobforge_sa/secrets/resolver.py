"""`SecretResolver`: how the operator's program gets at secrets that are kept elsewhere."""

from __future__ import annotations

from typing import Protocol


class SecretResolver(Protocol):
    """Resolves the references that administrators have put in place of secrets. No payload can name one."""

    def resolve(self, tenant_id: str, reference: str) -> str:
        """The secret that a reference of this tenant's stands for, such as `kv/acme/billing`.

        Called in a handler's thread, outside of any transaction, for each run that needs it: cache what is slow. Any
        error is taken as "not now": the attempt fails, and is tried again.
        """
        ...
