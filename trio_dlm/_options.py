"""What a caller may ask of one download, as a frozen record that remembers what was given and what was left alone.

Rules that hold here:

- three layers are laid over each other, the stronger last: the downloader's and the manager's own, ``options=``, single
  fields.  A field left alone lets the layer below show through, so a record remembers what it was *given*;
- every value is checked when the record is made, before anything waits or is written;
- header values may hold secrets and are never printed.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from dataclasses import fields as dataclass_fields
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, TypedDict, Unpack, cast, final

from ._urls import check_url

__all__ = [
    "Checksum",
    "DownloadOptions",
    "DownloadOptionsFields",
    "Durability",
    "FileOptionsFields",
    "Overwrite",
    "check_rate",
    "check_seconds",
]

Overwrite: TypeAlias = Literal[False, True, "unique"]
Durability: TypeAlias = Literal["process", "power"]


class FileOptionsFields(TypedDict, total=False):
    """The keyword arguments of :class:`DownloadOptions` but ``directory``, for functions that have one of their own."""

    filename: str | None
    overwrite: Overwrite
    checksum: str | None
    mirrors: Sequence[str]
    headers: Mapping[str, str]
    max_bytes: int | None
    rate_limit_bytes_per_s: float | None
    min_rate_bytes_per_s: float | None
    connections: int
    min_segment_size: int
    retries: int
    timeout_s: float
    connect_timeout_s: float
    retry_after_limit_s: float
    total_timeout_s: float | None
    resume: bool
    durability: Durability
    allow_http_downgrade: bool
    allow_private_addresses: bool


class DownloadOptionsFields(FileOptionsFields, total=False):
    """The keyword arguments of :class:`DownloadOptions`, for ``submit`` and for the constructors of downloaders."""

    directory: str | os.PathLike[str] | None


@final
@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest that a file must have: the name of the algorithm and the lower-case hex digits."""

    algorithm: str
    hex_digest: str

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """Read ``"sha256:00ab…"``; the case of the digits and white space between them do not matter.

        Raises:
            ValueError: unknown algorithm, no hex digits, or not as many as the algorithm gives.
        """
        name, colon, digits = text.partition(":")
        algorithm = name.strip().lower().replace("sha-", "sha")
        if not colon:
            raise ValueError(f'checksum is "algorithm:hex", such as "sha256:00ab…", got {text!r}')
        if algorithm not in _DIGEST_BYTES:
            raise ValueError(f"checksum algorithm {name!r} is unknown; known are {', '.join(_DIGEST_BYTES)}")
        try:
            digest = bytes.fromhex(digits)
        except ValueError:
            raise ValueError(
                f"checksum {text!r} has characters that are no hex digits, or an odd number of them"
            ) from None
        if len(digest) != _DIGEST_BYTES[algorithm]:
            raise ValueError(
                f"a {algorithm} digest has {2 * _DIGEST_BYTES[algorithm]} hex digits, got {2 * len(digest)} in {text!r}"
            )
        return cls(algorithm, digest.hex())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex_digest}"


# The algorithms that every build of Python has and whose digests have one length.
_DIGEST_BYTES: Final = {
    name: hashlib.new(name, usedforsecurity=False).digest_size
    for name in ("sha256", "sha512", "sha384", "sha224", "sha3_256", "sha3_512", "blake2b", "blake2s", "sha1", "md5")
}

# Request headers that decide what a range of bytes means.  They are the downloader's own (RFC 9110 sections 12.5.3,
# 13.1.5, 14.2).
_RESERVED_HEADERS: Final = frozenset({"range", "if-range", "accept-encoding"})


@final
@dataclass(frozen=True, slots=True, init=False)
class DownloadOptions:
    """What is asked of one download.  Durations are seconds, sizes are bytes.

    Attributes:
        directory: where the file goes; a relative one is taken from the current directory when the record is made.
            Left alone, the manager's directory.
        filename: the file's name; left alone or None, the server's or the URL's, made safe.
        overwrite: False refuses an existing file (unless ``checksum`` proves that it is the file already), True
            replaces it atomically, ``"unique"`` takes the next free name: ``a.iso``, ``a (1).iso``.
        checksum: ``"sha256:…"``; the file appears only if it has this digest.
        mirrors: more addresses of the same file.  With ``checksum``, or where the servers' own digests prove that they
            have the same bytes, several are asked at once; otherwise one after the other, each from the beginning.
        headers: sent with the request, and only to the origins that the URL and the mirrors name (User-Agent, Accept
            and Accept-Language go everywhere).
        max_bytes: a larger file is an error.
        rate_limit_bytes_per_s: receive no faster than this; None means as fast as the manager's limit allows.
        min_rate_bytes_per_s: an attempt that receives less, measured over ``timeout_s``, counts as failed; None means
            any rate will do.
        connections: the most connections at once for one file; 1 fetches it in one stream.
        min_segment_size: the smallest range that is worth a connection of its own, in bytes.
        retries: how many further attempts are made after a failure that may pass; what arrives in between resets the
            count.  Each waits, up to 30 s.
        timeout_s: for the whole header block of a reply, and for the silence between two reads of a body.
        connect_timeout_s: for name look-up, connection and TLS handshake together.
        retry_after_limit_s: a server that asks to be left alone for longer (Retry-After) fails the download.
        total_timeout_s: for one run from its start to its end, time in the queue not counted; None means no limit.
        resume: keep what has arrived when the download ends early, in ``NAME.part``, and go on from it the next time.
        durability: ``"process"`` survives the end of the process at any instant; ``"power"`` that of the machine too,
            at the price of waiting for the disk.
        allow_http_downgrade: follow a redirect from https to http.
        allow_private_addresses: connect to addresses that are not public, such as 127.0.0.1 and 192.168.0.1.  Set it
            to False for URLs that strangers choose.
    """

    directory: Path | None = None
    filename: str | None = None
    overwrite: Overwrite = False
    checksum: str | None = None
    mirrors: tuple[str, ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False, hash=False)
    max_bytes: int | None = None
    rate_limit_bytes_per_s: float | None = None
    min_rate_bytes_per_s: float | None = None
    connections: int = 8
    min_segment_size: int = 4 * 1024 * 1024
    retries: int = 5
    timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    retry_after_limit_s: float = 60.0
    total_timeout_s: float | None = None
    resume: bool = True
    durability: Durability = "process"
    allow_http_downgrade: bool = False
    allow_private_addresses: bool = True
    given: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)
    """The names of the fields that were given; the others show the default."""

    def __init__(self, **fields: Unpack[DownloadOptionsFields]) -> None:
        if unknown := fields.keys() - _DEFAULTS.keys():
            raise TypeError(f"unknown download option {', '.join(sorted(unknown))}; known are {', '.join(_DEFAULTS)}")
        for name, default in _DEFAULTS.items():
            object.__setattr__(self, name, _CHECKS[name](name, fields[name]) if name in fields else default)  # type: ignore[literal-required]
        left_alone = {"directory"} if self.directory is None else set[str]()
        object.__setattr__(self, "given", frozenset(fields.keys() - left_alone))

    def __reduce__(self) -> tuple[object, ...]:
        fields = {name: getattr(self, name) for name in self.given}
        if "headers" in fields:
            fields["headers"] = dict(self.headers)
        return _rebuild, (fields,)

    def over(self, below: DownloadOptions) -> DownloadOptions:
        """Lay this record over *below*: a field that this one was not given is the other's."""
        if not self.given:
            return below
        if not below.given or self.given >= below.given:
            return self
        merged = object.__new__(DownloadOptions)
        for name in _DEFAULTS:
            object.__setattr__(merged, name, getattr(self if name in self.given else below, name))
        object.__setattr__(merged, "given", self.given | below.given)
        return merged


def _rebuild(fields: DownloadOptionsFields) -> DownloadOptions:
    return DownloadOptions(**fields)


def check_seconds(name: str, value: object) -> float:
    """Return *value* as a positive, possibly infinite, number of seconds.

    Raises:
        TypeError: not a number.
        ValueError: zero, negative or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds, got {value!r}")
    if math.isnan(value) or value <= 0:
        raise ValueError(f"{name} is a positive number of seconds, got {value!r}")
    return float(value)


def check_rate(name: str, value: object) -> float:
    """Return *value* as a positive, possibly infinite, number of bytes per second.

    Raises:
        TypeError: not a number.
        ValueError: zero, negative or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of bytes per second, got {value!r}")
    if math.isnan(value) or value <= 0:
        raise ValueError(f"{name} is a positive number of bytes per second, got {value!r}")
    return float(value)


def _directory(name: str, value: object) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} is a str or a path, got {value!r}")
    text: object = os.fspath(cast("str | os.PathLike[str]", value))
    if not isinstance(text, str):
        raise TypeError(f"{name} is a str or a path of str, got {value!r}")
    if not text or "\0" in text:
        raise ValueError(f"{name} is the name of a directory, got {text!r}")
    return Path(os.path.abspath(text))


def _text_or_none(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} is a str or None, got {value!r}")
    return value


def _checksum(name: str, value: object) -> str | None:
    text = _text_or_none(name, value)
    return None if text is None else str(Checksum.parse(text))


def _overwrite(name: str, value: object) -> Overwrite:
    if isinstance(value, bool):
        return value
    if value == "unique":
        return "unique"
    raise ValueError(f'{name} is False, True or "unique", got {value!r}')


def _mirrors(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name} is a sequence of URLs, got {type(value).__name__}")
    urls = tuple(cast("Sequence[object]", value))
    for url in urls:
        if not isinstance(url, str):
            raise TypeError(f"{name} is a sequence of URLs, got one with {type(url).__name__} in it")
        check_url(url)
    return cast("tuple[str, ...]", urls)


def _durability(name: str, value: object) -> Durability:
    if value in ("process", "power"):
        return value
    raise ValueError(f'{name} is "process" or "power", got {value!r}')


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, got {value!r}")
    return value


def _headers(name: str, value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a mapping of str to str, got {type(value).__name__}")
    entries = dict(cast("Mapping[object, object]", value))
    for key, content in entries.items():
        if not isinstance(key, str) or not isinstance(content, str):
            raise TypeError(f"{name} is a mapping of str to str, got an entry {key!r} of {type(content).__name__}")
        if not key or not key.isascii() or any(c in key for c in " \t\r\n:\0") or any(c in content for c in "\r\n\0"):
            raise ValueError(f"{name} has an entry {key!r} that cannot be a header line")
        if key.lower() in _RESERVED_HEADERS:
            raise ValueError(
                f"{name} has {key!r}, which the downloader sets itself to keep the bytes right; leave it out"
            )
    return MappingProxyType(cast("dict[str, str]", entries))


def _bytes_or_none(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number of bytes or None, got {value!r}")
    if value < 0:
        raise ValueError(f"{name} is a number of bytes from 0 up, got {value}")
    return value


def _count(least: int) -> Callable[[str, object], int]:
    def check(name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is a whole number, got {value!r}")
        if value < least:
            raise ValueError(f"{name} is a whole number from {least} up, got {value}")
        return value

    return check


def _rate_or_none(name: str, value: object) -> float | None:
    return None if value is None else check_rate(name, value)


def _seconds_or_zero(name: str, value: object) -> float:
    return 0.0 if value == 0 and not isinstance(value, bool) else check_seconds(name, value)


def _seconds_or_none(name: str, value: object) -> float | None:
    return None if value is None else check_seconds(name, value)


_CHECKS: Final = {
    "directory": _directory,
    "filename": _text_or_none,
    "overwrite": _overwrite,
    "checksum": _checksum,
    "mirrors": _mirrors,
    "headers": _headers,
    "max_bytes": _bytes_or_none,
    "rate_limit_bytes_per_s": _rate_or_none,
    "min_rate_bytes_per_s": _rate_or_none,
    "connections": _count(1),
    "min_segment_size": _count(1),
    "retries": _count(0),
    "timeout_s": check_seconds,
    "connect_timeout_s": check_seconds,
    "retry_after_limit_s": _seconds_or_zero,
    "total_timeout_s": _seconds_or_none,
    "resume": _boolean,
    "durability": _durability,
    "allow_http_downgrade": _boolean,
    "allow_private_addresses": _boolean,
}

_DEFAULTS: Final[dict[str, object]] = {
    each.name: each.default if each.default is not MISSING else MappingProxyType({})
    for each in dataclass_fields(DownloadOptions)
    if each.name != "given"
}
