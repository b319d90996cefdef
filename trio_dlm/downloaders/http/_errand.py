"""What one run is to do: the facts that all its rooms share, and that do not change.

Rules that hold here:

- facts only; what a run learns is in its sources, its target and its receiver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import trio

from ..._options import Checksum, DownloadOptions
from .._protocol import DownloadJob
from ..disk._hops import Hops
from ._asker import Asker, Source
from .rules._head import ReplyHead

__all__ = ["Errand"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One run of one download.

    Attributes:
        job: the run, as its manager made it.
        options: the user's, all layers together.
        directory: where the file goes, absolute.
        sources: who has the file, the URL's own first, then its mirrors.
        asker: what to ask with.
        limiter: counts the threads that touch files.
        hops: runs what is short, with others of its kind.
        checksum: what the file must have, or None.
        accept: looks at the head of a reply before anything of it is written, and raises if this is not what is wanted.
    """

    job: DownloadJob
    options: DownloadOptions
    directory: Path
    sources: tuple[Source, ...]
    asker: Asker
    limiter: trio.CapacityLimiter
    hops: Hops
    checksum: Checksum | None = None
    accept: Callable[[ReplyHead], object] | None = None

    @property
    def first(self) -> Source:
        """The source that the user named first."""
        return self.sources[0]
