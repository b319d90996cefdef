"""What a fault is: an object that says, act by act, how the origin answers one request.

Rules that hold here:

- a fault is a value: it remembers nothing, so that one plan gives the same replies every time; what it changes is the
  resource, and that when its first act is asked for;
- it is spelled as the Python that makes it, since a report of a failure is meant to be pasted into a test.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Protocol, cast, runtime_checkable

from ._acts import Act
from ._request import Request
from ._resource import Resource

__all__ = ["Fault", "Spelled"]


@runtime_checkable
class Fault(Protocol):
    """How one request is answered.  Any object with this method will do in a plan."""

    def answer(self, request: Request, resource: Resource) -> Iterable[Act]:
        """Say what is sent, waited for and closed, in order; the acts may go on without end.

        Args:
            request: what was asked.
            resource: the file, in its present version; it may be changed.
        """
        ...


class Spelled:
    """Gives a dataclass a repr that leaves out what is as by default."""

    __slots__ = ()

    def __repr__(self) -> str:
        told = ((each.name, getattr(self, each.name), each.default) for each in fields(cast("Any", self)))
        said = ", ".join(f"{name}={value!r}" for name, value, default in told if value != default)
        return f"{type(self).__name__}({said})"
