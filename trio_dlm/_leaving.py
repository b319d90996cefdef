"""What leaves a manager's block, and what it says of the downloads that end with it.

Rules that hold here:

- one exception leaves as it is, several leave in a group;
- a cancellation (of the class that the caller names) gives way to anything else, since the scope that it belongs to may
  be one of ours, which is gone;
- failures that nobody asked for are counted in a note on whatever else leaves.
"""

from __future__ import annotations

from typing import Final, cast

__all__ = ["CANCELLED", "CLOSED", "outcome_of", "reason_of"]

# Why downloads ended with the block.
CLOSED: Final = "the manager's block was left"
CANCELLED: Final = "the manager's block was cancelled"


def reason_of(leaving: BaseException, cancelled: type[BaseException]) -> str:
    """Return why the downloads of a block that *leaving* leaves are cancelled."""
    return CANCELLED if isinstance(leaving, cancelled) else f"{CLOSED} by {type(leaving).__name__}"


def outcome_of(leaving: list[BaseException], uncollected: int, cancelled: type[BaseException]) -> BaseException:
    """Return what leaves the block: the one exception as it is, or several in a group."""
    others = [exc for exc in leaving if not _is_only_cancelled(exc, cancelled)]
    if not others:
        return leaving[0]
    exc = others[0]
    if len(others) > 1:
        exc = BaseExceptionGroup(
            "what left the manager's block", [member for each in others for member in _members(each)]
        )
    if uncollected:
        exc.add_note(f"trio_dlm: downloads that failed besides, and nobody asked how they ended: {uncollected}")
    return exc


def _members(exc: BaseException) -> tuple[BaseException, ...]:
    return cast("BaseExceptionGroup[BaseException]", exc).exceptions if isinstance(exc, BaseExceptionGroup) else (exc,)


def _is_only_cancelled(exc: BaseException, cancelled: type[BaseException]) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", exc).split(cancelled)[1] is None
    return isinstance(exc, cancelled)
