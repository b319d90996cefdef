"""Sizes, rates, durations and whole downloads as text for people: chat messages, displays and log lines.

Rules that hold here:

- pure: records in, plain text out; no clock, no terminal, no markup.  Escape the text for the markup of your chat;
- nothing claims more than is true: "100 %" and a full bar are shown only of what is complete, no size reaches 1024 of
  its unit, and what is not known is "?";
- names, reasons and addresses come from strangers: control characters, line breaks and marks that turn the direction of
  writing are never passed through, and addresses are shown without their secrets;
- every text has a greatest length, counted in characters, and what is longer loses its middle;
- a negative number is a ``ValueError``; infinity and NaN count as not known.
"""

from __future__ import annotations

import math
import operator
import re
import textwrap
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Final
from urllib.parse import unquote, urlsplit

from ._records import ManagerStats, Progress, TaskSnapshot
from ._status import DownloadPhase, DownloadStatus
from ._urls import host_of, redact_url

__all__ = [
    "DURATION_WIDTH",
    "FRACTION_WIDTH",
    "RATE_WIDTH",
    "SIZE_WIDTH",
    "format_batch",
    "format_block",
    "format_duration",
    "format_eta",
    "format_fraction",
    "format_line",
    "format_name",
    "format_rate",
    "format_size",
    "format_stats",
    "format_url",
    "parse_size",
    "progress_bar",
]

_UNKNOWN: Final = "?"
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")

# The most characters that each kind of number takes, so that a display can right-align it and its columns stand still.
SIZE_WIDTH: Final = len("1023.9 KiB")
RATE_WIDTH: Final = len("1023.9 KiB/s")
DURATION_WIDTH: Final = len("59 min 59 s")
FRACTION_WIDTH: Final = len("99.9 %")

# Below these a line has no room for a name and a fact, and a message none for its head and "… and 12 more".
MIN_LINE_WIDTH: Final = 20
MIN_MESSAGE_LENGTH: Final = 80

# The lines of a batch: short enough for a dozen of them on a telephone.
BATCH_LINE_WIDTH: Final = 100

# What went wrong and what to do about it takes about two hundred characters and an address.
REASON_LINES: Final = 5

# What is left of white space goes by str.split(), which knows all of Unicode's.  These do something to a terminal or to
# the text around them, or stand in for bytes that are no text: C0 and C1, the marks of direction (which can make
# "gpj.exe" read "exe.jpg"), the invisible ones, lone surrogates.  The joiners U+200C and U+200D stay, since words and
# emoji need them.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)

# An address inside a sentence, from the slashes on: that is where its secrets are, and looking for what stands before
# them would take quadratic time.
_ADDRESS: Final = re.compile(r"//\S*")

# A whole number may have thirty digits, which is more than any unit can use and less than what int() refuses to read.
_SIZE: Final = re.compile(r"\s*([0-9]{1,30})(\.[0-9]{1,30})?\s*(?:B|([KMGTPEZY])(?:iB)?)?\s*", re.ASCII | re.IGNORECASE)

# The nearest that a download may come to its end before it has ended.
_ALMOST: Final = math.nextafter(1.0, 0.0)

# The phases that add nothing to the word "downloading".
_SAYS_NO_MORE: Final = frozenset({DownloadPhase.WAITING, DownloadPhase.TRANSFERRING, DownloadPhase.ENDED})

# In a message with too little room, the downloads that a reader can do something about are the last to go.
_ORDER: Final = (
    DownloadStatus.DOWNLOADING,
    DownloadStatus.FAILED,
    DownloadStatus.PAUSED,
    DownloadStatus.PENDING,
    DownloadStatus.CANCELLED,
    DownloadStatus.COMPLETED,
)


def format_size(size_bytes: int | None) -> str:
    """Return a size in binary units with one decimal, ``"1.5 GiB"``, or below 1 KiB exactly, ``"1023 B"``.

    Rounded half up.  At most :data:`SIZE_WIDTH` characters; None is ``"?"``.
    """
    if size_bytes is None:
        return _UNKNOWN
    size = operator.index(size_bytes)
    if size < 0:
        raise ValueError(f"size_bytes is a number of bytes from 0 up, got {size_bytes!r}")
    if size < 1024:
        return f"{size} B"
    for power, unit in enumerate(_UNITS, start=1):
        # In whole numbers, since a float has no room for all of a large size.
        tenths = ((size * 20 >> 10 * power) + 1) // 2
        if tenths < 10_240:
            return f"{tenths // 10}.{tenths % 10} {unit}"
    return f"> 1023 {_UNITS[-1]}"


def parse_size(text: str) -> int:
    """Read a number of bytes as people write it: ``"300"``, ``"4M"``, ``"1.5G"``, ``"10 MiB"``.

    It also reads what :func:`format_size` writes.  Units are powers of 1024 and their case does not matter.  ``MB`` is
    refused, since it means a million bytes to some and 1024 squared to others.  Parts of a byte are rounded to the
    nearest byte.

    Raises:
        ValueError: it is not a size.
    """
    match = _SIZE.fullmatch(text)
    whole, decimals, unit = match.groups() if match else (None, None, None)
    if whole is None or (decimals and not unit):
        raise ValueError(
            f"a size is a whole number of bytes or a number with K, M, G, T, P, E, Z or Y (powers of 1024), "
            f"got {_shorten(repr(text), 60)}; write 300, 4M, 1.5G or 10MiB"
        )
    power = 1 + "KMGTPEZY".index(unit.upper()) if unit else 0
    return round(Fraction(whole + (decimals or "")) * (1 << 10 * power))


def format_rate(rate_bytes_per_s: float | None) -> str:
    """Return a rate with the units of :func:`format_size`: ``"8.5 MiB/s"``.

    At most :data:`RATE_WIDTH` characters; unknown is ``"? B/s"``.
    """
    rate = _known("rate_bytes_per_s", rate_bytes_per_s)
    return f"{_UNKNOWN} B/s" if rate is None else f"{format_size(round(rate))}/s"


def format_duration(seconds: float | None) -> str:
    """Return a duration in its two largest units: ``"59 s"``, ``"1 min 05 s"``, ``"3 h 00 min"``, ``"2 d 03 h"``.

    What is smaller is cut off, but what is shorter than a second and not nothing is ``"< 1 s"``.  At most
    :data:`DURATION_WIDTH` characters; unknown is ``"?"``.
    """
    known = _known("seconds", seconds)
    if known is None:
        return _UNKNOWN
    if 0 < known < 1:
        return "< 1 s"
    minutes, second = divmod(math.floor(known), 60)
    if not minutes:
        return f"{second} s"
    hours, minute = divmod(minutes, 60)
    if not hours:
        return f"{minute} min {second:02d} s"
    days, hour = divmod(hours, 24)
    if not days:
        return f"{hour} h {minute:02d} min"
    return f"{days} d {hour:02d} h" if days < 10_000 else "> 9999 d"


def format_eta(eta_s: float | None) -> str:
    """Return the time that is left, as :func:`format_duration` does, but counting a started second as a whole one.

    So ``"0 s"`` means that nothing is left.
    """
    known = _known("eta_s", eta_s)
    return format_duration(None if known is None else math.ceil(known))


def format_fraction(fraction: float | None) -> str:
    """Return a share in per cent, cut off after one decimal: ``"99.9 %"``.

    The exact ends have no decimal, ``"0 %"`` and ``"100 %"``.  So 0.9996 is ``"99.9 %"`` and never ``"100 %"``, and
    0.0004 is ``"0.0 %"``: something, but not a thousandth.  More than 1 is shown as 1.  At most
    :data:`FRACTION_WIDTH` characters; unknown is ``"?"``.
    """
    known = _known("fraction", fraction)
    if known is None:
        return _UNKNOWN
    if known >= 1:
        return "100 %"
    if known == 0:
        return "0 %"
    thousandths = min(999, math.floor(known * 1000))
    return f"{thousandths // 10}.{thousandths % 10} %"


def progress_bar(fraction: float | None, width: int = 10, *, ascii_only: bool = False) -> str:
    """Return a bar of exactly *width* characters, which is full only from 1 up.

    ``"███▍░░░░░░"``, in steps of an eighth of a character, or with *ascii_only* ``"###-------"``.  An unknown
    *fraction* looks neither full nor empty: ``"▒▒▒▒▒▒▒▒▒▒"``, ``"??????????"``.
    """
    if width < 1:
        raise ValueError(f"width is a number of characters from 1 up, got {width!r}")
    known = _known("fraction", fraction)
    if known is None:
        return ("?" if ascii_only else "▒") * width
    steps = width if ascii_only else 8 * width
    filled = steps if known >= 1 else min(steps - 1, math.floor(known * steps))
    if ascii_only:
        return "#" * filled + "-" * (width - filled)
    whole, eighths = divmod(filled, 8)
    return ("█" * whole + " ▏▎▍▌▋▊▉"[eighths] * bool(eighths)).ljust(width, "░")


def format_url(url: str, width: int = 80) -> str:
    """Return *url* on one line, without its secrets, in at most *width* characters."""
    return _shorten(_one_line(redact_url(url)), width)


def format_name(snapshot: TaskSnapshot, width: int = 60) -> str:
    """Return what to call a download, in at most *width* characters.

    The name of its file once there is one, until then the last part of the URL's path, or else its host.
    """
    name = _one_line(snapshot.result.path.name) if snapshot.result else ""
    return _shorten(name or _name_in(snapshot.url) or _UNKNOWN, width)


def format_line(snapshot: TaskSnapshot, *, width: int = 160) -> str:
    """Return one line about a download, in at most *width* characters.

    ``"big.iso: downloading, 42.0 % of 1.0 GiB, 8.5 MiB/s, 1 min 05 s left"``
    """
    if width < MIN_LINE_WIDTH:
        raise ValueError(f"width is a number of characters from {MIN_LINE_WIDTH} up, got {width!r}")
    amount = _delivered(snapshot) if snapshot.status is DownloadStatus.COMPLETED else _share(snapshot.progress)
    facts = ", ".join(filter(None, [_state(snapshot), amount, *_pace(snapshot)]))
    if reason := _reason(snapshot):
        facts = f"{facts}: {reason}"
    # A long reason leaves the name a third of the line; short facts leave it all that they do not need.
    name = format_name(snapshot, max(width // 3, width - len(": ") - len(facts)))
    return f"{name}: {_shorten(facts, width - len(name) - len(': '))}"


def format_block(snapshot: TaskSnapshot, *, width: int = 60, ascii_only: bool = False) -> str:
    """Return some lines about one download, each of at most *width* characters: one message in a chat.

    ::

        big.iso
        downloading, 8.5 MiB/s, 1 min 05 s left
        ████▏░░░░░ 42.0 %
        430.1 MiB of 1.0 GiB
        https://example.org/pub/big.iso
        id 1a2b3c4d
    """
    if width < MIN_LINE_WIDTH:
        raise ValueError(f"width is a number of characters from {MIN_LINE_WIDTH} up, got {width!r}")
    status, progress, result = snapshot.status, snapshot.progress, snapshot.result
    lines = [format_name(snapshot, width), ", ".join([_state(snapshot), *_pace(snapshot)])]
    if status in {DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED, DownloadStatus.COMPLETED}:
        fraction = 1.0 if status is DownloadStatus.COMPLETED else _short_of_whole(progress)
        lines.append(f"{progress_bar(fraction, 10, ascii_only=ascii_only)} {format_fraction(fraction)}")
    if status is DownloadStatus.COMPLETED:
        lines.append(_delivered(snapshot))
    else:
        lines.append(_share(progress, as_text=format_size(progress.received_bytes)))
    if result and result.checksum:
        lines.append(f"{_one_line(result.checksum.partition(':')[0])} verified")
    reason = _shorten(_reason(snapshot), REASON_LINES * width)
    lines.extend(textwrap.wrap(reason, width, break_on_hyphens=False))
    lines.append(format_url(snapshot.url, width))
    again = f", attempt {snapshot.attempts}" if snapshot.attempts > 1 else ""
    lines.append(f"id {_one_line(snapshot.correlation_id)}{again}")
    return "\n".join(_shorten(line, width) for line in lines if line)


def format_stats(stats: ManagerStats) -> str:
    """Return one line about a manager.

    ``"3 of 5 running, 12 pending, 0 paused; 40 completed, 2 failed, 0 cancelled; 1.2 GiB received, 8.5 MiB/s"``
    """
    limit = "" if stats.max_concurrent == math.inf else f" of {int(stats.max_concurrent)}"
    return (
        f"{stats.active}{limit} running, {stats.pending} pending, {stats.paused} paused; "
        f"{stats.completed} completed, {stats.failed} failed, {stats.cancelled} cancelled; "
        f"{format_size(stats.bytes_received)} received, {format_rate(stats.rate_bytes_per_s)}"
    )


def format_batch(snapshots: Iterable[TaskSnapshot], *, max_length: int = 2000) -> str:
    """Return one message about several downloads, in at most *max_length* characters: a summary, then a line for each.

    What runs comes first, then what failed, is paused, waits, was cancelled, is complete; among equals the order is
    kept.  Lines for which there is no room are counted: ``"… and 12 more"``.  Discord takes 2000 characters, Telegram
    4096.
    """
    if max_length < MIN_MESSAGE_LENGTH:
        raise ValueError(f"max_length is a number of characters from {MIN_MESSAGE_LENGTH} up, got {max_length!r}")
    ordered = sorted(snapshots, key=lambda snapshot: _ORDER.index(snapshot.status))
    # The head may take half, so that there is always room to say how many lines are missing.
    message = _shorten(_summary(ordered), max_length // 2)
    width = min(BATCH_LINE_WIDTH, max_length // 2)
    for shown, snapshot in enumerate(ordered):
        line = "\n" + format_line(snapshot, width=width)
        missing = f"\n… and {len(ordered) - shown} more"
        missing_after = f"\n… and {len(ordered) - shown - 1} more" if shown + 1 < len(ordered) else ""
        if len(message) + len(line) + len(missing_after) > max_length:
            return message + missing
        message += line
    return message


def _known(name: str, value: float | None) -> float | None:
    """Return *value*, or None if it says nothing: None, NaN or infinity."""
    if value is None or value == math.inf:
        return None
    if value < 0:
        raise ValueError(f"{name} is a number from 0 up, got {value!r}")
    return value if value >= 0 else None  # NaN is on neither side


def _one_line(text: str) -> str:
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def _shorten(text: str, width: int) -> str:
    """Take the middle out of *text*: its beginning says what it is, its end has the file's extension or the advice."""
    if width < 1:
        raise ValueError(f"width is a number of characters from 1 up, got {width!r}")
    if len(text) <= width:
        return text
    head = width // 2
    return text[:head] + "…" + text[len(text) - (width - head - 1) :]


def _name_in(url: str) -> str:
    try:
        path = urlsplit(url).path
    except ValueError:
        return _one_line(redact_url(url))
    parts = (_one_line(unquote(part)) for part in reversed(path.rstrip("/").split("/")))
    return next(filter(None, parts), None) or _one_line(host_of(url) or redact_url(url))


def _share(progress: Progress, *, as_text: str = "") -> str:
    """Say how much is there of a file that is not complete: *as_text*, or else in per cent, of the whole."""
    received_bytes, total_bytes = progress.received_bytes, progress.total_bytes
    if not total_bytes:  # a share of nothing says nothing
        return format_size(received_bytes) if received_bytes else ""
    if received_bytes > total_bytes:
        return f"{format_size(received_bytes)}, more than the {format_size(total_bytes)} announced"
    return f"{as_text or format_fraction(_short_of_whole(progress))} of {format_size(total_bytes)}"


def _short_of_whole(progress: Progress) -> float | None:
    """Return less than 1, or None: all bytes may be there, and are still to be verified and moved to their name."""
    received_bytes, total_bytes = progress.received_bytes, progress.total_bytes
    if not total_bytes or received_bytes > total_bytes:
        return None
    return min(received_bytes / total_bytes, _ALMOST)


def _delivered(snapshot: TaskSnapshot) -> str:
    result = snapshot.result
    size = format_size(snapshot.progress.received_bytes if result is None else result.size_bytes)
    if result is not None and result.reused:
        return f"{size}, was there already"
    if snapshot.started_at is None or snapshot.finished_at is None:
        return size
    # The times are those of a wall clock, which somebody may have set back in between.
    took_s = max(0.0, (snapshot.finished_at - snapshot.started_at).total_seconds())
    return f"{size} in {format_duration(took_s)}"


def _state(snapshot: TaskSnapshot) -> str:
    phase = snapshot.progress.phase
    if snapshot.status is not DownloadStatus.DOWNLOADING or phase in _SAYS_NO_MORE:
        return snapshot.status.value
    return phase.value


def _pace(snapshot: TaskSnapshot) -> list[str]:
    """Say how fast it goes, how long it will take and how often it was tried again, as far as known and of interest."""
    progress, status = snapshot.progress, snapshot.status
    facts: list[str] = []
    if status is DownloadStatus.COMPLETED:
        if _moves(progress):
            facts.append(format_rate(progress.rate_bytes_per_s))
    elif status is DownloadStatus.DOWNLOADING:
        if progress.phase is DownloadPhase.TRANSFERRING:
            facts.append(format_rate(progress.rate_bytes_per_s))
            if _known("eta_s", progress.eta_s) is not None:
                facts.append(f"{format_eta(progress.eta_s)} left")
        if progress.retries:
            facts.append("1 retry" if progress.retries == 1 else f"{progress.retries} retries")
    return facts


def _moves(progress: Progress) -> bool:
    return bool(_known("rate_bytes_per_s", progress.rate_bytes_per_s))


def _reason(snapshot: TaskSnapshot) -> str:
    """Say on one line why a download is as it is, without the secrets of the addresses in it; or nothing."""
    if snapshot.status is DownloadStatus.COMPLETED:
        # Somebody may have asked to cancel it, too late.
        return ""
    reason = snapshot.reason or ""
    if not reason and snapshot.error is not None:
        reason = str(snapshot.error) or type(snapshot.error).__name__
    return _ADDRESS.sub(lambda address: redact_url(address.group()), _one_line(reason))


def _summary(snapshots: list[TaskSnapshot]) -> str:
    if not snapshots:
        return "no downloads"
    counts = Counter(snapshot.status for snapshot in snapshots)
    count = "1 download" if len(snapshots) == 1 else f"{len(snapshots)} downloads"
    statuses = ", ".join(f"{counts[status]} {status.value}" for status in _ORDER if counts[status])
    return ", ".join(filter(None, [f"{count}: {statuses}", _together(snapshots), _rate_of(snapshots)]))


def _together(snapshots: list[TaskSnapshot]) -> str:
    received = sum(snapshot.progress.received_bytes for snapshot in snapshots)
    statuses = {snapshot.status for snapshot in snapshots}
    totals = [snapshot.progress.total_bytes for snapshot in snapshots]
    known = [total for total in totals if total is not None]
    if statuses == {DownloadStatus.COMPLETED}:
        return format_size(received)
    # What failed or was cancelled will never be whole, so a share of everything would stop short of its end for ever.
    hopeless = statuses & {DownloadStatus.FAILED, DownloadStatus.CANCELLED}
    total = sum(known) if len(known) == len(totals) and not hopeless else None
    return _share(Progress(received_bytes=received, total_bytes=total))


def _rate_of(snapshots: list[TaskSnapshot]) -> str:
    running = [each.progress.rate_bytes_per_s for each in snapshots if each.status is DownloadStatus.DOWNLOADING]
    return format_rate(sum(_known("rate_bytes_per_s", rate) or 0.0 for rate in running)) if running else ""
