"""``trio-dlm get``: download what the command line and input files name.

Rules that hold here:

- everything that can be wrong with what was typed is found before a socket is opened, and is exit code 2;
- options are read by :mod:`._options`, :mod:`._network` and :mod:`._media`, joined by :mod:`._plan` and run by
  :mod:`._run`; this room only names them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import click
import trio

from .._block import open_manager
from .._manager import DownloadManager
from .._records import DownloadRequest
from ..downloaders.ytdlp import YtDlpDownloader
from ._choose import choose_face
from ._faces import Face
from ._input_file import Entry, parse_input
from ._logs import logging_to
from ._media import Fetcher, list_playlists, media_options, read_media
from ._network import log_level_option, network_options, read_network
from ._options import counting_from, parse_checksum, parse_rate, parse_segment_size, parse_size, parse_wait, reading
from ._output import Output
from ._plain import QuietFace
from ._plan import host_lane, make_requests
from ._report import Tally, stopped_line
from ._run import LAST_WORDS_S, exit_code_of, run_block
from ._signals import Interrupts

__all__ = ["get"]

_FOR_ONE_URL: Final = {"filename": "-o", "checksum": "--checksum", "mirrors": "--mirror"}


class _Directory(click.Path):
    """A directory that may be missing; an empty name, as of an unset variable, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; leave the option out for the current directory", param, ctx)
        return super().convert(value, param, ctx)


@click.command(short_help="Download files.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option(
    "-i",
    "--input-file",
    "input_files",
    multiple=True,
    metavar="FILE",
    help="Read more URLs from FILE, one a line, its mirrors behind it after tabs; - is standard input. May be given "
    "several times. An indented line below a URL, such as 'out=NAME', says something of that URL alone: out, dir, "
    "checksum, header, overwrite, max-bytes, connections, min-segment-size, limit-rate, min-rate, retries, "
    "max-retry-wait, no-resume, timeout, connect-timeout, allow-http-downgrade. Lines that begin with # are comments.",
)
@click.option(
    "-d",
    "--directory",
    type=_Directory(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the files go; made if it is missing.  [default: here]",
)
@click.option(
    "-o",
    "--output",
    "filename",
    metavar="NAME",
    help="Save the file as NAME, without a directory; for one URL. Otherwise the server or the URL names it.",
)
@click.option(
    "-j",
    "--max-concurrent",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="N",
    help="Download at most N files at a time; the others wait in order.",
)
@click.option(
    "--max-per-host",
    type=click.IntRange(min=1),
    metavar="N",
    help="Download at most N files at a time from the same host; hosts take turns.",
)
@click.option(
    "-x",
    "--connections",
    callback=reading(counting_from(1)),
    metavar="N",
    help="Fetch one file over up to N connections, as long as more of them make it faster.  [default: 8]",
)
@click.option(
    "--min-segment-size",
    callback=reading(parse_segment_size),
    metavar="SIZE",
    help="Make no further connection for less than this.  [default: 4M]",
)
@click.option(
    "--checksum",
    callback=reading(parse_checksum),
    metavar="ALGO:HEX",
    help="The digest that the file must have, as in sha256:00ab…; for one URL. Without a match there is no file; a "
    "file that is there already and matches is not fetched again.",
)
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="URL",
    help="Another address of the same file; for one URL. May be given several times. With --checksum, or if the "
    "servers' own digests agree, they are asked at the same time, otherwise one after the other.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace files that exist. Otherwise they are left alone, which is an error."
)
@click.option("--unique", is_flag=True, help="Save beside a file that exists, as in 'name (1).iso'.")
@click.option(
    "--max-bytes",
    callback=reading(parse_size),
    metavar="SIZE",
    help="Refuse larger files. SIZE is in bytes, or 10K, 4M, 1.5G (powers of 1024).",
)
@click.option(
    "--no-resume",
    is_flag=True,
    help="Begin every file from its beginning, and keep nothing of one that does not end well. Otherwise what has "
    "arrived stays in NAME.part, and the same command goes on from there.",
)
@click.option(
    "--retries",
    callback=reading(counting_from(0)),
    metavar="N",
    help="Try again up to N times after a failure that may pass; what arrives in between resets the count.  "
    "[default: 5]",
)
@click.option(
    "--max-retry-wait",
    "retry_after_limit_s",
    callback=reading(parse_wait),
    metavar="SECONDS",
    help="Give up when a server asks to be left alone for longer (Retry-After).  [default: 60]",
)
@click.option(
    "--limit-rate",
    callback=reading(parse_rate),
    metavar="RATE",
    help="Receive no more than this, all downloads together. RATE is in bytes per second, or 300K, 1.5M, 10M/s.",
)
@click.option(
    "--min-rate",
    "min_rate_bytes_per_s",
    callback=reading(parse_rate),
    metavar="RATE",
    help="Break off a connection that brings less than this for as long as --timeout, and try again.",
)
@media_options
@network_options
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line instead of words.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but what failed.")
@log_level_option
@click.pass_context
def get(
    ctx: click.Context,
    /,
    *,
    urls: tuple[str, ...],
    input_files: tuple[str, ...],
    max_concurrent: int,
    max_per_host: int | None,
    limit_rate: int | None,
    overwrite: bool,
    unique: bool,
    as_json: bool,
    quiet: bool,
    log_level: str,
    **fields: Any,
) -> int:
    """Download every URL into the current directory, or into DIR.

    A page of a media site that yt-dlp knows is fetched by it, if it is installed; of all else the bytes are saved as
    they are.

    A file appears under its name when it is complete and verified, and not before; one that exists is never replaced
    unless you say --overwrite.

    The exit code is 0 if all files were delivered, 1 if one was not (standard error says which and why), 2 if the
    command line is wrong, 130 after Ctrl-C.

    \b
    Examples:
      trio-dlm get https://example.org/big.iso
      trio-dlm get -d pictures -j 3 -i urls.txt
      trio-dlm get --checksum sha256:00ab… -o app.bin https://example.org/latest
      trio-dlm get --audio-only https://media.example/watch/1
    """  # noqa: D301  (\b is click's mark of a paragraph that is not to be wrapped)
    try:
        for first, second in (("--overwrite", overwrite), ("--unique", unique)), (("--json", as_json), ("-q", quiet)):
            if first[1] and second[1]:
                raise ValueError(f"{first[0]} and {second[0]} contradict each other; choose one")
        if overwrite or unique:
            fields["overwrite"] = "unique" if unique else True
        entries = [Entry(url) for url in urls]
        if input_files.count("-") > 1:
            raise ValueError("standard input can be read once; give -i - once")
        for input_file in input_files:
            entries += parse_input(_read_text(input_file), _name_of(input_file))
        for name, option in _FOR_ONE_URL.items():
            if fields[name] and len(entries) > 1:
                raise ValueError(
                    f"{option} is for one URL, and there are {len(entries)}; an input file (-i) says it for each"
                )
        wish = read_media(fields)
        http, settings = read_network(fields)
        fetcher = wish.fetcher(http)
        requests = make_requests(entries, settings, fetcher.downloader)
    except ValueError as exc:
        raise click.UsageError(str(exc), ctx) from None
    out, err = Output(sys.stdout), Output(sys.stderr)
    face = choose_face(out, err, as_json=as_json, quiet=quiet)
    block = open_manager(
        max_concurrent,
        directory=settings.fields.get("directory", "."),
        downloader=fetcher.downloader,
        lane_of=None if max_per_host is None else host_lane,
        max_per_lane=max_per_host,
        failures="keep",
        rate_limit_bytes_per_s=math.inf if limit_rate is None else limit_rate,
    )
    with logging_to(log_level), Interrupts() as interrupts:
        return trio.run(_fetch, block, requests, fetcher, face, out, err, interrupts)


async def _fetch(
    block: AbstractAsyncContextManager[DownloadManager],
    requests: Sequence[DownloadRequest],
    fetcher: Fetcher,
    face: Face,
    out: Output,
    err: Output,
    interrupts: Interrupts,
) -> int:
    if fetcher.playlist_limit is not None:
        notes = None if isinstance(face, QuietFace) else err
        assert isinstance(fetcher.downloader, YtDlpDownloader), "yt-dlp alone knows of playlists"
        with trio.CancelScope() as scope, interrupts.calling(scope.cancel):
            requests = await list_playlists(fetcher.downloader, requests, limit=fetcher.playlist_limit, notes=notes)
        if scope.cancelled_caught:
            return await _stopped(Tally(0), err, interrupts, keeps=False, has_media=True)
    tally = Tally(len(requests))
    await run_block(block, lambda manager: manager.submit_many(requests), face=face, tally=tally, interrupts=interrupts)
    if interrupts.received is not None:
        keeps = any(request.options.resume for request in requests)
        return await _stopped(tally, err, interrupts, keeps=keeps, has_media=fetcher.media)
    if out.problem is not None:
        await err.line(f"trio-dlm: standard output could not be written ({out.problem}), so what is there is not all")
        return 1
    return exit_code_of(tally, interrupts)


async def _stopped(tally: Tally, err: Output, interrupts: Interrupts, *, keeps: bool, has_media: bool) -> int:
    assert interrupts.received is not None
    with trio.move_on_after(LAST_WORDS_S):
        await err.line(stopped_line(interrupts.received, tally, keeps=keeps, has_media=has_media))
    return exit_code_of(tally, interrupts)


def _name_of(input_file: str) -> str:
    return "standard input" if input_file == "-" else input_file


def _read_text(input_file: str) -> str:
    """Return the text of an input file.

    Raises:
        ValueError: it cannot be read, or is no text.
    """
    try:
        if input_file == "-":
            data = sys.stdin.buffer.read()
        else:
            data = Path(input_file).read_bytes()
        return data.decode("utf-8")
    except OSError as exc:
        raise ValueError(f"{_name_of(input_file)} cannot be read: {exc.strerror}") from None
    except AttributeError:
        raise ValueError("standard input is closed, so -i - has nothing to read") from None
    except UnicodeDecodeError:
        raise ValueError(f"{_name_of(input_file)} is not UTF-8 text") from None
