"""A Postgres in Docker, where an engine answers."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from jobforge_sa.testing._binaries import ServerError

IMAGE = "postgres:18-alpine"


def usable() -> bool:
    """Say whether testcontainers is installed and an engine answers."""
    return importlib.util.find_spec("testcontainers") is not None and any(map(_answers, _engines()))


@contextlib.contextmanager
def container(settings: Mapping[str, str]) -> Iterator[str]:
    """Run a container for the block and give its URL; raises whatever Docker raises."""
    if not usable():
        raise ServerError("no Docker engine answers, or testcontainers is not installed")
    from testcontainers.community.postgres import PostgresContainer  # 0.4 s, and an optional dependency

    # The port is open to the network, so the password is one that nobody knows.
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    postgres = PostgresContainer(
        IMAGE,
        driver="psycopg",
        username="postgres",
        password=secrets.token_urlsafe(16),
        dbname="postgres",
    ).with_command(["postgres", *options])
    with postgres:
        yield str(postgres.get_connection_url())


def _engines() -> list[str]:
    if host := os.environ.get("DOCKER_HOST"):
        return [host]
    home, user = Path.home(), os.getuid()
    return [
        f"unix://{path}"
        for path in (
            "/var/run/docker.sock",
            f"{home}/.docker/run/docker.sock",
            f"/run/user/{user}/docker.sock",
        )
    ]


def _answers(engine: str) -> bool:
    """Ask by hand: docker-py needs 0.2 s to import and waits 60 s for an engine that says nothing."""
    where = urlsplit(engine)
    try:
        if where.scheme == "unix":
            link = socket.socket(socket.AF_UNIX)
            link.settimeout(1)
        else:
            link = socket.create_connection((where.hostname or "", where.port or 2375), timeout=1)
        with link:
            if where.scheme == "unix":
                link.connect(where.path)
            link.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in link.recv(64)
    except (OSError, ValueError):
        return False
