"""``trio-dlm get``: download what the command line and input files name.

Rules that hold here:

- everything that can be wrong with what was typed is found before a socket is opened, and is exit code 2;
- options are read by :mod:`._options`, joined by :mod:`._plan` and run by :mod:`._run`; this room only names them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import click
import trio

from .._block import open_manager
from .._manager import DownloadManager
from .._records import DownloadRequest
from ..downloaders.http import HttpDownloader
from ._choose import choose_face
from ._faces import Face
from ._input_file import Entry, parse_input
from ._logs import LEVELS, logging_to
from ._options import basic_credentials, join_headers, parse_checksum, parse_header, parse_seconds, parse_size, reading
from ._output import Output
from ._plan import Settings, host_lane, make_requests
from ._report import Tally, stopped_line
from ._run import LAST_WORDS_S, exit_code_of, run_block
from ._signals import Interrupts

__all__ = ["get"]


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
    help="Read more URLs from FILE, one a line; - is standard input. May be given several times. An indented line "
    "below a URL, such as 'out=NAME', says something of that URL alone: out, dir, checksum, header, overwrite, "
    "max-bytes, timeout, connect-timeout, allow-http-downgrade. Lines that begin with # are comments.",
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
    "--checksum",
    callback=reading(parse_checksum),
    metavar="ALGO:HEX",
    help="The digest that the file must have, as in sha256:00ab…; for one URL. Without a match there is no file; a "
    "file that is there already and matches is not fetched again.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace files that exist. Otherwise they are left alone, which is an error."
)
@click.option("--unique", is_flag=True, help="Save beside a file that exists, as in 'name (1).iso'.")
@click.option(
    "--timeout",
    "timeout_s",
    callback=reading(parse_seconds),
    metavar="SECONDS",
    help="Give up when a server is silent for so long.  [default: 30]",
)
@click.option(
    "--connect-timeout",
    "connect_timeout_s",
    callback=reading(parse_seconds),
    metavar="SECONDS",
    help="Give up when there is no connection after so long.  [default: 10]",
)
@click.option(
    "--max-bytes",
    callback=reading(parse_size),
    metavar="SIZE",
    help="Refuse larger files. SIZE is in bytes, or 10K, 4M, 1.5G (powers of 1024).",
)
@click.option(
    "-H",
    "--header",
    "headers",
    callback=reading(parse_header),
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Send this header, to the hosts that you named and to no other. May be given several times.",
)
@click.option(
    "--user",
    metavar="NAME[:PASSWORD]",
    help="Log in with this name, on hosts whose URL brings no name of its own. Without a password you are asked for "
    "it, which keeps it out of the list of processes.",
)
@click.option("--allow-http-downgrade", is_flag=True, help="Follow redirects from https to http.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line instead of words.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but what failed.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="error",
    show_default=True,
    help="Show the library's log from this level up, on standard error.",
)
@click.pass_context
def get(
    ctx: click.Context,
    /,
    *,
    urls: tuple[str, ...],
    input_files: tuple[str, ...],
    max_concurrent: int,
    max_per_host: int | None,
    overwrite: bool,
    unique: bool,
    headers: tuple[tuple[str, str], ...],
    user: str | None,
    as_json: bool,
    quiet: bool,
    log_level: str,
    **fields: Any,
) -> int:
    """Download every URL into the current directory, or into DIR.

    A file appears under its name when it is complete and verified, and not before; one that exists is never replaced
    unless you say --overwrite.

    The exit code is 0 if all files were delivered, 1 if one was not (standard error says which and why), 2 if the
    command line is wrong, 130 after Ctrl-C.

    \b
    Examples:
      trio-dlm get https://example.org/big.iso
      trio-dlm get -d pictures -j 3 -i urls.txt
      trio-dlm get --checksum sha256:00ab… -o app.bin https://example.org/latest
    """  # noqa: D301  (\b is click's mark of a paragraph that is not to be wrapped)
    # By identity: 0 is a limit.
    given = {name: value for name, value in fields.items() if value is not None and value is not False}
    try:
        for first, second in (("--overwrite", overwrite), ("--unique", unique)), (("--json", as_json), ("-q", quiet)):
            if first[1] and second[1]:
                raise ValueError(f"{first[0]} and {second[0]} contradict each other; choose one")
        if overwrite or unique:
            given["overwrite"] = "unique" if unique else True
        entries = [Entry(url) for url in urls]
        if input_files.count("-") > 1:
            raise ValueError("standard input can be read once; give -i - once")
        for input_file in input_files:
            entries += parse_input(_read_text(input_file), _name_of(input_file))
        for name in ("filename", "checksum"):
            if name in given and len(entries) > 1:
                option = "-o" if name == "filename" else "--checksum"
                raise ValueError(
                    f"{option} is for one URL, and there are {len(entries)}; an input file (-i) says it for each"
                )
        settings = Settings(
            fields=given, headers=join_headers(headers), authorization=None if user is None else _credentials(user)
        )
        downloader = HttpDownloader()
        requests = make_requests(entries, settings, downloader)
    except ValueError as exc:
        raise click.UsageError(str(exc), ctx) from None
    out, err = Output(sys.stdout), Output(sys.stderr)
    face = choose_face(out, err, as_json=as_json, quiet=quiet)
    block = open_manager(
        max_concurrent,
        directory=given.get("directory", "."),
        downloader=downloader,
        lane_of=None if max_per_host is None else host_lane,
        max_per_lane=max_per_host,
        failures="keep",
    )
    with logging_to(log_level), Interrupts() as interrupts:
        return trio.run(_fetch, block, requests, face, out, err, interrupts)


async def _fetch(
    block: AbstractAsyncContextManager[DownloadManager],
    requests: Sequence[DownloadRequest],
    face: Face,
    out: Output,
    err: Output,
    interrupts: Interrupts,
) -> int:
    tally = Tally(len(requests))
    await run_block(block, lambda manager: manager.submit_many(requests), face=face, tally=tally, interrupts=interrupts)
    if interrupts.received is not None:
        with trio.move_on_after(LAST_WORDS_S):
            await err.line(stopped_line(interrupts.received, tally))
    elif out.problem is not None:
        await err.line(f"trio-dlm: standard output could not be written ({out.problem}), so what is there is not all")
        return 1
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


def _credentials(user: str) -> str:
    name, colon, password = user.partition(":")
    if not colon:
        if sys.stdin is None or not sys.stdin.isatty():
            raise ValueError("--user without a password asks for it, which takes a terminal; write NAME:PASSWORD")
        password = click.prompt(f"Password of {name}", hide_input=True, err=True)
    return basic_credentials(name, password)
