"""`Connectors`: the built-in handlers with what the operator allows them, as a registry to include."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobforge_sa.artifacts import Sink
from jobforge_sa.egress.policy import Egress
from jobforge_sa.handlers import http_request, webhook
from jobforge_sa.handlers.ground import Means
from jobforge_sa.handlers.report import task as report
from jobforge_sa.secrets import SecretKeys, SecretResolver
from jobforge_sa.tasks import JobForge
from jobforge_sa.tenant import Tenant

if TYPE_CHECKING:
    from jobforge_sa.egress.client import Client


class Connectors:
    """The tasks `connector.http.request`, `connector.webhook.deliver` and `connector.report.generate`.

    Args:
        egress: Where requests may go; or a `Client`, with a resolver or an authority of your own. Default: every public
            host, by https.
        keys: They open the tenants' sealed secrets. Default: JOBFORGE_SECRET_KEYS, when the first one is met.
        resolver: Resolves secrets that are kept elsewhere.
        artifacts: Where reports go. Default: the database, up to a size.
        tenant: The one tenant of an application that has only one, as in `JobForge(tenant=...)`.

    Attributes:
        forge: The registry of the tasks.
        means: What was given, for the handlers.
        http_request: The task `connector.http.request`, which takes an `HttpRequest`.
        webhook: The task `connector.webhook.deliver`, which takes a `Webhook`.
        report: The task `connector.report.generate`, which takes a `ReportRequest`.

    Example:
        >>> connectors = Connectors()
        >>> forge.include(connectors.forge)
    """

    def __init__(
        self, *, egress: Egress | Client | None = None, keys: SecretKeys | None = None,
        resolver: SecretResolver | None = None, artifacts: Sink | None = None, tenant: Tenant | None = None,
    ) -> None:  # fmt: skip
        self.forge = JobForge(tenant=tenant)
        self.means = Means(egress, keys, resolver, artifacts)
        # each handler's module has `register(forge, means) -> Task`
        self.http_request = http_request.register(self.forge, self.means)
        self.webhook = webhook.register(self.forge, self.means)
        self.report = report.register(self.forge, self.means)
