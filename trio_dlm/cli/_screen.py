"""The part of a terminal below the last permanent line, drawn anew again and again.

Rules that hold here:

- one frame is one write, and the cursor is never hidden: a process that is killed leaves a terminal in order;
- permanent lines are broken between words; a frame never wraps: wrapping is switched off while it is drawn, whatever
  the terminal thinks of the width of a character;
- a terminal that was made narrower has wrapped the old frame by itself, which is taken into account;
- what is permanent scrolls up above the frame and is never touched again.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Final, TextIO, final

import trio
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ._frame import fit
from ._output import Output

__all__ = ["PATIENCE_S", "Screen"]

# ECMA-48 and its private modes, which every terminal of the last decades and the Windows console understand.
_CLEAR_BELOW: Final = "\x1b[J"
_NO_WRAPPING: Final = "\x1b[?7l"
_WRAPPING: Final = "\x1b[?7h"

_INDENT: Final = "  "

# A terminal that was halted (Ctrl-S) takes nothing until its user lets it.
PATIENCE_S: Final = 1.0

# What is assumed of a terminal that does not tell.
DEFAULT_SIZE: Final = os.terminal_size((80, 24))


@final
class Screen:
    """Draws frames on *stream*, a terminal."""

    def __init__(self, stream: TextIO, out: Output) -> None:
        self._stream = stream
        self._out = out
        # Knows which colours the terminal has, and whether they are wanted (NO_COLOR).
        self._console = Console(file=io.StringIO(), force_terminal=True, highlight=False, markup=False, emoji=False)
        self._widths: list[int] = []

    @property
    def size(self) -> os.terminal_size:
        """Columns and lines, as they are now."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return DEFAULT_SIZE
        return os.terminal_size((size.columns or DEFAULT_SIZE.columns, size.lines or DEFAULT_SIZE.lines))

    @property
    def is_ascii(self) -> bool:
        """Whether the terminal's encoding has no more than ASCII, or no more of use."""
        try:
            "█▏░…".encode(self._stream.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return True
        return False

    async def draw(self, permanent: Sequence[Text], frame: Sequence[Text]) -> None:
        """Replace the frame, with the *permanent* lines above it; an empty frame leaves nothing below them.

        Cancelling it has no effect, but on a terminal that takes nothing any more.
        """
        columns = self.size.columns
        parts = [_NO_WRAPPING, self._back(columns)]
        for text in permanent:
            for line in self._wrapped(text, columns):
                parts += (self._as_ansi(line, columns), "\r\n")
        parts.append("\r\n".join(self._as_ansi(line, columns) for line in frame))
        # At the line's end the terminal's own echo of Ctrl-C would wrap and push the frame up.
        parts.append("\r" + _WRAPPING)
        self._widths = [min(cell_len(line.plain), columns) for line in frame]
        # What was not written would have to be known when the next frame replaces it.
        with trio.move_on_after(PATIENCE_S, shield=True):
            await self._out.write("".join(parts))

    def forget(self) -> None:
        """Something else was written below the frame: begin a new one there."""
        self._widths = []

    def _back(self, columns: int) -> str:
        """Go to the first character of the frame that is there, and clear it."""
        up = sum(max(1, -(-width // columns)) for width in self._widths[:-1])
        return f"\r\x1b[{up}A{_CLEAR_BELOW}" if up else f"\r{_CLEAR_BELOW}"

    def _wrapped(self, text: Text, columns: int) -> list[Text]:
        """Break *text* between words, with what follows the first line indented."""
        if cell_len(text.plain) <= columns or columns <= 2 * len(_INDENT):
            return [text]
        lines = text.wrap(self._console, columns - len(_INDENT))
        for line in lines:
            line.rstrip()
        return [lines[0], *(Text(_INDENT) + line for line in lines[1:])]

    def _as_ansi(self, line: Text, columns: int) -> str:
        if cell_len(line.plain) > columns:
            line = Text(fit(line.plain, columns), style=line.style)
        with self._console.capture() as captured:
            self._console.print(line, end="", soft_wrap=True)
        return captured.get()
