"""What a worker and the exporter show over HTTP; bad clients and a dead database harm nothing."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Tenants, Worker
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.metrics import worker_metrics
from jobforge_sa.ops import database as databases
from jobforge_sa.ops import logs
from jobforge_sa.ops.monitoring import pages, web
from jobforge_sa.ops.monitoring.exporter import Exporter
from jobforge_sa.worker import vitals
from tests.acceptance.cli import inside, jobforge, refused
from tests.acceptance.exported import exported
from tests.fix_postgres import Database
from tests.support import Sql, wait_for

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(text: str) -> Series:
    """All samples of a page, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def get(url: str, method: str = "GET") -> tuple[int, str]:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request(method, f"/{path}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Shop:
    """A worker with a handler that waits, and its pages."""

    def __init__(self, database: Database) -> None:
        self.engine = database.engine("jf_one")
        self.forge = JobForge(tenant="acme")
        self.gate = threading.Event()

        @self.forge.task(queue="mail", max_attempts=1)
        def send(ctx: Context, payload: dict[str, Any]) -> None:
            if payload.get("fails"):
                raise ValueError("no luck")
            self.gate.wait(20)

        self.send = send
        self.worker = Worker(self.engine, self.forge, queues={"mail": 3}, lease=dt.timedelta(seconds=2))

    def enqueue(self, **payload: Any) -> None:
        with Session(self.engine) as session, session.begin():
            Jobs(session).enqueue(self.send, payload)


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


def test_a_worker_is_live_and_ready_and_its_numbers_are_scraped(shop: Shop) -> None:
    with web.Server("127.0.0.1", 0, pages.of_worker(shop.worker)) as server:
        assert get(f"{server.url}/live") == (200, "ok\n")
        assert get(f"{server.url}/ready") == (503, "it is not started, or stops\n")
        with shop.worker:
            wait_for(lambda: get(f"{server.url}/ready")[0] == 200)
            shop.enqueue(fails=True)
            shop.enqueue()
            wait_for(lambda: shop.worker.outcomes["failed"] == 1 and shop.worker.stats()["claimed"] == 2)
            found = scrape(get(f"{server.url}/metrics")[1])
            failed = (("outcome", "failed"), ("queue", "mail"), ("type", "send"))
            assert found["jobforge_worker_runs_total", failed] == 1
            assert found["jobforge_worker_run_seconds_count", failed] == 1
            assert found["jobforge_worker_claimed_total", ()] == 2
            assert found["jobforge_worker_wait_seconds_count", (("queue", "mail"),)] == 2
            assert found["jobforge_worker_running", (("queue", "mail"),)] == 1
            assert found["jobforge_worker_slots", (("queue", "mail"),)] == 3
            assert 0 <= found["jobforge_worker_heartbeat_age_seconds", ()] < 2
            assert (found["jobforge_worker_live", ()], found["jobforge_worker_ready", ()]) == (1, 1)
            assert found["process_resident_memory_bytes", ()] > 0
            known = {name: labels for name, labels in exported().items() if name.startswith("jobforge_worker_")}
            labels = {name: {label for label, _ in of} for name, of in found if name.startswith("jobforge_worker_")}
            assert labels.items() <= known.items()
            assert known.keys() - labels.keys() == {"jobforge_worker_run_seconds", "jobforge_worker_wait_seconds"}
            shop.gate.set()
        assert get(f"{server.url}/ready")[0] == 503
        assert get(f"{server.url}/live")[0] == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that it ends is what is tested
def test_a_thread_that_has_ended_is_not_live_and_a_lost_database_is_not_ready_but_live(
    shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop.worker as worker:
        wait_for(worker.ready)
        with database.engine(isolation_level="AUTOCOMMIT").connect() as admin:
            admin.exec_driver_sql("revoke execute on all functions in schema jobforge from jobforge_worker")
            wait_for(lambda: not worker.ready(), 5)
            assert worker.live()
            assert re.search("the database does not work for: .*(claimer|heartbeat)", str(worker.ready()))
            wait_for(lambda: "heartbeat was" in str(worker.ready()), 5)
            admin.exec_driver_sql("grant execute on all functions in schema jobforge to jobforge_worker")
        wait_for(worker.ready, 15)

        monkeypatch.setattr(worker._upkeep, "step", lambda: exec("raise SystemExit"))
        worker._upkeep.wake()
        wait_for(lambda: not worker.live(), 5)
        assert str(worker.live()) == str(worker.ready()) == "upkeep: its thread has ended"
        monkeypatch.setattr(vitals, "STUCK", -31.0)
        monkeypatch.setattr(worker._claimer.link, "_since", time.monotonic() - 60)
        assert "claimer: no answer for 60 s" in str(worker.live())


def test_workers_of_one_process_are_one_collector_in_any_registry(shop: Shop) -> None:
    other = Worker(shop.engine, shop.forge, queues={"mail": 2})
    registry = CollectorRegistry()
    registry.register(worker_metrics(shop.worker, other))
    shop.gate.set()
    with shop.worker, other:
        for _ in range(6):
            shop.enqueue()
        wait_for(lambda: shop.worker.stats()["succeeded"] + other.stats()["succeeded"] == 6)
        found = scrape(generate_latest(registry).decode())
    assert found["jobforge_worker_slots", (("queue", "mail"),)] == 5
    assert found["jobforge_worker_claimed_total", ()] == 6
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(worker_metrics(other))


# -- bad clients -----------------------------------------------------------------------


def test_slow_and_hostile_clients_shut_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MOST", 20)
    monkeypatch.setattr(web, "PATIENCE", 1.0)
    before = threading.active_count()
    page = {"/live": lambda: web.Answer("ok\n"), "/bad": lambda: web.Answer(str(1 // 0))}
    with web.Server("127.0.0.1", 0, page) as server, ExitStack() as held:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        slow = [held.enter_context(socket.create_connection(address, 10)) for _ in range(60)]
        for one in slow[-10:]:
            one.sendall(b"GET /live HTTP/1.1\r\nA: ")
        assert get(f"{server.url}/live") == (200, "ok\n")
        assert get(f"{server.url}/live", "HEAD") == (200, "")
        assert [get(f"{server.url}{path}")[0] for path in ("/", "/etc/passwd", "/bad")] == [404, 404, 500]
        assert get(f"{server.url}/live", "POST")[0] == 405
        for garbage in (b"\x16\x03\x01\x00\xa5\r\n\r\n", b"GET\r\n\r\n", b"GET /" + b"a" * 20_000, b"\x00" * 9000):
            with socket.create_connection(address, 10) as client:
                client.sendall(garbage)
                assert b" 400 " in client.recv(100)
        assert slow[-1].recv(1) == b"", "a second was all that it had"
        assert threading.active_count() <= before + 1 + web.THREADS


@pytest.mark.parametrize("text", ["", "x", "http://h:1", "70000", "h:", "1.5"])
def test_an_address_that_is_none_is_refused_with_its_cure(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"9187"):
        web.address(text)


def test_a_port_that_is_taken_is_status_2(database: Database) -> None:
    assert web.address("[::1]:80") == ("::1", 80)
    assert web.address("80") == web.address(":80") == ("127.0.0.1", 80)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = inside(database.url("jf_admin"), "exporter", "--port", port, status=2)
    assert f"port {port}" in done.stderr


# -- the database's state --------------------------------------------------------------


@pytest.fixture
def sql(database: Database) -> Iterator[Sql]:
    with Sql(database) as sql:
        yield sql
        sql.clean()


def test_the_state_of_the_database_is_printed_once_or_served(sql: Sql) -> None:
    sql.fill("a", 3)
    sql.fill("b", 2, queue="mail", delay="1 hour")
    for job in sql.claim(2):
        sql.complete(job, "failed", final=True)
    sql.claim_one()
    with sql.database.engine("jf_admin").begin() as connection:
        Tenants(connection).pause("c")
        Tenants(connection).limit("b", max_waiting=2)
        Tenants(connection).limit("d", max_waiting=5)
    with call_as_owner(sql) as owner:
        owner.exec_driver_sql("update jobforge.leases set deadline = now() - interval '1 hour'")

    found = scrape(inside(sql.database.url("jf_admin"), "metrics").stdout)

    def jobs(queue: str, state: str) -> float:
        return found["jobforge_queue_jobs", (("queue", queue), ("state", state))]

    assert [jobs("default", state) for state in ("queued", "suspect", "scheduled", "running")] == [0, 0, 0, 1]
    assert jobs("mail", "scheduled") == 2
    assert found["jobforge_dead_jobs_last_hour", ()] == 2
    assert found["jobforge_expired_leases", ()] == 1
    assert found["jobforge_tenants", (("state", "paused"),)] == 1
    assert found["jobforge_tenants", (("state", "full"),)] == 1
    assert found["jobforge_workers", (("state", "live"),)] == 1
    assert found["jobforge_schema_info", (("revision", "0002"), ("tenancy", "plain"))] == 1
    known = {name: labels for name, labels in exported().items() if not name.startswith("jobforge_worker_")}
    assert {name: {label for label, _ in of} for name, of in found} == known
    refused(inside(sql.database.url("jf_app"), "metrics", status=2), "jobforge_admin")
    with call_as_owner(sql) as owner:
        owner.exec_driver_sql("update jobforge.leases set deadline = now() + interval '1 hour'")


def call_as_owner(sql: Sql) -> Any:
    return sql.database.engine().begin()


def test_many_scrapers_cost_as_one_and_a_database_that_does_not_answer_is_up_0_in_time(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[str] = []
    engine = databases.engine(
        database.dsn("jf_admin"), name="exporter", pool_size=1, max_overflow=0, pool_pre_ping=True
    )
    sa.event.listen(engine, "before_cursor_execute", lambda *said: looks.append(said[2]))
    exporter = Exporter(engine, patience=20)
    with web.Server("127.0.0.1", 0, pages.of_exporter(exporter)) as server:
        answers: list[Series] = []
        threads = [
            threading.Thread(target=lambda: answers.append(scrape(get(f"{server.url}/metrics")[1]))) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [one["jobforge_up", ()] for one in answers] == [1] * 12
        assert sum("list_queues" in look for look in looks) == 1

        with database.engine().begin() as blocker:
            blocker.exec_driver_sql("lock table jobforge.workers in access exclusive mode")
            exporter._state._until, exporter._state._patience = 0.0, 0.5
            began = time.monotonic()
            assert scrape(get(f"{server.url}/metrics")[1]) == {("jobforge_up", ()): 0}
            assert time.monotonic() - began < 3
            wait_for(lambda: "cannot be read" in caplog.text, 5, "the cut connection to be noticed")
        exporter._state._until, exporter._state._patience = 0.0, 20
        wait_for(lambda: scrape(get(f"{server.url}/metrics")[1])["jobforge_up", ()] == 1, 10)
    engine.dispose()


# -- logs ------------------------------------------------------------------------------


def test_json_logs_have_the_jobs_fields_and_no_secret(database: Database) -> None:
    from tests.acceptance import cli_app
    from tests.acceptance.cli import APP, enqueue

    job = enqueue(database, cli_app.fail, {"message": "token=abcdef"}, max_attempts=1)
    asked = ("worker", APP, "--once", "--log-format", "json", "--http", "0")
    said = inside(database.url("jf_one"), *asked, status=1).stderr
    lines = [json.loads(line) for line in said.splitlines()]
    assert any(re.match(r"health and metrics: http://127\.0\.0\.1:\d+/live", line["message"]) for line in lines)
    (failed,) = [line for line in lines if line.get("job_id") == str(job)]
    assert (failed["level"], failed["logger"]) == ("warning", "jobforge_sa.worker")
    assert {name: failed[name] for name in ("job_type", "tenant_id", "queue", "attempt", "run")} == {
        "job_type": "fail", "tenant_id": "acme", "queue": "default", "attempt": 1, "run": 1
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", failed["timestamp"])
    assert "abcdef" not in said

    owner = jobforge(
        database.url(), "worker", APP, "--once", "--log-format", "json"
    ).stderr  # a login that is warned of
    assert any("RowSecurityOffWarning" in json.loads(line)["message"] for line in owner.splitlines())

    try:
        raise ValueError("password=hunter2")
    except ValueError:
        record = logging.getLogger("x").makeRecord("x", 40, "f", 1, "it\nfailed", (), __import__("sys").exc_info())
    line = logs.JsonFormatter().format(record)
    assert "\n" not in line
    assert "hunter2" not in line
    assert "ValueError: password=***" in json.loads(line)["exception"]
