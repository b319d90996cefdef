"""Where workers come from: started when they are needed, or kept ready.

Rules that hold here:

- one that is kept ready has imported yt-dlp and has no request yet; it serves one and ends, as all do, since yt-dlp
  grows with every item, and changes its process for good;
- nothing here belongs to a loop: a manager's downloads and a program's own calls may come from different ones.
"""

from __future__ import annotations

import collections
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import final

import anyio
import anyio.to_thread

from ._environment import Launch
from ._group import ProcessGroup

__all__ = ["Workers"]


@final
class Workers:
    """Gives workers.  Opened by :meth:`open`, ended by :meth:`aclose`.

    Args:
        make_launch: returns how one is started, given an empty directory for it to call home.
        warm: how many are kept ready.
    """

    def __init__(self, make_launch: Callable[[Path], Launch], *, warm: int) -> None:
        self._make_launch = make_launch
        self._warm = warm
        self._ready: collections.deque[ProcessGroup] = collections.deque()
        self._lock = threading.Lock()
        self._launch: Launch | None = None

    @property
    def is_open(self) -> bool:
        """Whether workers can be had."""
        return self._launch is not None

    async def open(self) -> None:
        """Begin to keep workers ready.

        Raises:
            StorageError: the system cannot start one.
        """
        home = await anyio.to_thread.run_sync(lambda: Path(tempfile.mkdtemp(prefix="trio_dlm-ytdlp-")))
        self._launch = self._make_launch(home)
        try:
            for _ in range(self._warm):
                await self._prepare(self._launch)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise

    async def take(self) -> ProcessGroup:
        """Return a worker, whose end is the caller's to see to from now on.

        Raises:
            StorageError: the system cannot start one.
        """
        launch = self._launch
        assert launch is not None, "the downloader checks that"
        if self._warm:
            # First the next one, so that whoever is cancelled meanwhile holds none.
            await self._prepare(launch)
            with self._lock:
                if self._ready:
                    return self._ready.popleft()
        return await ProcessGroup.start(launch.command, launch.environment, launch.directory)

    async def _prepare(self, launch: Launch) -> None:
        group = await ProcessGroup.start(launch.warm(), launch.environment, launch.directory)
        with self._lock:
            self._ready.append(group)

    async def aclose(self) -> None:
        """End those that are ready.  Cannot be cancelled."""
        launch, self._launch = self._launch, None
        with anyio.CancelScope(shield=True):  # noqa: ASYNC912  (there may be nothing to wait for)
            while True:
                with self._lock:
                    if not self._ready:
                        break
                    group = self._ready.popleft()
                try:
                    await group.kill()
                finally:
                    group.close()
            if launch is not None:
                # What yt-dlp keeps there is of no value, and what cannot be deleted does no harm.
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(launch.directory, ignore_errors=True))
