"""What went wrong and how it all ended, in the words of the command line.

Rules that hold here:

- text in, text out; every text is one line and safe for a terminal;
- an error line says which URL, what went wrong, and what to do, in that order;
- the library's advice names its arguments (``overwrite=True``); here they are called as a user of the command has to
  type them (``--overwrite``).  Addresses are left as they are.
"""

from __future__ import annotations

import re
import signal
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final, cast, final

from .._errors import TrioDlmError
from .._records import ManagerStats, Progress, TaskSnapshot
from .._status import DownloadStatus
from ..formatting import MIN_LINE_WIDTH, format_line, format_name, format_size, format_url

__all__ = [
    "MAX_ERROR_LENGTH",
    "Tally",
    "after_retries",
    "as_options",
    "counts_in_words",
    "error_line",
    "in_words",
    "one_line",
    "reason_of",
    "short_line",
    "stopped_line",
    "summary_line",
]

# A line of stderr is read by people and kept in logs: long enough for an address and a path, not for a pasted document.
MAX_ERROR_LENGTH: Final = 2000

# Invisible, but words of some scripts and pictures need them.
_JOINERS: Final = "\u200c\u200d"

_WORDS: Final = {
    "await downloader.expand(url), and submit_many a downloader.request_for() of each entry": "try --playlist",
    "audio_only": "--audio-format",
    "headers={'Authorization': …}": "--user NAME",
    ", or pass client=AsyncClient(verify=…)": "",
    "check SSL_CERT_FILE, SSL_CERT_DIR": "check --ca-file, --proxy, SSL_CERT_FILE, SSL_CERT_DIR",
    "headers= and what the client adds": "your -H options",
    "headers=": "-H",
    "overwrite=True": "--overwrite",
    'overwrite="unique"': "--unique",
    'checksum="sha256:…"': "--checksum sha256:…",
    "checksum=": "--checksum",
    "filename=": "-o",
    "directory=": "-d",
    "allow_http_downgrade=True": "--allow-http-downgrade",
    "allow_private_addresses=False": "--deny-private-addresses",
    "allow_private_addresses=True": "leaving out --deny-private-addresses",
    "max_bytes=": "--max-bytes ",
    "max_bytes": "--max-bytes",
    "min_segment_size": "--min-segment-size",
    "rate_limit_bytes_per_s": "--limit-rate",
    "min_rate_bytes_per_s": "--min-rate",
    "retry_after_limit_s=": "--max-retry-wait ",
    "retry_after_limit_s": "--max-retry-wait",
    "connect_timeout_s": "--connect-timeout",
    "timeout_s": "--timeout",
    "max_concurrent": "--max-concurrent",
}
# An address comes first, so that nothing inside one is touched.
_ADDRESS_OR_WORD: Final = re.compile(
    r"(?P<address>\S*//\S*)|"
    + "|".join(rf"(?<!\w){re.escape(word)}(?!\w)" if word[-1].isalnum() else re.escape(word) for word in _WORDS)
)


@final
@dataclass(slots=True)
class Tally:
    """How downloads ended so far.

    Attributes:
        total: how many there are.
        ended: how many ended in which way.
    """

    total: int
    ended: Counter[DownloadStatus] = field(default_factory=Counter[DownloadStatus])

    def note(self, snapshot: TaskSnapshot) -> None:
        """Count *snapshot* if it is a final one; each comes once."""
        if snapshot.status.is_final:
            self.ended[snapshot.status] += 1

    @property
    def unfinished(self) -> int:
        """How many neither are complete nor failed."""
        return self.total - self.ended[DownloadStatus.COMPLETED] - self.ended[DownloadStatus.FAILED]

    @property
    def exit_code(self) -> int:
        """0 only if every one was delivered."""
        return 0 if self.ended[DownloadStatus.COMPLETED] == self.total else 1


def one_line(text: str) -> str:
    """Return *text* without line breaks, control characters and anything else that does something to a terminal."""
    return "".join(
        char if char.isprintable() or char in _JOINERS else "\N{REPLACEMENT CHARACTER}"
        for char in " ".join(text.split())
    )


def in_words(error: BaseException) -> str:
    """Say what an exception that nobody expected means."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    text = one_line(str(error)) or "no further words"
    if isinstance(error, TrioDlmError):
        return as_options(text)
    if isinstance(error, OSError):
        return text
    return f"unexpected {type(error).__name__}: {text}; this is a bug: --log-level debug shows where"


def as_options(text: str) -> str:
    """Call the library's arguments in *text* by the names of the command's options."""

    def other_word(match: re.Match[str]) -> str:
        return match["address"] or _WORDS[match.group()]

    return _ADDRESS_OR_WORD.sub(other_word, text)


def reason_of(snapshot: TaskSnapshot) -> str | None:
    """Return why a download is as it is, without the address in front of it, or None."""
    if snapshot.reason is None:
        return None
    return as_options(one_line(snapshot.reason).removeprefix(f"{snapshot.url}: "))


def after_retries(progress: Progress) -> str:
    """Return how often it took another attempt, ``"after 2 retries"``, or nothing."""
    if not progress.retries:
        return ""
    return "after 1 retry" if progress.retries == 1 else f"after {progress.retries} retries"


def short_line(snapshot: TaskSnapshot, width: int) -> str:
    """Return what became of a download, without its address, in at most *width* characters where there is a choice.

    A reason keeps its beginning, which says what happened, and loses its end, which says what to do.
    """
    again = after_retries(snapshot.progress)
    if snapshot.status is DownloadStatus.FAILED:
        line = f"{format_name(snapshot, max(width // 3, 1))} failed{again and f' {again}'}: {reason_of(snapshot)}"
        return line if len(line) <= width else line[: max(width - 1, 0)] + "…"
    again = f", {again}" if again and snapshot.status is DownloadStatus.COMPLETED else ""
    if len(again) > width - MIN_LINE_WIDTH:
        again = ""
    return format_line(replace(snapshot, reason=reason_of(snapshot)), width=width - len(again)) + again


def error_line(snapshot: TaskSnapshot) -> str:
    """Return the line about a download that failed: which URL, what went wrong, what to do."""
    reason = reason_of(snapshot) or "no reason is known"
    again = after_retries(snapshot.progress)
    # What came out of somebody's code, not out of ours: what to do is not in it.
    advice = "" if isinstance(snapshot.error, TrioDlmError) else "; try again, and report it if it happens again"
    shown = format_url(snapshot.url, MAX_ERROR_LENGTH // 2)
    # Of other sources, and of why it was not tried again.
    notes = "".join(f"; {as_options(one_line(note))}" for note in getattr(snapshot.error, "__notes__", ()))
    return f"trio-dlm: {shown}: {again and f'{again}: '}{f'{reason}{notes}'[:MAX_ERROR_LENGTH]}{advice}"


def counts_in_words(stats: ManagerStats, total: int, *, is_short: bool = False) -> str:
    """Return how many are in which state: ``"3 of 12 done, 1 failed, 5 running, 3 queued"``.

    With *is_short* what can be seen or worked out is left out: what runs, and what is queued.
    """
    words = [f"{stats.completed} of {total} done"]
    ended = ((stats.failed, "failed"), (stats.cancelled, "cancelled"))
    going_on = ((stats.active, "running"), (stats.pending, "queued"), (stats.paused, "paused"))
    words += [f"{count} {word}" for count, word in (ended if is_short else ended + going_on) if count]
    return ", ".join(words)


def summary_line(stats: ManagerStats, total: int) -> str:
    """Return how it all ended: ``"11 of 12 done, 1 failed; 1.2 GiB received"``."""
    return f"{counts_in_words(stats, total)}; {format_size(stats.bytes_received)} received"


def stopped_line(number: signal.Signals, tally: Tally, *, keeps: bool, has_media: bool = False) -> str:
    """Return what a signal left behind, and what is resumable of it.

    Args:
        number: the signal.
        tally: how the downloads ended.
        keeps: what has arrived was kept where that is of use, as the library does unless told otherwise.
        has_media: some of it may be media.
    """
    unfinished = tally.unfinished
    if not unfinished:
        return f"trio-dlm: stopped by {number.name}; nothing was unfinished"
    what = "1 download is unfinished" if unfinished == 1 else f"{unfinished} downloads are unfinished"
    place = "in NAME.part, of media in .trio_dlm" if has_media else "in NAME.part"
    # Of some servers nothing can be kept, and what was queued has nothing.
    consequence = (
        f"what could be kept is {place}, and the same command goes on from there"
        if keeps
        else "nothing of that was kept (--no-resume), and the same command begins it again"
    )
    return f"trio-dlm: stopped by {number.name}; {what}: {consequence}"
