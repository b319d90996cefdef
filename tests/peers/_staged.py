"""A plan of the origin that goes through the stages of a scenario, one for each start of the client.

Rules that hold here:

- GETs are counted in each stage for itself, and HEADs are not: clients differ in how they ask first;
- the server turns when it has sent so many bytes, headers included, over all connections; those in use then are
  closed with what was sent on its way, so that the client has it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Final, final

import trio

from trio_dlm.testing.origin import Act, Close, Fault, Hold, Request, Resource, Send
from trio_dlm.testing.origin._reply import note
from trio_dlm.testing.origin._resource import Validators

from ._scenario import Place, Says, Scenario, Stage

__all__ = ["StagedPlan"]

# Small against a segment, so that a turn comes where it was meant.
_PIECE_BYTES: Final = 32_768


@final
class StagedPlan:
    """The plan of one server for one scenario.

    Attributes:
        turned: set when the server has turned in this stage.
        sent_bytes: how much it has sent in this stage, headers included.
        gets: how many GETs have come in this stage.
    """

    def __init__(self, scenario: Scenario, place: Place) -> None:
        self.validators: Validators = scenario.validators
        self.max_connections = scenario.max_connections
        self._place = place
        self.begin(Stage())

    def begin(self, stage: Stage, resource: Resource | None = None) -> None:
        """Go on to *stage*."""
        self._stage = stage
        self._says: Fault | None = self._rule(stage.says)
        self.turned = trio.Event()
        self.sent_bytes = 0
        self.gets = 0
        self._running = 0
        if stage.change is not None and resource is not None:
            stage.change.apply(resource)

    def for_request(self, number: int) -> Fault:
        """Answer them all alike, whatever their number."""
        return self

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Answer as the stage has it."""
        fault = self._says
        if fault is None:
            yield Close()
            return
        counted = dataclasses.replace(request, number=self.gets)
        if request.method != "HEAD":
            self.gets += 1
        most = self._stage.most_at_once
        if most is not None and self._running >= most:
            yield from note(request, 429, ("Retry-After", "1")).acts()
            return
        self._running += 1
        try:
            yield from self._until_it_turns(fault.answer(counted, resource), resource)
        finally:
            self._running -= 1

    def _until_it_turns(self, acts: Iterable[Act], resource: Resource) -> Iterator[Act]:
        turned = self.turned
        is_old = turned.is_set()
        for act in acts:
            for piece in _pieces(act):
                if turned.is_set() and not is_old:
                    assert self._stage.turn is not None
                    yield Hold() if self._stage.turn.is_silent else Close()
                    return
                if isinstance(piece, Send):
                    self._count(len(piece.data), resource)
                yield piece

    def _count(self, size_bytes: int, resource: Resource) -> None:
        self.sent_bytes += size_bytes
        turn = self._stage.turn
        if turn is None or self.turned.is_set() or self.sent_bytes < turn.at_bytes:
            return
        if turn.is_silent:
            self._says = _Silence()
        else:
            self._says = None if turn.then is None else self._rule(turn.then)
        if turn.change is not None:
            turn.change.apply(resource)
        self.gets = 0
        self.turned.set()

    def _rule(self, says: Says) -> Fault:
        return says if isinstance(says, Fault) else says(self._place)


class _Silence:
    """What was silent once answers nobody else."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Say nothing."""
        yield Hold()


def _pieces(act: Act) -> Iterator[Act]:
    if not isinstance(act, Send):
        yield act
        return
    for start in range(0, len(act.data), _PIECE_BYTES):
        yield Send(act.data[start : start + _PIECE_BYTES])
