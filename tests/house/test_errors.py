"""docs/errors.md explains each error, with cause and cure; and each error's message says where."""

from __future__ import annotations

import inspect
import re

import pytest

from jobforge_sa import errors
from tests.house import markdown
from tests.house.source import ROOT

PAGE = ROOT / "docs" / "errors.md"
KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
GIVEN = {"message": "it went wrong", "names": ["send"], "error": {}, "sent": False}
BASES = {"JobForgeError", "NoResult", "SecurityWarning", "TenantError"}  # nobody raises them


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", markdown.read(PAGE), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def example(kind: type[BaseException]) -> BaseException:
    """One of this class, whatever it wants to be told."""
    wanted = [name for name in inspect.signature(kind.__init__).parameters if name in GIVEN]
    return kind(**{name: GIVEN[name] for name in wanted})


def test_every_error_has_its_section_and_every_section_its_error() -> None:
    assert sections().keys() == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_section_has_cause_and_cure(kind: type[BaseException]) -> None:
    text = sections()[kind.__name__]
    missing = [word for word in ("**Cause.**", "**Cure.**") if word not in text]
    assert missing == [] or kind.__name__ in BASES


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.__name__ not in BASES], ids=lambda kind: kind.__name__)
def test_the_message_ends_with_its_section(kind: type[BaseException]) -> None:
    page, _, anchor = str(example(kind)).splitlines()[-1].removeprefix("  more: ").partition("#")
    assert ROOT / page == PAGE
    assert anchor == kind.__name__.lower()
    assert anchor in markdown.anchors(PAGE)


def test_an_error_that_an_application_derives_is_explained_where_its_base_is() -> None:
    class OutOfStock(errors.ConfigurationError): ...

    assert str(OutOfStock("none left")) == "none left\n  more: docs/errors.md#configurationerror"


def test_every_code_of_the_contract_is_on_the_page() -> None:
    table = dict(re.findall(r"`(JF\d{3})` \| \[(\w+)\]", markdown.read(PAGE)))
    assert table == {code: kind.__name__ for code, kind in errors.BY_SQLSTATE.items()}
    for code, name in table.items():
        assert f"`{code}`" in sections()[name]
