"""How the values of options are written, and what they mean.

Rules that hold here:

- a parser takes text and returns a value or raises ``ValueError`` with what is wrong; it reads no file and no clock;
- the same parsers serve the command line and input files;
- click only carries the text from the option to its parser.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import click

from .._options import Checksum, DownloadOptions, check_seconds
from ..downloaders.http.client._client_settings import ClientSettings
from ..formatting import parse_size

__all__ = [
    "basic_credentials",
    "counting_from",
    "join_headers",
    "parse_boolean",
    "parse_checksum",
    "parse_header",
    "parse_proxy",
    "parse_rate",
    "parse_seconds",
    "parse_segment_size",
    "parse_size",
    "parse_wait",
    "reading",
]


def parse_checksum(text: str) -> str:
    """Read ``ALGO:HEX``; aria2's ``sha-256=HEX`` is understood as well."""
    algorithm, equals, digits = text.partition("=")
    return str(Checksum.parse(f"{algorithm}:{digits}" if equals and ":" not in algorithm else text))


def parse_header(text: str) -> tuple[str, str]:
    """Read ``Name: value``."""
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not name:
        raise ValueError(f"a header is 'Name: value', got {text!r}")
    try:
        DownloadOptions(headers={name: value})
    except ValueError as exc:
        raise ValueError(f"it is {str(exc).removeprefix('headers has ')}") from None
    return name, value


def parse_seconds(text: str) -> float:
    """Read a positive number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"it takes a number of seconds, got {text!r}") from None
    try:
        return check_seconds("this", seconds)
    except ValueError:
        raise ValueError(f"it takes a number of seconds above 0, got {text!r}") from None


def parse_wait(text: str) -> float:
    """Read a number of seconds that may be 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise ValueError(f"it takes a number of seconds from 0 up, got {text!r}")
    return seconds


def parse_rate(text: str) -> int:
    """Read a positive number of bytes per second: ``300K``, ``1.5M/s``, ``10MiB/s``."""
    try:
        rate = parse_size(text.strip().removesuffix("/s"))
    except ValueError:
        rate = 0
    if not rate:
        raise ValueError(
            f"a rate is a number of bytes per second above 0, or one with K, M, G (powers of 1024), got {text!r}; "
            f"write 300K, 1.5M or 10MiB/s"
        )
    return rate


def parse_segment_size(text: str) -> int:
    """Read a size that is at least one byte."""
    size = parse_size(text)
    if not size:
        raise ValueError(f"it takes a size of at least one byte, got {text!r}")
    return size


def counting_from(least: int) -> Callable[[str], int]:
    """Return what reads a whole number from *least* up."""

    def parse(text: str) -> int:
        # int() also takes "1_000", " 7" and digits of other scripts.
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
        if number < least:
            raise ValueError(f"it takes a whole number from {least} up, got {text!r}")
        return number

    return parse


def parse_proxy(text: str) -> str:
    """Read the address of a proxy, whose password is not repeated in a message."""
    ClientSettings(proxy=text)
    return text


def parse_boolean(text: str) -> bool:
    """Read ``true`` or ``yes``, ``false`` or ``no``."""
    try:
        return {"true": True, "yes": True, "false": False, "no": False}[text.strip().lower()]
    except KeyError:
        raise ValueError(f"it takes true or false (yes or no), got {text!r}") from None


def join_headers(headers: Iterable[tuple[str, str]], below: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return *headers* laid over those *below*; the case of a name does not matter.

    Raises:
        ValueError: a name comes twice in *headers*.
    """
    joined: dict[str, tuple[str, str]] = {name.lower(): (name, value) for name, value in (below or {}).items()}
    seen: set[str] = set()
    for name, value in headers:
        if name.lower() in seen:
            raise ValueError(f"the header {name!r} is given twice; give it once, its values joined by commas")
        seen.add(name.lower())
        joined[name.lower()] = (name, value)
    return dict(joined.values())


def basic_credentials(name: str, password: str) -> str:
    """Return the value of an Authorization header.

    Raises:
        ValueError: *name* has a colon in it, which would end it for the other side (RFC 7617 section 2).
    """
    if ":" in name:
        raise ValueError("a user name has no colon in it")
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode("ascii")


def reading(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return what click calls with the text of an option: it reads it with *parse*, and says which option is wrong."""

    def read(ctx: click.Context, param: click.Parameter, text: Any) -> Any:
        try:
            if isinstance(text, tuple):
                return tuple(map(parse, cast("tuple[str, ...]", text)))
            return None if text is None else parse(text)
        except ValueError as exc:
            raise click.BadParameter(str(exc), ctx, param) from None

    return read
