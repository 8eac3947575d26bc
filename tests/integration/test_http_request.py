"""`connector.http.request` with a real worker, a real database, and servers on loopback."""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.types.json import Json
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, Worker
from jobforge_sa.connectors import ConnectorSettings, TenantSecrets
from jobforge_sa.egress.client import Client
from jobforge_sa.handlers import Connectors
from jobforge_sa.handlers.http_request import HttpRequest
from jobforge_sa.secrets import SecretKeys
from jobforge_sa.types import Delays, JobInfo
from tests.fix_postgres import Database
from tests.house import markdown
from tests.house.source import ROOT
from tests.security.egress_server import HOST, OK, Authority, Dialer, Names, Serving, client, url
from tests.support import Sql, wait_for

AT_ONCE = Delays(dt.timedelta(0))
KEY = SecretKeys.new_key("2026")
KEYS = SecretKeys.parse(KEY)
VALUE = "s3cr3t/of+mine-and-no-other"
BEARER = {"Authorization": {"secret": "api", "prefix": "Bearer "}}
NAME = "connector.http.request"
PAGE = ROOT / "docs" / "connectors.md"


class Shop:
    """An application whose tenants have requests made."""

    def __init__(self, database: Database, server: Serving, **policy: Any) -> None:
        self.database, self.server = database, server
        self.connectors = Connectors(egress=client(server, **policy), keys=KEYS)

    def keep(self, value: str, *hosts: str, tenant: str = "acme", **options: Any) -> None:
        with self.database.engine("jf_admin").begin() as c:
            TenantSecrets(c, KEYS).set(tenant, "api", value, hosts=hosts or None, **options)

    def configure(self, config: dict[str, Any], tenant: str = "acme") -> None:
        with self.database.engine("jf_admin").begin() as c:
            ConnectorSettings(c).set(tenant, config, type=self.connectors.http_request)

    def ask(self, tenant: str = "acme", *, options: Any = None, **said: Any) -> uuid.UUID:
        request = HttpRequest.model_validate({"url": url(self.server)} | said)
        given = {"retry": AT_ONCE, "max_attempts": 3} | (options or {})
        with Session(self.database.engine("jf_app")) as session, session.begin():
            return Jobs(session, tenant=tenant).enqueue(self.connectors.http_request, request, **given).id

    def work(self) -> dict[str, int]:
        """Work until nothing is left that is due; give how the runs ended."""
        sessions = self.database.engine("jf_app")
        with Worker(self.database.engine("jf_worker"), self.connectors.forge, session_engine=sessions) as worker:
            assert worker.drain(20)
            return dict(worker.outcomes)

    def job(self, job: uuid.UUID, tenant: str = "acme") -> JobInfo:
        with Session(self.database.engine("jf_app")) as session:
            return Jobs(session, tenant=tenant).get(job)

    def errors(self, job: uuid.UUID) -> list[str]:
        asked = sa.text("select error ->> 'message' from jobforge.attempts where job_id = :id order by run")
        with self.database.engine().connect() as c:
            return [said or "" for said in c.scalars(asked, {"id": job})]


def head(came: bytes) -> list[str]:
    return came.partition(b"\r\n\r\n")[0].decode().split("\r\n")


def turns(*answers: bytes) -> Any:
    """A server's answers, one after the other."""
    left = list(answers)
    return lambda connection: connection.sendall(left.pop(0))


def test_a_request_is_made_with_a_secret_that_stands_nowhere(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    echo = b'{"you":"Bearer %s"}' % VALUE.encode()
    said = f"Set-Cookie: sid=abc\r\nX-Echo: {VALUE}\r\nContent-Length: {len(echo)}\r\n\r\n".encode()
    good = b"HTTP/1.1 200 OK\r\n" + said
    bad = good.replace(b"200 OK", b"404 No") + echo
    with caplog.at_level(logging.DEBUG), Serving(turns(good + echo, bad)) as server:
        shop = Shop(database, server)
        shop.keep(VALUE, HOST)
        done = shop.ask(headers=BEARER, method="POST", body={"n": 1}, idempotency_key="order-1")
        assert shop.work() == {"succeeded": 1}
        over = shop.ask(headers=BEARER)
        assert shop.work() == {"failed": 1}

    assert f"Authorization: Bearer {VALUE}" in head(server.requests[0])
    assert "Idempotency-Key: order-1" in head(server.requests[0])
    assert server.requests[0].endswith(b'{"n":1}')
    result = shop.job(done).result
    assert {name: result[name] for name in ("status", "preview", "bytes", "truncated")} == {
        "status": 200, "preview": '{"you":"Bearer ***"}', "bytes": len(echo), "truncated": False
    }  # fmt: skip
    assert result["headers"]["set-cookie"] == result["headers"]["x-echo"] == "***"
    assert (shop.job(over).state, shop.job(over).attempt) == ("dead", 1)
    assert shop.errors(over) == [f'http://{HOST}:{server.port} answered 404: {{"you":"Bearer ***"}}']
    with database.engine().connect() as c:
        tables = c.scalars(
            sa.text("select relname from pg_class where relnamespace = 'jobforge'::regnamespace and relkind = 'r'")
        )
        for table in tables.all():
            held = c.scalar(sa.text(f"select string_agg(t::text, ' ') from jobforge.{table} t")) or ""
            assert VALUE not in held, table
    assert VALUE not in caplog.text


def test_a_secret_goes_to_its_hosts_and_for_its_tenant_only(database: Database) -> None:
    with Serving() as server:
        shop = Shop(database, server)
        shop.keep(VALUE, "api.example.com")
        elsewhere, others = shop.ask(headers=BEARER), shop.ask("other", headers=BEARER)
        shop.work()
        assert shop.job(elsewhere).state == "dead"
        assert "the secret api is not for hook.test" in shop.errors(elsewhere)[0]
        assert (shop.job(others, "other").state, shop.job(others, "other").attempt) == ("dead", 3), "it may come yet"
        assert "the tenant has no secret api" in shop.errors(others)[0]
        assert server.requests == []
        shop.keep(VALUE, HOST)
        assert shop.job(shop.ask(headers=BEARER)).state == "queued"
        assert shop.work() == {"succeeded": 1}


def test_a_secret_is_replaced_while_requests_go_on(database: Database) -> None:
    with Serving() as server:
        shop = Shop(database, server)
        shop.keep(VALUE, HOST)
        shop.ask(headers=BEARER)
        shop.work()
        shop.keep("the-new-one", overlap=dt.timedelta(hours=1))
        shop.ask(headers=BEARER)
        shop.work()
    assert f"Authorization: Bearer {VALUE}" in head(server.requests[0])
    assert "Authorization: Bearer the-new-one" in head(server.requests[1])


def test_what_an_administrator_says_of_the_tenant_narrows_what_the_operator_allows(database: Database) -> None:
    with Serving() as server:
        shop = Shop(database, server)
        for config, why in (
            ({"enabled": False}, "switched off"),
            ({"allow_hosts": ["other.test"]}, "not among those that are allowed"),
            ({"deny_hosts": [HOST]}, "is denied"),
            ({"methods": ["GET"]}, "the method 'PUT' is not allowed"),
            ({"schemes": ["https"]}, "http:// is not allowed"),
            ({"deny_networks": ["127.0.0.0/8"]}, "in a network that is denied"),
            ({"max_request_bytes": 3}, "the body has 4 bytes"),
        ):
            shop.configure(config)
            job = shop.ask(method="PUT", body="text")
            assert shop.work() == {"failed": 1}
            assert shop.job(job).state == "dead"
            assert why in shop.errors(job)[0]
        assert server.requests == []
        shop.configure({"max_bytes": 1, "allow_hosts": ["*.test"]})
        job, others = shop.ask(), shop.ask("other", method="PUT", body="text")
        assert shop.work() == {"succeeded": 2}
    result = shop.job(job).result
    assert (result["preview"], result["bytes"], result["truncated"]) == ("o", 1, True)
    assert shop.job(others, "other").result["preview"] == "ok"


def test_an_inside_is_not_reached_and_the_job_says_so_at_once(database: Database) -> None:
    with Serving() as server:
        shop = Shop(database, server, allow_networks=())
        by_name, by_number = shop.ask(), shop.ask(url=url(server, host="127.0.0.1"))
        assert shop.work() == {"failed": 2}
    for job in (by_name, by_number):
        assert (shop.job(job).state, shop.job(job).attempt) == ("dead", 1)
        assert "not reached from here: loopback" in shop.errors(job)[0]
    assert server.requests == []


def test_it_is_tried_again_with_the_same_key_when_the_other_side_wants_it(database: Database) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: %d\r\nContent-Length: 4\r\n\r\nbusy"
    with Serving(turns(busy % 3600, busy % 0, b"", OK)) as server:
        shop = Shop(database, server)
        later = shop.ask(method="POST", idempotency_key="k", options={"retry": None, "max_attempts": 5})
        assert shop.work() == {"failed": 1}
        waits = shop.job(later)
        assert waits.state == "scheduled"
        assert waits.due_at is not None
        with database.engine().connect() as c:
            now = c.scalar(sa.text("select jobforge.now()"))
        assert dt.timedelta(seconds=3500) < waits.due_at - now < dt.timedelta(seconds=3601)
        again = shop.ask(method="POST", idempotency_key="k2", options={"max_attempts": 5})
        assert shop.work() == {"failed": 1}, "one second is not over"
        wait_for(lambda: shop.work().get("succeeded") == 1, 15)
    assert [("Idempotency-Key: k2" in head(came)) for came in server.requests] == [False, True, True, True]
    said = shop.errors(again)
    assert said[0] == f"http://{HOST}:{server.port} answered 503: busy"
    assert "cannot be read" in said[1]
    assert (shop.job(again).state, shop.job(again).attempt) == ("succeeded", 3)


def test_it_ends_before_its_run_does_and_leaves_no_thread_behind(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def silent(_: socket.socket) -> None:
        server.quit.wait(30)

    with Serving(silent) as server:
        shop = Shop(database, server, timeout=30.0)
        job = shop.ask(options={"timeout": dt.timedelta(seconds=1), "max_attempts": 1})
        assert shop.work() == {"failed": 1}
    assert shop.errors(job) == ["no whole answer within 0.75 s"]
    assert "left behind" not in caplog.text


def test_no_transaction_is_open_while_somebody_far_away_thinks(database: Database) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def slow(connection: socket.socket) -> None:
        arrived.set()
        assert go_on.wait(20)
        connection.sendall(OK)

    open_ones = sa.text(
        "select count(*) from pg_stat_activity where datname = current_database() and usename = 'jf_app' "
        "and state like 'idle in transaction%'"
    )
    with Serving(slow) as server:
        shop = Shop(database, server)
        job = shop.ask()
        worker = threading.Thread(target=shop.work)
        worker.start()
        assert arrived.wait(10)
        with database.engine().connect() as c:
            assert c.scalar(open_ones) == 0
        go_on.set()
        worker.join(20)
        assert shop.job(job).state == "succeeded"


def test_the_program_of_the_page_runs(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands there; only that api.example.com is a server on loopback, and its network is allowed."""
    setup, ask = (block.text for block in markdown.blocks(PAGE) if block.language == "python")
    authority, names = Authority(), Names("127.0.0.1")
    with Serving(tls=authority.server("api.example.com")) as server:
        led = {"resolve": names, "connect": Dialer(port=server.port), "tls": authority.trusting}
        monkeypatch.setattr(Client.__init__, "__kwdefaults__", led)
        monkeypatch.setenv("JOBFORGE_SECRET_KEYS", KEY)
        program: dict[str, Any] = {}
        exec(setup.replace("timeout=10", "allow_networks=('127.0.0.0/8',)") + ask, program)
        with database.engine("jf_admin").begin() as c:
            TenantSecrets(c, KEYS).set("acme", "billing", VALUE, hosts=["api.example.com"])
        with Session(database.engine("jf_app")) as session, session.begin():
            job = program["charge"](session, 7).id
        with Worker(database.engine("jf_one"), program["forge"]) as worker:
            assert worker.drain(20)
        with Session(database.engine("jf_app")) as session:
            result = Jobs(session, tenant="acme").get(job).result
    assert (result["status"], result["preview"], names.asked) == (200, "ok", ["api.example.com"])
    assert {f"Authorization: Bearer {VALUE}", "Idempotency-Key: order-7"} <= {*head(server.requests[0])}
    assert server.requests[0].endswith(b'{"order":7}')


# -- runs that nobody heard of ---------------------------------------------------------

WORKER = """
import datetime as dt, sys
import sqlalchemy as sa
from jobforge_sa import Worker
from jobforge_sa.egress.client import Client
from jobforge_sa.handlers import Connectors
from tests.security.egress_server import client

forge = Connectors(egress=client(int(sys.argv[2]), timeout=60.0)).forge
second, tenth = dt.timedelta(seconds=1), dt.timedelta(seconds=0.1)
sys.exit(Worker(sa.create_engine(sys.argv[1]), forge, lease=second, poll=tenth).run())
"""


def test_a_post_whose_worker_died_before_the_answer_is_not_sent_twice(database: Database, tmp_path: Path) -> None:
    arrived, killed = threading.Semaphore(0), threading.Event()

    def answer(connection: socket.socket) -> None:
        arrived.release()
        if killed.is_set():
            connection.sendall(OK)
        killed.wait(30)

    program = tmp_path / "worker.py"
    program.write_text(WORKER)
    dsn = database.url("jf_one").render_as_string(hide_password=False)
    with Serving(answer) as server:
        shop = Shop(database, server)
        jobs = post, put, keyed = [
            shop.ask(method="POST"), shop.ask(method="PUT"), shop.ask(method="POST", idempotency_key="k")
        ]  # fmt: skip
        command: list[str] = [sys.executable, str(program), dsn, str(server.port)]
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.getcwd()})
        try:
            for _ in jobs:
                assert arrived.acquire(timeout=30)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        killed.set()
        with Worker(
            database.engine("jf_one"),
            shop.connectors.forge,
            lease=dt.timedelta(seconds=1),
            poll=dt.timedelta(seconds=0.05),
        ):
            wait_for(lambda: all(shop.job(job).state in ("dead", "succeeded") for job in jobs), 30, "all ends")
    assert [shop.job(job).state for job in jobs] == ["dead", "succeeded", "succeeded"]
    sent = sorted(came.split(b" ")[0] for came in server.requests)
    assert sent == [b"POST", b"POST", b"POST", b"PUT", b"PUT"], "the one without a key once"
    assert sum("Idempotency-Key: k" in head(came) for came in server.requests) == 2
    assert (shop.job(post).run, shop.job(post).crashes) == (2, 1)
    assert "an earlier run of this job was lost" in shop.errors(post)[-1]
    assert "jobforge replay" in shop.errors(post)[-1]
    assert (shop.job(put).run, shop.job(keyed).run) == (2, 2)


@pytest.mark.parametrize(
    ("outcome", "more", "unsure"),
    [("released", {}, False), ("released", {"run_ms": 5}, True), ("failed", {"run_ms": 5, "delay": 0}, False),
     ("snoozed", {"run_ms": 5, "delay": 0}, False), ("timed_out", {"run_ms": 5, "delay": 0}, True)],
)  # fmt: skip
def test_a_run_that_was_given_back_before_it_began_has_sent_nothing(
    database: Database, outcome: str, more: dict[str, Any], unsure: bool
) -> None:
    """A rolling deploy gives many of those back, and their requests are made."""
    with Sql(database) as sql:
        sql.enqueue(type_=NAME)
        first = sql.claim_one(types=[NAME])
        item = {"job_id": str(first["job_id"]), "lease_token": str(first["lease_token"]), "outcome": outcome} | more
        (answer,) = sql("complete_jobs", results=Json([item]))
        assert answer["answer"] == "done"
        second = wait_for(lambda: sql.claim(types=[NAME]), 10)[0]
        (row,) = sql(
            "connector_of_run", job_id=second["job_id"], lease_token=second["lease_token"], type=NAME, user="jf_worker"
        )
        assert row["unsure"] is unsure
        assert sql("connector_of_run", job_id=first["job_id"], lease_token=first["lease_token"], type=NAME) == []
