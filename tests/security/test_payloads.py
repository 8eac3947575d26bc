"""Cases 84 to 103: what a tenant puts into a payload, and what a handler ends with. One bad job stops no other."""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import json
import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Session

from jobforge_sa import Context, Delays, Done, JobForge, Jobs, Worker, bind_tenant
from jobforge_sa.errors import InvalidPayload
from jobforge_sa.models import Attempt, Job
from tests.acceptance.cli import inside
from tests.house.source import imports, python_files
from tests.security.guard import Attack
from tests.support import refused, wait_for

BOMB = '{"n": [' + ",".join(["1e131071"] * 20_000) + "]}"  # 180 kB; a number column would say it in 2.6 GB


class Number(BaseModel):
    n: int


forge = JobForge()


@forge.task(retry=Delays(dt.timedelta(0)))
def double(ctx: Context, payload: Number) -> int:
    return payload.n * 2


@forge.task()
def anything(ctx: Context, payload: Any) -> Any:
    return payload


class Text(str):
    """JSON as it stands."""


def nested(depth: int, inner: str = "") -> str:
    return "[" * depth + inner + "]" * depth


@contextlib.contextmanager
def working(attack: Attack, forge: JobForge, **options: Any) -> Iterator[Worker]:
    with Worker(attack.engine("jf_worker"), forge, session_engine=attack.engine("jf_app"), **options) as worker:
        yield worker


# --- refused when enqueued ---------------------------------------------------------------------------------

NOT_STORABLE = {
    "084-NUL": ('{"a": "\\u0000"}', "22P05"),
    "084-NUL key": ('{"\\u0000": 1}', "22P05"),
    "085-high": ('{"a": "\\ud800"}', "22P02"),
    "085-low": ('{"a": "\\udc00x"}', "22P02"),
    "085-key": ('{"\\ud800": 1}', "22P02"),
    "086-NaN": ('{"a": NaN}', "22P02"),
    "086-Infinity": ('{"a": -Infinity}', "22P02"),
    "092-deep": ('{"a": ' + nested(1_000_000) + "}", "54001"),
    "093-beyond numeric": ('{"a": 1e200000}', "22003"),
    "084-broken": ("{", "22P02"),
    "084-empty": ("", "22P02"),
}


@pytest.mark.parametrize(("payload", "sqlstate"), NOT_STORABLE.values(), ids=NOT_STORABLE.keys())
def test_case_084_085_086_092_093_what_jsonb_cannot_hold_is_refused_and_the_connection_goes_on(
    attacked: Attack, payload: str, sqlstate: str
) -> None:
    with refused(sqlstate):
        attacked("enqueue_job", tenant="a", type="t", payload=payload)
    if payload:
        with refused(sqlstate):
            attacked("enqueue_jobs", tenant="a", jobs=f'[{{"type": "t", "payload": {payload}}}]')

    assert attacked("enqueue_job", tenant="a", type="t")[0]["created"]


UNSENT: dict[str, Callable[[], object]] = {
    "084-NUL": lambda: {"a": "\x00"},
    "084-NUL key": lambda: {"\x00": 1},
    "084-NUL deep": lambda: {"a": [{"b": "\\\\\x00"}]},
    "085-surrogate": lambda: {"a": "\ud800"},
    "085-surrogate key": lambda: {"\udfff": 1},
    "086-NaN": lambda: {"a": math.nan},
    "086-Infinity": lambda: {"a": [-math.inf]},
    "087-array": lambda: [1],
    "087-text": lambda: "x",
    "087-null": lambda: None,
    "089-one long key": lambda: {"x" * 1_000_000: 1},
    "089-many keys": lambda: {str(n): n for n in range(100_000)},
    "090-over 256 kB": lambda: {"a": "x" * 262_144},
    "090-of two bytes each": lambda: {"a": "ü" * 131_072},
    "091-40 MB": lambda: {"a": "x" * 40_000_000},
    "092-deep": lambda: {"a": json.loads(nested(900)), "b": _deep(10_000)},
    "094-5000 digits": lambda: {"a": 10**5000},
}


def _deep(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("make", UNSENT.values(), ids=UNSENT.keys())
def test_case_084_to_087_and_089_to_092_and_094_the_library_refuses_it_before_it_is_sent(
    attacked: Attack, make: Callable[[], Any]
) -> None:
    engine = attacked.engine("jf_app")
    sent: list[str] = []
    with Session(engine) as session:
        jobs = Jobs(session, tenant="a")
        jobs.list()  # the schema has been looked at
        sa.event.listen(engine, "before_cursor_execute", lambda *a: sent.append(a[2]))
        payload = make()
        for work in (
            lambda: jobs.enqueue(anything, payload),
            lambda: jobs.enqueue_many([anything.new({}), anything.new(payload)]),
        ):
            with pytest.raises(InvalidPayload, match="cure: ") as error:
                work()
            assert len(str(error.value)) < 1000  # and not the payload once more
        assert sent == []
        assert jobs.enqueue(anything, {}).created  # the session goes on


@pytest.mark.parametrize("payload", ["[]", "[1]", "null", '"x"', "1", "true"])
def test_case_087_a_payload_that_is_no_object_is_refused(attacked: Attack, payload: str) -> None:
    with refused("JF004", "object"):
        attacked("enqueue_job", tenant="a", type="t", payload=payload)
    if payload != "null":  # in a bulk call null is a payload left out
        with refused("JF004", "object", "position 1"):
            attacked("enqueue_jobs", tenant="a", jobs=f'[{{"type": "t", "payload": {payload}}}]')


def test_case_088_of_a_key_given_twice_the_last_counts_for_everybody(attack: Attack) -> None:
    job = attack.enqueue("a", "double", '{"n": 1, "n": 21, "m": {"x": 1, "x": 2}}')
    with working(attack, forge):
        wait_for(lambda: attack.state(job) == "succeeded")
    assert attack.job(job)["result"] == 42
    with Session(attack.engine("jf_app")) as session:
        bind_tenant(session, "a")
        assert Jobs(session).get(job).payload == {"n": 21, "m": {"x": 2}}
        for condition, found in ((Job.payload["n"].as_integer() == 21, 1), (Job.payload["n"].as_integer() == 1, 0)):
            assert len(session.scalars(sa.select(Job).where(condition)).all()) == found
    (smuggled,) = attack("enqueue_jobs", tenant="a", jobs='[{"type": "good", "type": "t", "queue": "x", "queue": "y"}]')
    assert (attack.job(smuggled["id"])["type"], attack.job(smuggled["id"])["queue"]) == ("t", "y")
    with refused("JF002"):
        attack("enqueue_jobs", tenant="a", jobs='[{"type": "t", "tenant_id": "a", "tenant_id": "b"}]')


SIZES = {
    "089-one long key": lambda: json.dumps({"x" * 1_000_000: 1}),
    "089-many keys": lambda: json.dumps({str(n): n for n in range(100_000)}),
    "090-one byte more": lambda: '{"a":"' + "x" * (262_145 - len('{"a":""}')) + '"}',
    "090-of two bytes each": lambda: '{"a":"' + "ü" * 131_070 + '"}',
    "090-blanks": lambda: "{" + " " * 262_143 + "}",
    "091-20 MB": lambda: '{"a":"' + "x" * 20_000_000 + '"}',
}


@pytest.mark.parametrize("make", SIZES.values(), ids=SIZES.keys())
def test_case_089_090_091_a_payload_has_at_most_256_kilobytes(attacked: Attack, make: Callable[[], str]) -> None:
    room = 262_144 - len('{"a":""}')
    assert attacked("enqueue_job", tenant="a", type="t", payload=f'{{"a":"{"x" * room}"}}')[0]["created"]
    text = make()
    with refused("JF004", "262144"):
        attacked("enqueue_job", tenant="a", type="t", payload=text)
    with refused("JF004", "262144", "position 1"):
        attacked("enqueue_jobs", tenant="a", jobs=f'[{{"type": "t", "payload": {text}}}]')


# --- stored, and harmless ----------------------------------------------------------------------------------

VERBATIM = {
    "096-backslash": '{"a": "\\\\u0000"}',
    "096-strange": '{"__proto__": {"x": 1}, "\\u202e": "\\u200b", "\\ud83d\\ude00": "😀", "constructor": null}',
    "096-terminal": '{"a": "\\u001b[2J\\u009b", "b": "\\u0007"}',
    "096-long": '{"a": 123456789012345678901234567890.10}',
    "093-number bomb": BOMB,
    "094-5000 digits": '{"a": ' + "9" * 5_000 + "}",
    "092-deep": '{"a": ' + nested(5_000) + "}",
    "095-1e400": '{"a": 1e400}',
}


@pytest.mark.parametrize("payload", VERBATIM.values(), ids=VERBATIM.keys())
def test_case_092_to_096_a_payload_comes_back_as_the_text_it_was_and_harms_no_claim(
    attack: Attack, payload: str
) -> None:
    strange = attack.enqueue("a", payload=Text(payload))
    plain = attack.enqueue("b")

    runs = {run["job_id"]: run for run in attack.claim()}
    assert runs[strange]["payload"] == payload
    assert runs[plain]["payload"] == "{}"


HOSTILE = {
    "092-deep": '{"n": ' + nested(10_000, "1") + "}",
    "092-as deep as Python just can": '{"n": ' + nested(900, "1") + "}",
    "093-number bomb": BOMB,
    "093-number bomb of fractions": BOMB.replace("1e131071", "1e-16000"),
    "094-5000 digits": '{"n": ' + "9" * 5_000 + "}",
    "094-130000 digits": '{"n": ' + "9" * 130_000 + "}",
    "095-1e400": '{"n": 1e400}',
    "095--1e400": '{"n": -1e400}',
    "101-another type": '{"n": "x"}',
    "101-nothing": "{}",
    "101-twice": '{"n": 1, "n": []}',
    "101-many keys": json.dumps({str(n): n for n in range(15_000)}),
    "101-one long key": json.dumps({"x" * 200_000: 1}),
    "101-terminal": '{"n": "\\u001b[2J\\u202e"}',
}


@pytest.fixture
def besieged(attack: Attack) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """Twenty good jobs among the hostile ones of another tenant, all of them of the least age that they can be."""
    hostile, good = [], []
    for n, payload in enumerate(HOSTILE.values()):
        hostile.append(attack.enqueue("hostile", "double", Text(payload)))
        good += [attack.enqueue("good", "double", {"n": 2 * n + m}) for m in range(2)]
    return hostile, good


def test_case_092_to_095_and_101_hostile_payloads_are_dead_at_once_and_all_good_jobs_run(
    attack: Attack, besieged: tuple[list[uuid.UUID], list[uuid.UUID]]
) -> None:
    hostile, good = besieged
    with working(attack, forge, concurrency=2) as worker:
        assert worker.drain(60)
        assert worker.outcomes == {"succeeded": len(good), "failed": len(hostile)}
    assert {attack.state(job) for job in good} == {"succeeded"}
    assert sorted(attack.job(job)["result"] for job in good) == [2 * n for n in range(len(good))]
    for job in hostile:
        (info,) = attack.look(
            "select state, run, attempt, crashes from jobforge.all_jobs where id = %s", job, user="jf_admin"
        )
        assert info == {"state": "dead", "run": 1, "attempt": 1, "crashes": 0}
        (attempt,) = attack.attempts(job)
        assert attempt["error"]["type"] == "InvalidPayload"
        assert 0 < len(attempt["error"]["message"]) <= 5100
        assert "999999" not in json.dumps(attempt["error"])  # says what is wrong, without the values


@pytest.mark.parametrize("ended", [False, True], ids=["waiting", "dead"])
def test_case_092_to_095_and_101_everybody_can_read_on_with_hostile_jobs_in_the_table(
    attack: Attack, besieged: tuple[list[uuid.UUID], list[uuid.UUID]], ended: bool
) -> None:
    hostile, good = besieged
    if ended:
        with working(attack, forge) as worker:
            assert worker.drain(60)
    everything = {*hostile, *good}
    with Session(attack.engine("jf_admin")) as admin:
        assert {job.id for job in admin.scalars(sa.select(Job))} == everything
        listed = Jobs(admin).list(limit=1000).jobs
        assert {job.id for job in listed} == everything
        assert {job.id: job.payload for job in listed} == {j.id: j.payload for j in map(Jobs(admin).get, everything)}
        assert len(admin.scalars(sa.select(Attempt)).all()) == (len(everything) if ended else 0)
        assert exported(admin) == everything
    with Session(attack.engine("jf_app")) as session:
        assert {job.id for job in Jobs(session, tenant="hostile").list(limit=1000).jobs} == set(hostile)
    url = attack.url("jf_admin")
    assert len(inside(url, "jobs", "list", "--limit", "100").stdout.splitlines()) == len(everything) + 1
    for options in ([], ["--state", "dead" if ended else "queued"], ["--tenant", "hostile"]):
        inside(url, "jobs", "list", *options)
        lines = inside(url, "jobs", "list", "--json", *options).stdout.splitlines()
        assert all(uuid.UUID(json.loads(line)["id"]) in everything for line in lines)


def exported(session: Session) -> set[uuid.UUID]:
    """Everything in the database's own JSON, line by line, as who exports or copies would read it."""
    rows = session.execute(sa.text("select id, row_to_json(j)::text from jobforge.all_jobs j")).all()
    assert all(len(text) < 1_000_000 for _, text in rows)
    return {job for job, _ in rows}


@pytest.mark.parametrize("label", HOSTILE)
def test_case_092_to_095_and_101_a_hostile_job_is_shown(attack: Attack, label: str) -> None:
    job = attack.enqueue("hostile", "double", Text(HOSTILE[label]))
    with working(attack, forge):
        wait_for(lambda: attack.state(job) == "dead")
    url = attack.url("jf_admin")
    assert "InvalidPayload" in inside(url, "jobs", "show", str(job)).stdout
    (shown,) = inside(url, "jobs", "show", str(job), "--json").stdout.splitlines()
    assert json.loads(shown)["attempts"][0]["error"]["type"] == "InvalidPayload"


def test_case_092_a_payload_of_any_depth_is_shown(attack: Attack) -> None:
    """Between what Python decodes and what it does not lies what it decodes and cannot encode again."""
    url = attack.url("jf_admin")
    for depth in range(860, 980, 4):
        job = attack.enqueue(payload=Text(f'{{"n": {nested(depth)}}}'))
        for arguments in (["show", str(job)], ["show", str(job), "--json"], ["list", "--limit", "1", "--json"]):
            assert str(job) in inside(url, "jobs", *arguments).stdout


def test_case_095_what_the_command_says_in_json_is_json(attack: Attack) -> None:
    def no_json(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    job = attack.enqueue(payload=Text('{"n": [1e400, -1e400]}'))
    url = attack.url("jf_admin")
    for arguments in (["list", "--json"], ["show", str(job), "--json"]):
        json.loads(inside(url, "jobs", *arguments).stdout, parse_constant=no_json)


@pytest.mark.parametrize("number", ["1e-16383", "0." + "1" * 16_000], ids=["093-small", "093-long"])
def test_case_093_a_retry_policy_is_no_bomb_for_who_lists(attack: Attack, number: str) -> None:
    """With the first, 900 bytes sent are 1.6 MB in each row of a list, and a page of 1,000 jobs has 1.6 GB."""
    policy = Text('{"delays": [' + ", ".join([number] * 100) + "]}")
    with contextlib.suppress(psycopg.Error):
        attack("enqueue_job", tenant="a", type="t", retry=policy)
    sizes = attack.look("select octet_length(retry::text) as bytes from jobforge.jobs")
    assert [size["bytes"] for size in sizes if size["bytes"] > 10_000] == []


# --- how a run ends ----------------------------------------------------------------------------------------


class Nasty(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Silent(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


def circle() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


RAISED: dict[str, tuple[Callable[[], BaseException], str]] = {
    "097-NUL": (lambda: ValueError("a\x00b"), "ValueError"),
    "097-surrogate": (lambda: ValueError("a\ud800b"), "ValueError"),
    "097-10 MB": (lambda: ValueError("x" * 10_000_000), "ValueError"),
    "097-10 MB of four bytes each": (lambda: ValueError("😀" * 2_500_000), "ValueError"),
    "097-name": (lambda: type("N\n" + "n" * 100_000, (Exception,), {})("x"), "N\n" + "n" * 198),
    "098-BaseException": (Nasty, "Nasty"),
    "098-no text": (Silent, "Silent"),
    "098-SystemExit": (lambda: SystemExit(3), "SystemExit"),
    "098-KeyboardInterrupt": (KeyboardInterrupt, "KeyboardInterrupt"),
    "098-GeneratorExit": (GeneratorExit, "GeneratorExit"),
    "098-StopIteration": (StopIteration, "StopIteration"),
    "098-group": (lambda: ExceptionGroup("g", [ValueError("\x00"), Silent()]), "ExceptionGroup"),
    "098-MemoryError": (MemoryError, "MemoryError"),
}
RETURNED: dict[str, Callable[[], object]] = {
    "100-object": object,
    "100-NaN": lambda: math.nan,
    "100-infinity": lambda: {"a": [math.inf]},
    "100-circle": circle,
    "100-function": lambda: print,
    "100-deep": lambda: _deep(5000),
    "100-too large": lambda: "x" * 262_143,
    "100-done": lambda: Done(object()),
    "100-surrogate": lambda: "\ud800",
    "100-NUL": lambda: {"a\x00": 1},
}
ends = JobForge()


@ends.task(max_attempts=1)
def throw(ctx: Context, payload: dict[str, str]) -> None:
    ctx.session.execute(sa.text("select jobforge.current_tenant()"))
    if payload["end"] == "recursion":
        throw.handler(ctx, payload)
    raise RAISED[payload["end"]][0]()


@ends.task(max_attempts=3)
def give(ctx: Context, payload: dict[str, str]) -> object:
    if payload.get("session"):
        ctx.session.execute(sa.text("select jobforge.current_tenant()"))
    return RETURNED[payload["end"]]()


@ends.task()
def fine(ctx: Context, payload: dict[str, str]) -> str:
    return "fine"


def test_case_097_098_whatever_a_handler_throws_is_on_record_and_the_worker_lives(attack: Attack) -> None:
    thrown = {end: attack.enqueue("hostile", "throw", {"end": end}, max_attempts=1) for end in [*RAISED, "recursion"]}
    good = [attack.enqueue("good", "fine") for _ in range(20)]
    with working(attack, ends, concurrency=2) as worker:
        assert worker.drain(60)
        assert worker.outcomes == {"succeeded": 20, "failed": len(thrown)}
    assert {attack.state(job) for job in good} == {"succeeded"}
    for end, job in thrown.items():
        assert attack.state(job) == "dead"
        (attempt,) = attack.attempts(job)
        assert attempt["error"]["type"] == ("RecursionError" if end == "recursion" else RAISED[end][1])
        assert len(json.dumps(attempt["error"], ensure_ascii=False).encode()) < 65_536
    said = {
        end: attack.attempts(thrown[end])[0]["error"]["message"] for end in ("097-NUL", "097-surrogate", "097-10 MB")
    }
    assert said["097-NUL"] == "a\ufffdb"
    assert said["097-surrogate"] == "a?b"
    assert len(said["097-10 MB"]) <= 5_003


def test_case_100_a_result_that_is_no_json_fails_its_job_with_the_reason(attack: Attack) -> None:
    sessions: list[dict[str, str]] = [{}, {"session": "1"}]
    given = {
        (end, bool(session)): attack.enqueue("hostile", "give", {"end": end} | session)
        for end in RETURNED
        for session in sessions
    }
    good = [attack.enqueue("good", "fine") for _ in range(20)]
    with working(attack, ends, concurrency=2) as worker:
        assert worker.drain(60)
    assert {attack.state(job) for job in good} == {"succeeded"}
    for end, job in given.items():
        attempts = attack.attempts(job)
        assert (attack.state(job), len(attempts)) == ("dead", 1), (end, attempts)
        assert attempts[0]["error"]["type"] in ("InvalidResult", "Refused"), end
        assert attempts[0]["error"]["message"]


def test_case_102_types_that_the_worker_does_not_know_are_left_alone_and_uncharged(attack: Attack) -> None:
    unknown = [attack.enqueue("a", name) for name in ("unknown", "os.system", "double:x")]
    mine = attack.enqueue("b", "double", {"n": 1})
    with working(attack, forge) as worker:
        assert worker.drain(10)
        assert worker.outcomes == {"succeeded": 1}
    assert attack.state(mine) == "succeeded"
    for job in unknown:
        info = attack.job(job)
        assert (info["state"], info["run"], info["attempt"]) == ("queued", 0, 0)
    knowing = JobForge()
    knowing.task("unknown")(anything.handler)
    with working(attack, knowing):
        wait_for(lambda: attack.state(unknown[0]) == "succeeded")


def test_case_103_a_payload_is_data_and_names_no_code(attack: Attack) -> None:
    """A type runs what is registered under it, and nothing else: not a path that could be imported."""
    evil = {"py/object": "os.system", "__reduce__": ["os.system", ["id"]], "$type": "subprocess.Popen", "n": 4}
    jobs = [attack.enqueue("a", "double", evil), attack.enqueue("a", "anything", evil)]
    with working(attack, forge) as worker:
        assert worker.drain(10)
    assert [attack.job(job)["result"] for job in jobs] == [8, evil]


def test_case_103_the_package_unpickles_nothing_and_imports_only_what_its_operator_names() -> None:
    files = python_files("jobforge_sa")
    loaded = {(file.name, module.partition(".")[0]) for file in files for _, module in imports(file)}
    assert {one for one in loaded if one[1] in {"pickle", "marshal", "shelve", "dill", "yaml", "jsonpickle"}} == set()
    called = {
        (file.name, ast.unparse(node.func))
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    names = {"eval", "exec", "compile", "__import__", "importlib.import_module", "import_module"}
    # the package's own modules, loaded when asked for; what `jobforge worker app:forge` names on its command line;
    # and, in a child process, where its worker's tasks are
    own = {
        ("__init__.py", "import_module"), ("application.py", "importlib.import_module"),
        ("child.py", "importlib.import_module"), ("place.py", "importlib.import_module"),
    }  # fmt: skip
    assert {one for one in called if one[1] in names} == own
