"""What an assertion says when it fails: something leaked, or the test could not have found a leak."""

from __future__ import annotations


class NotIsolated(AssertionError):
    """A tenant was shown, or could change, what is not its own."""


class ProvesNothing(AssertionError):
    """The assertion could not fail here, whatever the policies are: its passing would mean nothing."""


def said(what: str, *, why: str = "", cure: str = "") -> str:
    """The text of a verdict: one line each for what and why, then what to do."""
    lines = [what]
    if why:
        lines.append("  why: " + why.replace("\n", "\n       "))
    if cure:
        lines.append("  cure: " + cure.replace("\n", "\n        "))
    return "\n".join(lines)


def counted(number: int, noun: str = "row") -> str:
    """A number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
