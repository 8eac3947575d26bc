"""The receivers of docs/webhooks.md, as they stand there, get what `sign` makes: good, forged, old and repeated."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobforge_sa.webhooks import new_secret, sign
from tests.house import markdown
from tests.house.source import ROOT

PAGE = ROOT / "docs" / "webhooks.md"
SECRET, NEXT = new_secret(), new_secret()
BODY = '{"event_type":"order.paid","data":"☂"}'.encode()

Post = Callable[[dict[str, str], bytes], int]


def program(framework: str) -> dict[str, Any]:
    """What a block of the page defines."""
    (block,) = [one for one in markdown.blocks(PAGE) if one.language == "python" and f"import {framework}" in one.text]
    defined: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(block.text, f"{block.page}:{block.line}", "exec"), defined)
    return defined


def flask(events: Path) -> tuple[Post, Callable[[], list[str]]]:
    with sqlite3.connect(events) as made:
        made.execute("create table events (id text primary key, body text)")
    client = program("Flask")["app"].test_client()

    def post(headers: dict[str, str], body: bytes) -> int:
        return int(client.post("/hooks", headers=headers, data=body).status_code)

    def stored() -> list[str]:
        with sqlite3.connect(events) as found:
            return [str(row[0]) for row in found.execute("select id from events order by rowid")]

    return post, stored


def starlette(_: Path) -> tuple[Post, Callable[[], list[str]]]:
    defined = program("Starlette")

    async def asked(headers: dict[str, str], body: bytes) -> int:
        sent: list[dict[str, Any]] = []
        scope = {
            "type": "http", "method": "POST", "path": "/hooks", "query_string": b"", "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await defined["app"](scope, receive, send)
        return int(sent[0]["status"])

    return lambda headers, body: asyncio.run(asked(headers, body)), lambda: list(defined["stored"])


@pytest.mark.parametrize("framework", [flask, starlette])
def test_the_receivers_of_the_page_verify_and_store_each_event_once(
    framework: Callable[[Path], tuple[Post, Callable[[], list[str]]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRETS", f"{SECRET} {NEXT}")
    monkeypatch.setenv("EVENTS", str(tmp_path / "events"))
    post, stored = framework(tmp_path / "events")
    now = int(time.time())
    good = sign([SECRET], "e1", now, BODY)
    assert post(good, BODY) == 204
    assert post(good, BODY) == 204  # a replay
    assert post(sign([SECRET], "e1", now + 1, BODY), BODY) == 204  # the event once more, signed anew
    assert post(sign([new_secret(), NEXT], "e2", now, BODY), BODY) == 204
    assert post(sign([new_secret()], "e3", now, BODY), BODY) == 400
    assert post(good, BODY + b" ") == 400
    assert post(sign([SECRET], "e4", now - 301, BODY), BODY) == 400
    assert post({}, BODY) == 400
    assert stored() == ["e1", "e2"]
