"""The built-in handlers, behind one registry: `forge.include(Connectors(...).forge)`. Loads no network library."""

from jobforge_sa.handlers.connectors import Connectors
from jobforge_sa.handlers.ground import Ground, Means
from jobforge_sa.handlers.http_request import HttpRequest, HttpResponse, SecretHeader
from jobforge_sa.handlers.webhook import Delivered, Webhook

__all__ = ["Connectors", "Delivered", "Ground", "HttpRequest", "HttpResponse", "Means", "SecretHeader", "Webhook"]
