"""``trio-dlm probe``: what would be downloaded, said without downloading it.

Rules that hold here:

- servers are asked exactly as a download would ask them, and nothing is written to disk;
- several are asked at the same time, and the answers come in the order of the command line;
- a server's words reach a terminal only as one harmless line each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, final

import click
import trio

from .._errors import TrioDlmError
from .._records import DownloadRequest
from .._urls import redact_url
from ..downloaders.http import HttpDownloader, RemoteFile
from ..formatting import format_size, format_url
from ._input_file import Entry
from ._logs import logging_to
from ._network import log_level_option, network_options, read_network
from ._output import Output
from ._plan import make_requests
from ._report import MAX_ERROR_LENGTH, as_options, one_line
from ._run import LAST_WORDS_S
from ._signals import Interrupts

__all__ = ["as_lines", "as_object", "probe"]

# Enough that a slow server does not hold up the others; a list of hundreds is no attack on whoever has them all.
AT_ONCE: Final = 5

_NOT_TOLD: Final = "not told"

# What a JSON object says of a file, as the record of the library has it.
_FACTS: Final = (
    "redirects",
    "name",
    "size_bytes",
    "media_type",
    "etag",
    "last_modified",
    "is_resumable",
    "takes_ranges",
    "digests",
    "http_version",
)


@click.command(short_help="Say what would be downloaded.")
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@network_options
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line instead of words.")
@log_level_option
@click.pass_context
def probe(ctx: click.Context, /, *, urls: tuple[str, ...], as_json: bool, log_level: str, **network: Any) -> int:
    """Ask what each URL would bring: name, size, type, version, digests, redirects, and whether it can be resumed.

    Nothing is saved. The server is asked as for a download, and the connection is closed when its answer begins.

    The exit code is 0 if all have answered, 1 if one could not be downloaded (standard error says which and why), 2 if
    the command line is wrong, 130 after Ctrl-C.
    """
    try:
        downloader, settings = read_network(network)
        requests = make_requests(map(Entry, urls), settings, downloader)
    except ValueError as exc:
        raise click.UsageError(str(exc), ctx) from None
    with logging_to(log_level), Interrupts() as interrupts:
        questions = [_Question(request) for request in requests]
        return trio.run(partial(_ask_all, downloader, questions, interrupts, as_json=as_json))


@final
@dataclass(slots=True)
class _Question:
    """One URL, and what came of asking."""

    request: DownloadRequest
    answer: RemoteFile | TrioDlmError | None = None
    answered: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        return redact_url(self.request.url)

    async def ask(self, downloader: HttpDownloader, limiter: trio.CapacityLimiter) -> None:
        options = self.request.options
        async with limiter:
            try:
                self.answer = await downloader.probe(
                    self.request.url, **{name: getattr(options, name) for name in options.given}
                )
            except TrioDlmError as exc:
                self.answer = exc
        self.answered.set()


async def _ask_all(
    downloader: HttpDownloader, questions: Sequence[_Question], interrupts: Interrupts, *, as_json: bool
) -> int:
    out, err = Output(sys.stdout), Output(sys.stderr)
    scope = trio.CancelScope()

    def stop() -> None:
        scope.cancel(reason="a signal came")

    with scope, interrupts.calling(stop):
        async with downloader, trio.open_nursery() as nursery:
            limiter = trio.CapacityLimiter(AT_ONCE)
            for question in questions:
                nursery.start_soon(question.ask, downloader, limiter)
            for question in questions:
                await question.answered.wait()
                await _show(question, out, err, as_json=as_json)
    if interrupts.received is not None:
        with trio.move_on_after(LAST_WORDS_S):
            await err.line(f"trio-dlm: stopped by {interrupts.received.name}; nothing was saved")
        return 128 + interrupts.received
    if out.problem is not None:
        await err.line(f"trio-dlm: standard output could not be written ({out.problem}), so what is there is not all")
        return 1
    return 1 if any(isinstance(question.answer, TrioDlmError) for question in questions) else 0


async def _show(question: _Question, out: Output, err: Output, *, as_json: bool) -> None:
    answer = question.answer
    assert answer is not None
    if as_json:
        await out.line(json.dumps(as_object(question.url, answer)))
    if isinstance(answer, TrioDlmError):
        shown = format_url(question.url, MAX_ERROR_LENGTH // 2)
        await err.line(f"trio-dlm: {shown}: {_reason(question.url, answer)[:MAX_ERROR_LENGTH]}")
    elif not as_json:
        await out.write("".join(f"{line}\n" for line in as_lines(question.url, answer)))


def as_lines(url: str, remote: RemoteFile) -> list[str]:
    """Return what is known of a file as lines for people; *url* is the address that was asked, without its secrets."""
    size = remote.size_bytes
    facts = [
        ("name", remote.name),
        ("size", _NOT_TOLD if size is None else _size_in_words(size)),
        ("type", remote.media_type or _NOT_TOLD),
        ("etag", remote.etag or _NOT_TOLD),
        ("modified", remote.last_modified or _NOT_TOLD),
        ("ranges", {True: "yes", False: "no", None: _NOT_TOLD}[remote.takes_ranges]),
        ("resumable", "yes" if remote.is_resumable else "no"),
        ("digests", ", ".join(remote.digests) or _NOT_TOLD),
        # The first is the one that was asked.
        *(("redirect", each) for each in remote.redirects[1:]),
        ("address", remote.final_url),
        ("protocol", remote.http_version),
    ]
    return [one_line(url), *(f"  {name:<9}  {one_line(text)}" for name, text in facts)]


def as_object(url: str, answer: RemoteFile | TrioDlmError) -> dict[str, Any]:
    """Return what becomes a JSON object; the keys are always the same."""
    error = answer if isinstance(answer, TrioDlmError) else None
    return {
        "event": "probe",
        "url": url,
        "final_url": None if isinstance(answer, TrioDlmError) else answer.final_url,
        **{name: getattr(answer, name) if error is None else None for name in _FACTS},
        "error": None if error is None else type(error).__name__,
        "reason": None if error is None else _reason(url, error),
    }


def _size_in_words(size_bytes: int) -> str:
    return f"{size_bytes} B" if size_bytes < 1024 else f"{format_size(size_bytes)} ({size_bytes} bytes)"


def _reason(url: str, error: TrioDlmError) -> str:
    return as_options(one_line(str(error)).removeprefix(f"{url}: "))
