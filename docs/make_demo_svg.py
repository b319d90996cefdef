# ruff: noqa: INP001 -- a script beside the documentation, not a part of a package
"""Makes docs/demo.svg: a picture of a real run of ``trio-dlm demo``.

Run it with ``python docs/make_demo_svg.py`` where the package, its extra ``cli`` and pyte are installed.

Rules that hold here:

- the demonstration runs in a pseudo terminal, and what it wrote there is what is drawn;
- the picture shows one moment: the one at which most is to be seen;
- the file refers to nothing outside of itself, and holds nothing of the machine that made it.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pyte
from rich.console import Console
from rich.text import Text

COLUMNS: Final = 84
LINES: Final = 22

TARGET: Final = Path(__file__).with_name("demo.svg")

# pyte calls one colour as the first terminals showed it.
COLOURS: Final = {"brown": "yellow", "brightbrown": "bright_yellow"}

# A row of the live display has a bar in it.
BAR: Final = re.compile("[█▏▎▍▌▋▊▉]*░|█{6}")


def output_of_demo() -> Iterator[str]:
    """Run the demonstration in a terminal of its own, and yield what it writes, as it comes."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "trio_dlm", "demo"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm-256color", "COLORTERM": ""},
    )
    os.close(theirs)
    decoder = codecs.getincrementaldecoder("utf-8")()
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:
            # What Linux says instead of an end of file.
            break
        if not data:
            break
        yield decoder.decode(data)
    os.close(ours)
    if code := process.wait():
        raise SystemExit(f"the demonstration ended with exit code {code}")


def as_text(screen: pyte.Screen) -> Text:
    """Return what stands on *screen*, with its colours."""
    lines = []
    for number in range(screen.lines):
        line = Text()
        chars = [screen.buffer[number][column] for column in range(screen.columns)]
        for style, run in groupby(chars, key=style_of):
            line.append("".join(char.data for char in run), style)
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return Text("\n").join(lines)


def style_of(char: Any) -> str:
    """Return the style of one character as rich writes it."""
    words = ["bold"] if char.bold else []
    if char.fg != "default":
        words.append(COLOURS.get(char.fg, char.fg))
    return " ".join(words)


def worth(screen: pyte.Screen) -> int:
    """Say how much there is to see."""
    lines = [line.rstrip() for line in screen.display if line.strip()]
    running = sum(bool(BAR.search(line)) for line in lines)
    kinds = sum(any(word in line for line in lines) for word in (" failed: ", ": cancelled", ": completed", ": paused"))
    return (10 * kinds + 4 * running + len(lines)) if running else 0


def draw(text: Text) -> str:
    """Return *text* as a picture that needs nothing else."""
    console = Console(width=COLUMNS, file=StringIO(), record=True, force_terminal=True, legacy_windows=False)
    console.print(Text.assemble(("$ ", "dim"), "trio-dlm demo\n", text), no_wrap=True, crop=False)
    svg = console.export_svg(title="trio-dlm demo", unique_id="demo")
    # The template fetches its font from a server; what is left falls back to the reader's own.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"\s*<!-- .*? -->", "", svg)


def main() -> None:
    """Run, choose, draw, write."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.Stream(screen)
    best, best_worth = Text(), 0
    for piece in output_of_demo():
        # A piece is a whole frame, or nearly always: half a one is worth less.
        stream.feed(piece)
        if (now_worth := worth(screen)) > best_worth:
            best, best_worth = as_text(screen), now_worth
    TARGET.write_text(draw(best), encoding="utf-8")
    print(f"{TARGET.name}: {len(best.plain.splitlines())} lines")  # noqa: T201


if __name__ == "__main__":
    main()
