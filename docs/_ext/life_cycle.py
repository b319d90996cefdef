"""The life cycle and the outcome table, drawn from the tables that the manager itself uses.

Rules that hold here:

- which steps there are, and what status follows a run, is read from the package; this file only knows words and places;
- a step, a status or an ending that has no words here is a warning, and warnings stop the build;
- the picture is plain SVG in the colours of the page, light or dark; what it shows is repeated in words below it, for
  those who cannot see it and for builders that draw nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from trio_dlm._outcome import Asked, Ending, status_after
from trio_dlm._status import TRANSITIONS, DownloadStatus

logger = logging.getLogger(__name__)

WIDTH: Final = 780
HEIGHT: Final = 340
BOX_WIDTH: Final = 140
BOX_HEIGHT: Final = 40
# How far apart the two arrows between one pair of boxes are.
APART: Final = 44


class Point(NamedTuple):
    """A place in the picture."""

    x: float
    y: float


PLACES: Final = {
    DownloadStatus.PENDING: Point(110, 60),
    DownloadStatus.DOWNLOADING: Point(390, 60),
    DownloadStatus.PAUSED: Point(250, 220),
    DownloadStatus.COMPLETED: Point(680, 60),
    DownloadStatus.FAILED: Point(680, 140),
    DownloadStatus.CANCELLED: Point(680, 220),
}

# The corners of an arrow that has to go round something; every other one is straight.
CORNERS: Final = {
    (DownloadStatus.PENDING, DownloadStatus.CANCELLED): [Point(72, 320), Point(680, 320)],
}


class Words(NamedTuple):
    """What a step is called in the picture, and when it happens."""

    label: str
    when: str


STEPS: Final = {
    (DownloadStatus.PENDING, DownloadStatus.DOWNLOADING): Words(
        "start", "it is its turn, and neither the manager's limit nor its lane's is reached"
    ),
    (DownloadStatus.PENDING, DownloadStatus.PAUSED): Words("pause", "``pause()``; at once"),
    (DownloadStatus.PENDING, DownloadStatus.CANCELLED): Words(
        "cancel", "``cancel()``, or the block cancels what is left; at once"
    ),
    (DownloadStatus.DOWNLOADING, DownloadStatus.COMPLETED): Words("result", "the downloader returned a result"),
    (DownloadStatus.DOWNLOADING, DownloadStatus.FAILED): Words(
        "error", "the downloader raised, or another one brought the whole block down"
    ),
    (DownloadStatus.DOWNLOADING, DownloadStatus.CANCELLED): Words(
        "cancel", "``cancel()``, or the block cancels what is left; as soon as its code has ended"
    ),
    (DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED): Words("pause", "``pause()``; as soon as its code has ended"),
    (DownloadStatus.PAUSED, DownloadStatus.PENDING): Words("resume", "``resume()``; at once, to the end of its lane"),
    (DownloadStatus.PAUSED, DownloadStatus.CANCELLED): Words("cancel", "``cancel()``, or the block is left; at once"),
}

OUT_OF_A_RUN: Final = {
    Ending.RESULT: "a `DownloadResult`",
    Ending.ERROR: "an ``Exception``, or a group that holds one",
    Ending.STOPPED: "nothing but ``trio.Cancelled``",
    Ending.CRASH: "another ``BaseException``, alone or in a group",
}
ASKED_FOR: Final = {
    Asked.NOTHING: "nobody asked",
    Asked.PAUSE: "``pause()``",
    Asked.CANCEL: "``cancel()``, also after ``pause()``",
    Asked.CLOSE: "the block closes",
}


class LifeCycle(SphinxDirective):
    """``.. life-cycle::`` draws the statuses and the steps between them, and lists the steps."""

    def run(self) -> list[nodes.Node]:
        """Return the picture and the list."""
        steps = [(before, after) for before, following in TRANSITIONS.items() for after in _in_order(following)]
        for before, after in set(steps) ^ set(STEPS):
            logger.warning(
                "the step from %s to %s is in the package or here, not in both",
                before.name,
                after.name,
                location=self.get_location(),
            )
        rows = [
            (f"``{before.name}``", f"``{after.name}``", STEPS[before, after].when)
            for before, after in steps
            if (before, after) in STEPS
        ]
        picture = nodes.raw("", "".join(_picture(steps)), format="html")
        return [picture, *self.parse_text_to_nodes(_table(("from", "to", "when"), rows, widths="20 20 60"))]


class OutcomeTable(SphinxDirective):
    """``.. outcome-table::`` lists which status follows a run."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        head = ("what came out of the downloader", *(ASKED_FOR[asked] for asked in Asked))
        rows = [
            (OUT_OF_A_RUN[ending], *(f"``{status_after(ending, asked).name}``" for asked in Asked)) for ending in Ending
        ]
        return self.parse_text_to_nodes(_table(head, rows, widths="32 17 17 17 17"))


def _in_order(statuses: frozenset[DownloadStatus]) -> list[DownloadStatus]:
    return [status for status in DownloadStatus if status in statuses]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, widths: str) -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (head, *rows):
        lines += [f"   {'  ' if index else '* '}- {cell}" for index, cell in enumerate(row)]
    return "\n".join(lines)


def _picture(steps: list[tuple[DownloadStatus, DownloadStatus]]) -> Iterator[str]:
    said = "; ".join(f"{before.name} to {after.name}" for before, after in steps)
    yield (
        f'<svg class="life-cycle" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}" '
        f'style="width:100%;max-width:{WIDTH}px;height:auto;margin:1em 0;color:var(--color-foreground-primary,#000);'
        'font:14px var(--font-stack,sans-serif)">'
        '<defs><marker id="life-cycle-head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0 10 5 0 10z" fill="currentColor"/></marker></defs>'
    )
    for before, after in steps:
        yield from _arrow(before, after, has_return=(after, before) in steps)
    yield f'<circle cx="14" cy="{PLACES[DownloadStatus.PENDING].y}" r="6" fill="currentColor"/>'
    yield _line([Point(20, PLACES[DownloadStatus.PENDING].y), Point(40, PLACES[DownloadStatus.PENDING].y)])
    for status in DownloadStatus:
        yield from _box(status)
    yield "</svg>"


def _box(status: DownloadStatus) -> Iterator[str]:
    x, y = PLACES[status]
    # A final status has a double border, as an accepting state has.
    for inset in (0, 4) if status.is_final else (0,):
        yield (
            f'<rect x="{x - BOX_WIDTH / 2 + inset}" y="{y - BOX_HEIGHT / 2 + inset}" width="{BOX_WIDTH - 2 * inset}" '
            f'height="{BOX_HEIGHT - 2 * inset}" rx="{8 - inset / 2}" stroke="currentColor" stroke-width="1.5" '
            'style="fill:var(--color-background-secondary,#f8f9fb)"/>'
        )
    yield (
        f'<text x="{x}" y="{y + 5}" text-anchor="middle" fill="currentColor" font-weight="600" font-size="13">'
        f"{escape(status.name)}</text>"
    )


def _arrow(before: DownloadStatus, after: DownloadStatus, *, has_return: bool) -> Iterator[str]:
    start, end = PLACES[before], PLACES[after]
    if corners := CORNERS.get((before, after)):
        # Upright at both ends, whatever the corners are.
        points = [Point(corners[0].x, start.y), *corners, Point(corners[-1].x, end.y)]
        points[0] = _edge_of_box(start, points[0], points[1])
        points[-1] = _edge_of_box(end, points[-1], points[-2])
        middle = Point((corners[0].x + corners[-1].x) / 2, corners[0].y)
    else:
        if has_return:
            length = math.dist(start, end)
            aside = Point((end.y - start.y) / length * APART / 2, (start.x - end.x) / length * APART / 2)
            start_at, end_at = Point(start.x + aside.x, start.y + aside.y), Point(end.x + aside.x, end.y + aside.y)
        else:
            start_at, end_at = start, end
        points = [_edge_of_box(start, start_at, end_at), _edge_of_box(end, end_at, start_at)]
        middle = Point((points[0].x + points[1].x) / 2, (points[0].y + points[1].y) / 2)
    yield _line(points)
    label = STEPS[before, after].label if (before, after) in STEPS else "?"
    # The page's own colour around the letters, so that the arrow does not run through them.
    yield (
        f'<text x="{middle.x:.1f}" y="{middle.y + 5:.1f}" text-anchor="middle" fill="currentColor" stroke-width="8" '
        f'style="paint-order:stroke;stroke:var(--color-background-primary,#fff)">{escape(label)}</text>'
    )


def _line(points: list[Point]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.5" '
        'marker-end="url(#life-cycle-head)"/>'
    )


def _edge_of_box(centre: Point, inside: Point, towards: Point) -> Point:
    """Return where the way from *inside* a box around *centre* to *towards* leaves the box."""
    dx, dy = towards.x - inside.x, towards.y - inside.y
    shares = []
    if dx:
        shares.append((math.copysign(BOX_WIDTH / 2, dx) - (inside.x - centre.x)) / dx)
    if dy:
        shares.append((math.copysign(BOX_HEIGHT / 2, dy) - (inside.y - centre.y)) / dy)
    share = min(shares)
    return Point(inside.x + share * dx, inside.y + share * dy)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("life-cycle", LifeCycle)
    app.add_directive("outcome-table", OutcomeTable)
    return {"parallel_read_safe": True}
