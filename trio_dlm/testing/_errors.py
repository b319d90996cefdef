"""What the harness raises when something that was looked at is not right.

Rules that hold here:

- all of these are ``AssertionError``: they are the outcome of a test, and no part of the library's own errors;
- a message says which law or promise was broken, and by whom.
"""

from __future__ import annotations

__all__ = ["LawBrokenError", "LivelockError", "PromiseBrokenError", "RunEndedError", "require"]


class LawBrokenError(AssertionError):
    """A manager broke one of its laws."""


class PromiseBrokenError(AssertionError):
    """A downloader, or a scenario, broke one of its promises."""


class LivelockError(AssertionError):
    """A step went on and on without time passing, or nothing at all happened for a while of real time."""


class RunEndedError(RuntimeError):
    """The run of trio was over before the machine was."""


def require(condition: object, law: str) -> None:
    """Raise :class:`LawBrokenError`, with *law* as its text, unless *condition* holds."""
    if not condition:
        raise LawBrokenError(law)
