"""The live display of a terminal: what runs stands at the bottom, what has ended scrolls up above it.

Rules that hold here:

- what happens only marks the picture as old; it is drawn at most ten times a second, however much happens;
- while something runs it is drawn once a second, since a rate falls also when nothing happens; otherwise it sleeps;
- no more lines than the terminal has, whatever is running.
"""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Final, final

import trio
from rich.cells import cell_len
from rich.text import Text

from .._manager import DownloadManager
from .._records import DownloadResult, ManagerStats, TaskSnapshot
from .._status import DownloadStatus
from .._task import DownloadTask
from ..formatting import MIN_LINE_WIDTH, format_name
from . import _logs
from ._frame import Row, compose, fit
from ._output import Output
from ._report import MAX_ERROR_LENGTH, error_line, one_line, short_line, summary_line
from ._screen import PATIENCE_S, Screen

__all__ = ["LiveFace"]

# Nobody reads faster, and every redraw costs about a millisecond.
REDRAW_S: Final = 0.1
REFRESH_S: Final = 1.0

_STYLES: Final = {
    DownloadStatus.COMPLETED: "green",
    DownloadStatus.FAILED: "red",
    DownloadStatus.CANCELLED: "yellow",
    DownloadStatus.PAUSED: "yellow",
}


@final
class LiveFace:
    """Draws on *screen*, and after the end says on *err* what failed.

    Args:
        screen: the terminal.
        err: where errors go; None leaves it at the line in the display.
    """

    interval_s = 0.2

    def __init__(self, screen: Screen, err: Output | None) -> None:
        self._screen = screen
        self._err = err
        self._manager: DownloadManager | None = None
        self._total = 0
        self._is_open = self._is_stopping = False
        self._running: dict[str, DownloadTask[DownloadResult]] = {}
        self._said: dict[str, DownloadStatus] = {}
        self._permanent: deque[Text] = deque()
        self._errors: list[str] = []
        self._changed = trio.Event()

    @asynccontextmanager
    async def open(self, manager: DownloadManager, total: int) -> AsyncGenerator[None]:
        """Draw until the block ends, and then leave only what is permanent."""
        self._manager, self._total, self._is_open = manager, total, True
        try:
            with ExitStack() as stack:
                if sys.stderr is not None and sys.stderr.isatty():
                    stack.enter_context(_logs.redirected(self._take_log_line(trio.lowlevel.current_trio_token())))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._draw_forever)
                    nursery.start_soon(self._follow_terminal)
                    yield
                    nursery.cancel_scope.cancel(reason="the display is closed")
        finally:
            self._is_open = False
            self._running.clear()
            with trio.move_on_after(PATIENCE_S, shield=True):
                await self._screen.draw(self._take_permanent(), [])

    async def show(self, snapshot: TaskSnapshot) -> None:
        """Take note of a change; nothing is drawn here."""
        correlation_id, status = snapshot.correlation_id, snapshot.status
        if status is DownloadStatus.DOWNLOADING:
            if correlation_id not in self._running:
                assert self._manager is not None
                self._running[correlation_id] = self._manager.get_task(correlation_id)
        else:
            self._running.pop(correlation_id, None)
            goes_without_saying = (status is DownloadStatus.CANCELLED and self._is_stopping) or (
                # It is about to be said in full.
                status is DownloadStatus.FAILED and self._total == 1 and self._err is not None
            )
            if status in _STYLES and self._said.get(correlation_id) is not status and not goes_without_saying:
                self._permanent.append(Text(self._line_about(snapshot), _STYLES[status]))
        if status.is_final:
            self._said.pop(correlation_id, None)
            if status is DownloadStatus.FAILED:
                self._errors.append(error_line(snapshot))
        else:
            self._said[correlation_id] = status
        self._changed.set()
        await trio.lowlevel.checkpoint()

    async def say(self, line: str) -> None:
        """Show *line* above the running downloads."""
        self._permanent.append(Text(one_line(line), "bold cyan"))
        if self._is_open:
            self._changed.set()
            await trio.lowlevel.checkpoint()
        else:
            await self._screen.draw(self._take_permanent(), [])

    def stop(self) -> None:
        """Show nothing of what is cancelled from now on."""
        self._is_stopping = True

    async def finish(self, stats: ManagerStats, total: int, exit_code: int) -> None:  # noqa: ARG002
        """Say how it all ended, and what failed in full."""
        await self._screen.draw([Text(summary_line(stats, total), "bold")], [])
        if self._err is not None:
            for line in self._errors:
                await self._err.line(line)

    def _line_about(self, snapshot: TaskSnapshot) -> str:
        """Say on one line what became of a download; a failure may take more where it is not said again at the end."""
        if snapshot.status is DownloadStatus.FAILED and self._err is None:
            return short_line(snapshot, MAX_ERROR_LENGTH)
        width = columns = max(self._screen.size.columns, MIN_LINE_WIDTH)
        line = short_line(snapshot, width)
        # Characters may be two cells wide; what there is no room for is to be taken from the name.
        while (excess := cell_len(line) - columns) > 0 and width > MIN_LINE_WIDTH:
            width = max(width - -(-excess // 2), MIN_LINE_WIDTH)
            line = short_line(snapshot, width)
        return fit(line, columns)

    async def _draw_forever(self) -> None:
        while True:
            # What waits in the queue does not change by itself.
            with trio.move_on_after(REFRESH_S if self._running else float("inf")):
                await self._changed.wait()
            self._changed = trio.Event()
            await self._draw()
            await trio.sleep(REDRAW_S)

    async def _draw(self) -> None:
        assert self._manager is not None
        size = self._screen.size
        rows = [
            Row(_name_of(task), task.progress)
            for task in self._running.values()
            # It may have ended while the snapshot that says so is still under way.
            if task.status is DownloadStatus.DOWNLOADING
        ]
        frame = compose(
            rows,
            self._manager.get_stats(),
            self._total,
            width=size.columns,
            # One line is left for what scrolls.
            height=size.lines - 1,
            ascii_only=self._screen.is_ascii,
        )
        await self._screen.draw(self._take_permanent(), frame)

    async def _follow_terminal(self) -> None:
        """Draw anew when the size changes, and below the shell's words when the process was stopped for a while."""
        wanted = [getattr(signal, name) for name in ("SIGWINCH", "SIGCONT") if hasattr(signal, name)]
        if not wanted:
            return
        with trio.open_signal_receiver(*wanted) as signals:
            async for number in signals:
                if number != signal.SIGWINCH:
                    self._screen.forget()
                self._changed.set()

    def _take_permanent(self) -> list[Text]:
        lines: list[Text] = []
        while self._permanent:
            lines.append(self._permanent.popleft())
        return lines

    def _take_log_line(self, token: trio.lowlevel.TrioToken) -> Callable[[str], None]:
        def take(text: str) -> None:
            self._permanent.extend(Text(line, "dim") for line in text.split("\n"))
            try:
                token.run_sync_soon(self._changed_now, idempotent=True)
            except trio.RunFinishedError:
                return

        return take

    def _changed_now(self) -> None:
        self._changed.set()


def _name_of(task: DownloadTask[DownloadResult]) -> str:
    # The name that was asked for is better than what the URL suggests.
    return one_line(task.request.options.filename or "") or format_name(task.snapshot())
