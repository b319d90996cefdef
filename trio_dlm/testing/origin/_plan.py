"""What an origin does with the requests that come, one after the other.

Rules that hold here:

- a plan is a value, and prints as the Python that makes it;
- requests are counted over all connections and paths, so that a redirect leads to the plan's next step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final, get_args

from ._fault import Fault, Spelled
from ._resource import Validators
from .faults import CHANGING, HONEST, RECOVERABLE, UNDETECTABLE, Busy, ChangedSecretly, Serve

__all__ = ["PATIENCE_S", "FaultPlan"]

# A client that is asked to stay away for longer may give up at once.
PATIENCE_S: Final = 60

_SERVE: Final = Serve()


@final
@dataclass(frozen=True, slots=True, repr=False)
class FaultPlan(Spelled):
    """Faults in their order.

    Attributes:
        steps: what is done with the first requests, one step for each.
        then: what is done with all that come after.
        validators: what the file's version is told by.
        max_connections: how many connections may be open; the origin closes further ones at once.
    """

    steps: tuple[Fault, ...] = ()
    then: Fault = _SERVE
    validators: Validators = "strong"
    max_connections: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can be no plan.

        Raises:
            TypeError: steps that are no tuple of faults, or a last fault that is none.
            ValueError: unknown validators, or fewer than one connection.
        """
        if not isinstance(self.steps, tuple):
            raise TypeError(f"steps is a tuple of faults, got {self.steps!r}")
        for fault in self._faults():
            if isinstance(fault, type) or not isinstance(fault, Fault):
                raise TypeError(f"a fault has a method answer(request, resource), got {fault!r}")
        if self.validators not in get_args(Validators):
            raise ValueError(f"validators is one of {', '.join(get_args(Validators))}, got {self.validators!r}")
        if self.max_connections is not None and self.max_connections < 1:
            raise ValueError(f"max_connections is at least 1, got {self.max_connections}")

    def for_request(self, number: int) -> Fault:
        """Return what to do with a request before which *number* came."""
        return self.steps[number] if number < len(self.steps) else self.then

    @property
    def is_honest(self) -> bool:
        """Whether the first request is enough: nothing but right replies, on as many connections as are wanted."""
        return self.max_connections is None and all(type(fault) in HONEST for fault in self._faults())

    @property
    def is_recoverable(self) -> bool:
        """Whether a client gets its file if it asks once more after each step, for it ends well and every step passes.

        For a client that knows the digest of the first version only if the plan is not :attr:`is_changing`.
        """
        return type(self.then) in HONEST and all(map(_passes, self.steps))

    @property
    def is_undetectable(self) -> bool:
        """Whether some step cannot be noticed without a digest of the client's own."""
        return any(self._is_hidden(fault) for fault in self._faults())

    @property
    def is_changing(self) -> bool:
        """Whether some step gives the file other bytes."""
        return any(type(fault) in CHANGING for fault in self._faults())

    def _is_hidden(self, fault: Fault) -> bool:
        # Where the validators promise nothing, a client joins nothing, and each reply for itself is of one version.
        if isinstance(fault, ChangedSecretly):
            return self.validators in ("strong", "date")
        return type(fault) in UNDETECTABLE

    def _faults(self) -> Iterable[Fault]:
        return *self.steps, self.then


def _passes(fault: Fault) -> bool:
    if isinstance(fault, Busy):
        return fault.wait_s <= PATIENCE_S
    return type(fault) in RECOVERABLE
