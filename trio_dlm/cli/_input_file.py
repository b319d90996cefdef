"""Lists of downloads in a text file, one URL a line, as aria2's input files are.

::

    # pictures
    https://example.org/a.png
      out=first.png
      header=Accept: image/png
    https://example.org/b.png<TAB>https://mirror.example/b.png<TAB>checksum=sha256:00ab…

Rules that hold here:

- text in, entries out: the file itself is read elsewhere;
- an option is ``key=value``, after the URL behind a tab, or on an indented line below it;
- further URLs on the line, each behind a tab, are mirrors of the first;
- a line that begins with ``#`` is a comment, also an indented one; elsewhere a ``#`` belongs to the URL;
- all mistakes of a file are found at once, each with its line.

Source:
    aria2c(1), "Input File", for the shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from .._options import Overwrite
from .._urls import redact_url
from ._options import (
    counting_from,
    join_headers,
    parse_boolean,
    parse_checksum,
    parse_header,
    parse_rate,
    parse_seconds,
    parse_segment_size,
    parse_size,
    parse_wait,
)

__all__ = ["Entry", "InputError", "parse_input"]


@final
@dataclass(slots=True)
class Entry:
    """One download that was asked for.

    Attributes:
        url: as it was written.
        where: the file and line, for messages; empty for a URL of the command line.
        fields: download options that were given for it, by their names in the library.
        headers: its own headers.
    """

    url: str
    where: str = ""
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


@final
class InputError(ValueError):
    """An input file has mistakes; ``problems`` are lines for people."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _parse_overwrite(text: str) -> Overwrite:
    return "unique" if text.strip().lower() == "unique" else parse_boolean(text)


def _parse_text(text: str) -> str:
    if not text:
        raise ValueError("it has no value")
    return text


def _parse_no_resume(text: str) -> bool:
    return not parse_boolean(text)


# What may be said of one URL: what it is called in the library, and who reads it.  out, dir, checksum and header are
# aria2's names; the others are those of the command line.
_KEYS: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "out": ("filename", _parse_text),
    "dir": ("directory", _parse_text),
    "checksum": ("checksum", parse_checksum),
    "header": ("headers", parse_header),
    "overwrite": ("overwrite", _parse_overwrite),
    "max-bytes": ("max_bytes", parse_size),
    "connections": ("connections", counting_from(1)),
    "min-segment-size": ("min_segment_size", parse_segment_size),
    "limit-rate": ("rate_limit_bytes_per_s", parse_rate),
    "min-rate": ("min_rate_bytes_per_s", parse_rate),
    "retries": ("retries", counting_from(0)),
    "max-retry-wait": ("retry_after_limit_s", parse_wait),
    "no-resume": ("resume", _parse_no_resume),
    "timeout": ("timeout_s", parse_seconds),
    "connect-timeout": ("connect_timeout_s", parse_seconds),
    "allow-http-downgrade": ("allow_http_downgrade", parse_boolean),
}


def parse_input(text: str, name: str) -> list[Entry]:
    """Read the content of an input file called *name*.

    Raises:
        InputError: it has mistakes.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    # Not splitlines(), which also splits at characters that a URL's neighbour may hold.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        where = f"{name}:{number}"
        pieces = [piece for piece in map(str.strip, content.split("\t")) if piece]
        is_indented = line[0] in " \t"
        if not is_indented:
            entries.append(Entry(pieces.pop(0), where))
        try:
            if not entries:
                raise ValueError("an indented line is an option of the URL above it, and there is none")
            for piece in pieces:
                if _is_url(piece):
                    _add_mirror(entries[-1], piece, is_indented=is_indented)
                else:
                    _add_option(entries[-1], piece)
        except ValueError as exc:
            problems.append(f"{where}: {exc}")
    if problems:
        raise InputError(problems)
    return entries


def _is_url(piece: str) -> bool:
    # One may have an equals sign in its query, and an option an address in its value.
    return "://" in piece.partition("=")[0]


def _add_mirror(entry: Entry, url: str, *, is_indented: bool) -> None:
    if is_indented:
        raise ValueError(
            f"{redact_url(url)} is indented, which is for options; a mirror stands on the line of its URL, behind a "
            f"tab, and another download at the beginning of a line"
        )
    entry.fields["mirrors"] = (*entry.fields.get("mirrors", ()), url)


def _add_option(entry: Entry, piece: str) -> None:
    key, equals, value = piece.partition("=")
    key = key.strip().lower()
    if key not in _KEYS or not equals:
        raise ValueError(f"{piece!r} is no option; there are {', '.join(f'{each}=' for each in _KEYS)}")
    field_name, parse = _KEYS[key]
    try:
        parsed: Any = parse(value.strip())
        if key == "header":
            join_headers([*entry.headers, parsed])
            entry.headers.append(parsed)
        elif field_name in entry.fields:
            raise ValueError("it is given twice")
        else:
            entry.fields[field_name] = parsed
    except ValueError as exc:
        raise ValueError(f"{key}: {exc}") from None
