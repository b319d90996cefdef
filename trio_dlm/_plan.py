"""The checked arguments of ``open_manager``, as whoever runs the block gets them.

Rules that hold here:

- a plan holds what was asked for, before anything is opened;
- the surroundings (the current directory, the running loop) are not in it: they count when the block is entered.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from ._records import DownloadRequest
from .downloaders._protocol import Downloader, DownloaderFunction

__all__ = ["Backend", "Failures", "LaneOf", "OnExit", "Plan", "Setup"]

OnExit: TypeAlias = Literal["wait", "cancel"]
Failures: TypeAlias = Literal["raise", "keep"]
Backend: TypeAlias = Literal["auto", "trio", "asyncio"]
Setup: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
LaneOf: TypeAlias = Callable[[DownloadRequest], Hashable]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The checked arguments of ``open_manager``."""

    max_concurrent: float
    max_pending: float
    max_per_lane: float
    keep_finished: float
    rate_limit_bytes_per_s: float
    directory: str | os.PathLike[str]
    downloader: Downloader[Any] | DownloaderFunction[Any] | None
    lane_of: LaneOf | None
    on_exit: OnExit
    failures: Failures
    setup: Setup | None
    backend: Backend
