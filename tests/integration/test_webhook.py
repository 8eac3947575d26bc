"""`connector.webhook.deliver` with a real worker, a real database, and a receiver on loopback that verifies."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import standardwebhooks
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, Worker
from jobforge_sa.connectors import ConnectorSettings, TenantSecrets, Webhooks
from jobforge_sa.egress.policy import Egress
from jobforge_sa.errors import InvalidPayload, SignatureWrong
from jobforge_sa.handlers import Connectors, Delivered, Webhook
from jobforge_sa.models import Attempt, Delivery, Job
from jobforge_sa.secrets import SecretKeys
from jobforge_sa.tenants import Tenants
from jobforge_sa.types import Delays
from jobforge_sa.webhooks import new_secret, verify
from tests.fix_postgres import Database
from tests.integration.receiver import Answer, Came, Receiver, receiving
from tests.security.egress_server import Serving
from tests.support import wait_for

AT_ONCE = Delays(dt.timedelta(0))
KEY = SecretKeys.new_key("2026")
KEYS = SecretKeys.parse(KEY)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


class Shop:
    """An application of the tenant acme, which sends webhooks."""

    def __init__(self, database: Database, receiver: Receiver, **options: Any) -> None:
        self.database = database
        self.receiver = receiver
        given: dict[str, Any] = {"egress": receiver.egress, "keys": KEYS}
        self.connectors = Connectors(**given | options)
        self.secret = new_secret()
        self.keep(self.secret)

    def keep(self, value: str, name: str = "hooks", **options: Any) -> None:
        with self.database.engine("jf_admin").begin() as c:
            TenantSecrets(c, KEYS).set("acme", name, value, **options)

    def configure(self, config: dict[str, Any]) -> None:
        with self.database.engine("jf_admin").begin() as c:
            ConnectorSettings(c).set("acme", config, type=self.connectors.webhook)

    def send(self, tenant: str = "acme", url: str | None = None, data: Any = None, **options: Any) -> uuid.UUID:
        event = Webhook(
            target_url=url or self.receiver.url, event_type="order.paid", data=data or {"order": 7, "to": "Zoë ☂"},
            secret_ref=options.pop("secret_ref", "hooks"),
        )  # fmt: skip
        given: dict[str, Any] = {"retry": AT_ONCE, "max_attempts": 3}
        with Session(self.database.engine("jf_app")) as session, session.begin():
            return Jobs(session, tenant=tenant).enqueue(self.connectors.webhook, event, **given | options).id

    def work(self) -> dict[str, int]:
        """Work until nothing is left that is due; give how the runs ended."""
        worker_engine, app = (self.database.engine(login) for login in ("jf_worker", "jf_app"))
        with Worker(worker_engine, self.connectors.forge, session_engine=app) as worker:
            assert worker.drain(20)
            return dict(worker.outcomes)

    def read(self, model: Any) -> list[Any]:
        with Session(self.database.engine("jf_admin")) as session:
            return list(session.scalars(sa.select(model).order_by(*sa.inspect(model).primary_key)))

    def endpoint(self) -> Any:
        with self.database.engine("jf_app").begin() as c:
            return Webhooks(c, tenant="acme").get(self.receiver.url)

    def text(self) -> str:
        """All that the database holds of the tenant's jobs, as an export has it."""
        with self.database.engine("jf_admin").begin() as c:
            return "\n".join(Tenants(c).export("acme"))


@pytest.fixture
def shop(database: Database, receiver: Receiver) -> Shop:
    return Shop(database, receiver)


def test_a_webhook_arrives_signed_and_both_ways_to_verify_it_agree(shop: Shop) -> None:
    job = shop.send()
    assert shop.work() == {"succeeded": 1}

    (came,) = shop.receiver.came
    received = verify(came.headers, came.body, [shop.secret])
    other = {name.lower(): value for name, value in came.headers.items()}
    event = standardwebhooks.Webhook(shop.secret).verify(came.body, other)
    assert event == json.loads(came.body)
    assert list(event) == ["event_type", "event_id", "timestamp", "data"]
    assert (event["event_type"], event["event_id"]) == ("order.paid", received.event_id)
    assert event["data"] == {"order": 7, "to": "Zoë ☂"}
    assert dt.datetime.fromisoformat(event["timestamp"]).tzinfo is not None
    assert other["content-type"] == "application/json"
    assert (other["x-jobforge-event"], other["x-jobforge-delivery-attempt"]) == ("order.paid", "1")
    with pytest.raises(SignatureWrong):
        verify(came.headers, came.body + b" ", [shop.secret])
    with Session(shop.database.engine("jf_app")) as session:
        found = shop.connectors.webhook.load_result(json.dumps(Jobs(session, tenant="acme").get(job).result))
    assert isinstance(found, Delivered)
    assert (found.event_id, found.status, found.preview) == (str(job), 200, "thank you")


def test_each_attempt_is_on_record_and_each_is_signed_anew_under_one_id(shop: Shop) -> None:
    statuses = iter([503, 302, 204])
    shop.receiver.answer = lambda _: Answer(next(statuses), b"")
    job = shop.send()
    assert shop.work() == {"failed": 2, "succeeded": 1}

    assert len({*shop.receiver.ids}) == 1
    assert len({one.body for one in shop.receiver.came}) == 1
    assert [one.headers["X-JobForge-Delivery-Attempt"] for one in shop.receiver.came] == ["1", "2", "3"]
    log = shop.read(Delivery)
    assert [(one.job_id, one.run, one.attempt, one.outcome, one.status) for one in log] == [
        (job, 1, 1, "failed", 503), (job, 2, 2, "failed", 302), (job, 3, 3, "delivered", 204),
    ]  # fmt: skip
    assert log[0].error == f"http://127.0.0.1:{shop.receiver.port} answered 503"
    assert {(one.tenant_id, one.url, one.event_type) for one in log} == {("acme", shop.receiver.url, "order.paid")}
    assert {one.event_id for one in log} == {*shop.receiver.ids}
    assert [one.error["message"] for one in shop.read(Attempt)[:2]] == [one.error for one in log[:2]]
    assert shop.endpoint() is None  # a success ends the row of failures


def test_nobody_there_and_nobody_who_answers_are_failures_that_are_tried_again(shop: Shop) -> None:
    shop.receiver.answer = lambda _: Answer(200, b"x", {"Content-Length": "10"})  # and then nothing
    shop.send(url=f"http://127.0.0.1:{shop.receiver.port}/cut", max_attempts=2)
    assert shop.work() == {"failed": 2}
    assert {one.outcome for one in shop.read(Delivery)} == {"failed"}
    assert {one.status for one in shop.read(Delivery)} == {None}
    (job,) = shop.read(Job)
    assert job.state == "dead"


def test_retry_after_is_obeyed(shop: Shop) -> None:
    shop.receiver.answer = lambda _: Answer(429, b"slowly", {"Retry-After": "120"})
    shop.send()
    assert shop.work() == {"failed": 1}
    (job,) = shop.read(Job)
    (attempt,) = shop.read(Attempt)
    assert job.state == "scheduled"
    assert job.due_at - attempt.finished_at == dt.timedelta(seconds=120)


def test_an_endpoint_that_is_gone_is_disabled_and_what_comes_later_is_not_sent(shop: Shop) -> None:
    shop.receiver.answer = lambda _: Answer(410, b"closed")
    shop.send()
    assert shop.work() == {"canceled": 1}
    assert shop.endpoint().reason == "it answered 410 Gone"
    shop.send()
    other = shop.send(url=shop.receiver.url + "/other")
    assert shop.work() == {"canceled": 2}
    assert len(shop.receiver.came) == 2
    first, second, third = shop.read(Delivery)
    assert [one.outcome for one in (first, second, third)] == ["gone", "skipped", "gone"]
    assert second.error == "the endpoint is disabled: it answered 410 Gone"

    shop.receiver.answer = lambda _: Answer()
    with Session(shop.database.engine("jf_app")) as session, session.begin():
        assert Webhooks(session, tenant="acme").enable(shop.receiver.url) is not None
        assert Webhooks(session, tenant="acme").enable(shop.receiver.url + "/other") is not None
        Jobs(session, tenant="acme").retry(second.job_id)
        Jobs(session, tenant="acme").retry(other)
    assert shop.work() == {"succeeded": 2}
    assert {*shop.receiver.ids[2:]} == {second.event_id, third.event_id}


def test_failures_in_a_row_disable_an_endpoint_and_a_success_begins_anew(shop: Shop) -> None:
    shop.configure({"disable_after": 3, "disable_after_seconds": 0.001})
    statuses = iter([500, 500, 200, 500, 500, 500, 500])
    shop.receiver.answer = lambda _: Answer(next(statuses), b"")
    shop.send(max_attempts=3)
    assert shop.work() == {"failed": 2, "succeeded": 1}
    shop.send(max_attempts=9)
    assert shop.work() == {"failed": 3}
    endpoint = shop.endpoint()
    assert endpoint.failures == 3
    assert endpoint.reason.startswith("3 deliveries in a row have failed since ")
    assert [job.state for job in shop.read(Job)] == ["succeeded", "dead"]
    last = shop.read(Attempt)[-1]
    assert last.error["type"] == "Discard"
    assert last.error["message"].endswith("answered 500; 3 failures in a row have disabled the endpoint")


def test_failures_of_a_moment_disable_nothing(shop: Shop) -> None:
    shop.configure({"disable_after": 2, "disable_after_seconds": 3600})
    shop.receiver.answer = lambda _: Answer(500, b"")
    shop.send(max_attempts=4)
    assert shop.work() == {"failed": 4}
    assert (shop.endpoint().failures, shop.endpoint().disabled_at) == (4, None)


def test_deliveries_that_fail_at_once_are_sent_once_each_at_any_isolation(shop: Shop) -> None:
    shop.receiver.answer = lambda _: Answer(500, b"")
    jobs = [shop.send(max_attempts=1) for _ in range(24)]
    app = shop.database.engine("jf_app", isolation_level="REPEATABLE READ")
    with Worker(shop.database.engine("jf_worker"), shop.connectors.forge, session_engine=app, concurrency=12) as worker:
        assert worker.drain(60)
        assert worker.outcomes == {"failed": len(jobs)}
    assert sorted(shop.receiver.ids) == sorted(map(str, jobs)), "a clash of their notes sends none again"
    assert len(shop.read(Delivery)) == shop.endpoint().failures == len(jobs)


def test_an_attempt_ends_before_its_run_does_and_is_on_record(database: Database, receiver: Receiver) -> None:
    shop = Shop(database, receiver, egress=dataclasses.replace(receiver.egress, timeout=60))
    quit_ = threading.Event()
    receiver.answer = lambda _: Answer(200 if quit_.wait(30) else 500)
    try:
        began = time.monotonic()
        shop.send(max_attempts=1, timeout=dt.timedelta(seconds=1))
        shop.send(max_attempts=1, timeout=dt.timedelta(seconds=4))
        assert shop.work() == {"failed": 2}
        assert time.monotonic() - began < 10
    finally:
        quit_.set()
    assert [(one.outcome, one.error) for one in shop.read(Delivery)] == [
        ("failed", "no whole answer within 0.75 s"), ("failed", "no whole answer within 3 s")
    ]  # fmt: skip


def test_a_date_that_no_calendar_has_is_none_and_the_attempt_is_on_record(shop: Shop) -> None:
    dates = {"Date": "Sun, 01 Mar 2015 12:00:00 GMT", "Retry-After": "Sun, 01 Mar 2015 12:00:00 +99999999999999"}
    shop.receiver.answer = lambda _: Answer(500, b"", dates)
    shop.send(max_attempts=1)
    assert shop.work() == {"failed": 1}
    assert [(one.outcome, one.status) for one in shop.read(Delivery)] == [("failed", 500)]


def test_an_event_that_is_no_json_any_more_is_not_sent(shop: Shop) -> None:
    payload = {"target_url": shop.receiver.url, "event_type": "a", "secret_ref": "hooks", "data": ["BIG"]}
    with shop.database.engine("jf_app").begin() as c:
        c.execute(sa.text("select set_config('jobforge.tenant_id', 'acme', true)"))
        enqueue = sa.text("select id from jobforge.enqueue_job('connector.webhook.deliver', cast(:payload as json))")
        c.execute(enqueue, {"payload": json.dumps(payload).replace('"BIG"', "1e400")})
    assert shop.work() == {"failed": 1}
    assert [one.outcome for one in shop.read(Delivery)] == ["blocked"]
    assert [one.state for one in shop.read(Job)] == ["dead"]
    assert shop.receiver.came == []


def test_what_is_no_answer_is_not_quoted_for_it_may_say_back_the_signature(shop: Shop) -> None:
    def echo(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n! " + server.requests[-1].partition(b"webhook-signature: ")[2])

    with Serving(echo) as server:
        given = dataclasses.replace(shop.receiver.egress, ports=(server.port,))
        shop.connectors = Connectors(egress=given, keys=KEYS)
        shop.send(url=f"http://127.0.0.1:{server.port}/", max_attempts=1)
        assert shop.work() == {"failed": 1}
    (delivery,) = shop.read(Delivery)
    assert "cannot be read: illegal header line" in delivery.error
    signature = server.requests[0].partition(b"webhook-signature: v1,")[2].partition(b"\r\n")[0].decode()
    assert len(signature) == 44
    assert signature not in shop.text()


def test_while_a_secret_is_rotated_both_sign_and_a_receiver_with_either_accepts(shop: Shop) -> None:
    new, newest = new_secret(), new_secret()
    shop.keep(new, overlap=dt.timedelta(hours=1))
    shop.send()
    assert shop.work() == {"succeeded": 1}
    (came,) = shop.receiver.came
    lower = {name.lower(): value for name, value in came.headers.items()}
    for secret in (shop.secret, new):
        verify(came.headers, came.body, [secret])
        standardwebhooks.Webhook(secret).verify(came.body, lower)
    assert len(lower["webhook-signature"].split(" ")) == 2

    shop.keep(newest)
    shop.send()
    shop.work()
    verify(shop.receiver.came[1].headers, shop.receiver.came[1].body, [newest])
    for secret in (shop.secret, new):
        with pytest.raises(SignatureWrong):
            verify(shop.receiver.came[1].headers, shop.receiver.came[1].body, [secret])


def test_nothing_secret_is_kept_even_where_the_receiver_says_back_what_it_was_told(shop: Shop) -> None:
    second = new_secret()
    shop.keep(second, overlap=dt.timedelta(hours=1))

    def echo(came: Came) -> Answer:
        return Answer(500, json.dumps({**came.headers, "leak": [shop.secret, second]}).replace("/", r"\/").encode())

    shop.receiver.answer = echo
    shop.send(max_attempts=1)
    assert shop.work() == {"failed": 1}
    kept = shop.text()
    (came,) = shop.receiver.came
    signatures = came.headers["webhook-signature"].split(" ") + came.headers["X-JobForge-Signature"].split(", ")
    assert "webhook-id" in kept.lower()  # the echo is there
    for hidden in [*signatures, shop.secret, second]:
        bare = hidden.removeprefix("v1,").removeprefix("sha256=").removeprefix("whsec_")
        assert len(bare) > 40
        assert bare not in kept.replace("\\\\/", "/").replace("\\/", "/")


@pytest.mark.parametrize(
    ("secret_ref", "why"),
    [
        ("none", "the tenant has no secret none"),
        ("plain", "the secret plain signs no webhook: a webhook's secret begins with whsec_"),
        ("lost", "the secret lost is sealed with a key that is not here: gone"),
    ],
)
def test_without_its_secret_nothing_goes_out_and_it_is_tried_again(shop: Shop, secret_ref: str, why: str) -> None:
    shop.keep("no webhook's", "plain")
    with shop.database.engine("jf_admin").begin() as c:
        TenantSecrets(c, SecretKeys.parse(SecretKeys.new_key("gone"))).set("acme", "lost", new_secret())
    shop.send(secret_ref=secret_ref, max_attempts=2)
    assert shop.work() == {"failed": 2}
    assert shop.receiver.came == []
    assert [(one.outcome, one.error.startswith(why)) for one in shop.read(Delivery)] == [("blocked", True)] * 2
    assert shop.endpoint() is None  # it is not its fault


def test_a_reference_is_resolved_by_the_operators_resolver_for_this_tenant(
    database: Database, receiver: Receiver
) -> None:
    asked = []
    secret = new_secret()

    class Vault:
        def resolve(self, tenant_id: str, reference: str) -> str:
            asked.append((tenant_id, reference))
            if len(asked) == 1:
                raise TimeoutError(f"no answer for {secret}")
            return secret

    shop = Shop(database, receiver, resolver=Vault())
    with database.engine("jf_admin").begin() as c:
        TenantSecrets(c).refer("acme", "hooks", "kv/acme/hooks")
    shop.send()
    assert shop.work() == {"failed": 1, "succeeded": 1}
    assert asked == [("acme", "kv/acme/hooks")] * 2
    verify(receiver.came[0].headers, receiver.came[0].body, [secret])
    assert secret not in shop.text()


BLOCKED: list[tuple[dict[str, Any], str]] = [
    ({"deny_hosts": ["127.0.0.1"]}, "the host 127.0.0.1 is denied"),
    ({"allow_hosts": ["hooks.example.com"]}, "the host 127.0.0.1 is not among those that are allowed"),
    ({"deny_networks": ["127.0.0.0/8"]}, "127.0.0.1"),
    ({"methods": ["GET"]}, "the method 'POST' is not allowed"),
    ({"enabled": False}, "this connector is switched off for the tenant"),
]


@pytest.mark.parametrize(("config", "why"), BLOCKED, ids=[next(iter(config)) for config, _ in BLOCKED])
def test_what_the_tenants_configuration_forbids_is_final_and_never_sent(
    shop: Shop, config: dict[str, Any], why: str
) -> None:
    shop.configure(config)
    shop.send()
    assert shop.work() == {"failed": 1}
    assert shop.receiver.came == []
    (logged,) = shop.read(Delivery)
    assert logged.outcome == "blocked"
    assert why in logged.error
    assert [job.state for job in shop.read(Job)] == ["dead"]


def test_by_default_nothing_goes_to_what_is_not_public(database: Database, receiver: Receiver) -> None:
    shop = Shop(database, receiver, egress=Egress(schemes=("http",), ports=(receiver.port,)))
    shop.send()
    assert shop.work() == {"failed": 1}
    assert (receiver.came, shop.read(Delivery)[0].outcome) == ([], "blocked")


def test_a_secret_that_names_hosts_signs_for_no_other(shop: Shop) -> None:
    shop.keep(shop.secret, hosts=["hooks.example.com"])
    shop.send()
    assert shop.work() == {"failed": 1}
    assert shop.receiver.came == []
    shop.keep(shop.secret, hosts=["127.0.0.1"])
    shop.send()
    assert shop.work() == {"succeeded": 1}


def test_another_tenants_secret_is_none(shop: Shop) -> None:
    with shop.database.engine("jf_admin").begin() as c:
        ConnectorSettings(c).set("other", {})
    shop.send(tenant="other", max_attempts=1)
    assert shop.work() == {"failed": 1}
    assert shop.receiver.came == []
    assert shop.read(Delivery)[0].error.startswith("the tenant has no secret hooks")


def test_no_transaction_is_open_while_the_receiver_thinks(shop: Shop) -> None:
    open_ones = (
        "select count(*) from pg_stat_activity where datname = current_database() and usename = 'jf_app' "
        "and state like 'idle in transaction%'"
    )
    seen = []

    def look(came: Came) -> Answer:
        with shop.database.engine().connect() as c:
            seen.append(c.scalar(sa.text(open_ones)))
        return Answer()

    shop.receiver.answer = look
    shop.send()
    assert shop.work() == {"succeeded": 1}
    assert seen == [0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_url", "https://user:pw@example.com/"), ("target_url", "//example.com"), ("event_type", "a b"),
        ("event_id", "a.b"), ("secret_ref", "-x"), ("timeout_ms", 60_001), ("secret", "whsec_x"),
    ],
)  # fmt: skip
def test_what_could_never_be_delivered_is_refused_when_it_is_enqueued(shop: Shop, field: str, value: object) -> None:
    good = {"target_url": "https://example.com/", "event_type": "x", "secret_ref": "hooks"}
    with Session(shop.database.engine("jf_app")) as session:
        with pytest.raises(InvalidPayload) as caught:
            Jobs(session, tenant="acme").enqueue(shop.connectors.webhook, {**good, field: value})  # type: ignore[arg-type]
        assert field in str(caught.value)
        assert "whsec_x" not in str(caught.value)
        assert "pw" not in str(caught.value)


APPLICATION = textwrap.dedent(
    """
    import datetime as dt, os, signal, sys
    import sqlalchemy as sa
    from jobforge_sa import Worker
    from jobforge_sa.egress.policy import Egress
    from jobforge_sa.handlers import Connectors

    MOMENT, PORT, URL = sys.argv[1:]
    engine = sa.create_engine(URL)

    def die(_connection, _cursor, statement, *_):
        if MOMENT in statement:
            os.kill(os.getpid(), signal.SIGKILL)

    if MOMENT != "never":
        sa.event.listen(engine, "after_cursor_execute", die)
    egress = Egress(("http",), (int(PORT),), allow_hosts=("127.0.0.1",), allow_networks=("127.0.0.0/8",))
    Worker(engine, Connectors(egress=egress).forge, lease=dt.timedelta(seconds=1),
           poll=dt.timedelta(milliseconds=50)).run()
    """
)


@pytest.mark.parametrize("moment", ["log_delivery", "complete_jobs"])
def test_a_worker_killed_between_answer_and_commit_delivers_again_under_the_same_id(
    shop: Shop, tmp_path: Path, moment: str
) -> None:
    job = shop.send()
    program = tmp_path / "application.py"
    program.write_text(APPLICATION)
    url = shop.database.url("jf_one").render_as_string(hide_password=False)
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "JOBFORGE_SECRET_KEYS": KEY}

    def start(when: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, program, when, str(shop.receiver.port), url], env=environment)

    with start(moment) as victim:
        assert victim.wait(30) == -signal.SIGKILL
    assert len(shop.receiver.came) == 1
    assert shop.read(Delivery) == []  # it is on record with the end of its run only
    with start("never") as survivor:
        wait_for(lambda: shop.read(Job)[0].state == "succeeded", 30)
        survivor.send_signal(signal.SIGTERM)
        assert survivor.wait(15) == 0
    assert len(shop.receiver.came) == 2
    assert len({*shop.receiver.ids}) == 1
    assert [one.outcome for one in shop.read(Attempt)] == ["lost", "succeeded"]
    assert [(one.job_id, one.run, one.outcome) for one in shop.read(Delivery)] == [(job, 2, "delivered")]
