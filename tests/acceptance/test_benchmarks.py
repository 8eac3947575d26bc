"""The benchmark measures what it says: ours and the yardstick in small, and the arithmetic of its tables."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import math
import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from benchmarks import __main__ as command
from benchmarks import report, summary, systems
from benchmarks.arena import Arena
from benchmarks.noise import LOUD, Noise
from benchmarks.question import RATE, Case, Contender, Metric, Setting, Tally
from tests.house.source import ROOT

FOLDER = ROOT / "benchmarks"
WAIT = Metric("wait", "ms")
NEVER = Contender(lambda _: "", lambda _: {})


@pytest.fixture(scope="module")
def place(admin_url: sa.URL) -> Iterator[Arena]:
    with Arena(admin_url) as arena:
        yield arena
    with sa.create_engine(admin_url, isolation_level="AUTOCOMMIT").connect() as admin:
        admin.execute(sa.text("drop role if exists jobforge_bench"))


def tally(**rounds: list[float]) -> Tally:
    """A case whose rounds are these, the first contender ours."""
    made = Tally(Case("a case", dict.fromkeys(rounds, NEVER), (WAIT,)))
    for name, values in rounds.items():
        for value in values:
            made.add(name, {"wait": value}, foreign=1.0 if name == "loud" else 0.0)
    return made


@pytest.mark.parametrize("question", ["drain", "latency", "bulk"])
def test_each_measures_ours_beside_the_yardstick(place: Arena, question: str) -> None:
    setting = Setting([systems.load(systems.OURS), systems.load(systems.YARDSTICK)], quick=True)
    case = importlib.import_module(f"benchmarks.questions.{question}").cases(setting)[0]

    measured = command.measure(place, case, 1, Noise(known=False), lambda _: None)

    assert measured.failures == {}
    figures = list(measured.figures())
    assert {(f.contender, f.metric.name) for f in figures} >= {
        (name, metric.name) for name in (systems.OURS, systems.YARDSTICK) for metric in case.metrics
    }
    assert all(math.isfinite(figure.median) for figure in figures)
    assert all(figure.median > 0 for figure in figures if figure.metric == RATE)


def test_who_fails_is_told_and_holds_up_nobody(place: Arena) -> None:
    def fail(_: object) -> dict[str, float]:
        raise AssertionError("it has completed nothing")

    template = lambda arena: arena.template(systems.load(systems.YARDSTICK))  # noqa: E731
    case = Case(
        "a case", {"ours": Contender(template, lambda _: {"wait": 1.0}), "it": Contender(template, fail)}, (WAIT,)
    )

    measured = command.measure(place, case, 2, Noise(known=False), lambda _: None)

    section = report.Section("wait", "Wait", "", [measured], "")
    assert section.failures == ["a case: it: AssertionError: it has completed nothing"]
    assert "| it | – |  | – |" in report.markdown(section, {})


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    ours, it = tally(ours=[1, 10, 3], it=[2, 100, 3]).figures()

    assert (ours.median, it.median) == (3, 3)
    assert it.ratio == 0.5


def test_a_round_without_a_figure_counts_for_nothing_and_never_is_no_number() -> None:
    ours, it, late = tally(ours=[1, 2, 4], it=[math.nan, 4, 4], late=[math.inf] * 3).figures()

    assert (ours.is_ours, it.median, it.ratio) == (True, 4, 0.75)
    assert report.number(late.median) == "never"
    assert report.number(late.ratio) == "–"


def test_rounds_that_others_disturbed_are_marked() -> None:
    lines = [cells for _, cells in report.rows(tally(ours=[1, 1], loud=[2, 2]), (WAIT,))]

    assert [cells[0] for cells in lines] == ["ours", "loud !"]
    assert LOUD < 1


def test_the_summary_takes_the_best_peer_and_says_factors_in_our_favour() -> None:
    rounds = {systems.OURS: [2.0], systems.YARDSTICK: [1.0], "oban": [8.0], "pgqueuer": [4.0]}
    made = tally(**rounds)
    made = Tally(dataclasses.replace(made.case, plot="wait"), made.values, made.foreign)

    lines = summary.summary([report.Section("wait", "Wait", "", [made], "")])

    assert lines[2] == "| Wait, a case: wait, ms | **2.00** | pgqueuer 4.00 | **2.00** | 0.50 |"
    assert summary.summary([report.Section("wait", "Wait", "", [tally(ours=[1], other=[2])], "")]) == []


def test_a_system_that_is_not_installed_is_named_with_its_reason() -> None:
    here, missing = systems.found([systems.OURS, "chancy"])

    assert [system.name for system in here] == [systems.OURS]
    assert "chancy" in missing["chancy"]


@pytest.mark.parametrize("file", sorted(systems.PLACES[name] for name in systems.PEERS))
def test_each_peer_is_pinned_and_says_how_it_is_set_up(file: str) -> None:
    pinned = re.findall(r"^([\w-]+)(?:\[\w+\])?==", (FOLDER / "peers.txt").read_text(), re.MULTILINE)
    module = ast.parse((FOLDER / "systems" / f"{file}.py").read_text())
    said = {
        target.id: ast.literal_eval(node.value)
        for cls in module.body
        if isinstance(cls, ast.ClassDef)
        for node in cls.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    assert systems.PLACES[said["name"]] == file
    assert said["package"] in pinned
    assert len(said["settings"]) > 40
