"""What to do with a body that came compressed although it was asked for as it is, and the decoders for it.

Rules that hold here:

- a file that itself has the coding, as ``a.tar.gz`` does, is kept as it came: servers call such a file both things;
- what cannot be decoded is refused before a byte of the body is read;
- a decoded body counts only if the coding itself has ended, its check sums hold and nothing comes after it: a cut is an
  error wherever it is, and never a shorter file;
- a decoder gives at most as many bytes at a time as it was asked for, so that a small body that decodes to a very large
  one costs no memory.

Source:
    RFC 9110 section 8.4 (Content-Encoding), RFC 1952 (gzip), RFC 1950 (zlib, which the coding "deflate" is).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol, final

from ._head import ReplyHead, quoted, unusable

__all__ = ["KEPT", "Coding", "CodingError", "Decoder", "coding_of", "codings_of"]

# What goes into zlib at once.  It copies what it has not used, so a small output limit would otherwise copy a large
# input again and again.
_SLICE_BYTES: Final = 16 * 1024


class CodingError(ValueError):
    """The bytes are not what their coding says."""


class Decoder(Protocol):
    """Undoes a coding, a piece at a time.  After an error there is nothing more to be had of it."""

    @property
    def is_pending(self) -> bool:
        """Whether there may be more output without more input: go on with ``feed(b"", most)``."""
        ...

    def feed(self, data: bytes, most: int) -> bytes:
        """Take *data*, and return what it gives, at most *most* bytes (which are at least one).

        Raises:
            CodingError: the data are broken, or go on after the coding's end.
        """
        ...

    def end(self) -> None:
        """Say that no more comes.

        Raises:
            CodingError: the coding has not ended, or not everything has been fetched.
        """
        ...


@final
@dataclass(frozen=True, slots=True)
class Coding:
    """What to do with a body.

    Attributes:
        name: what the coding is called, or None if the body is kept as it comes.
        new_decoder: makes the decoder for one body, or None if the body is kept as it comes.
    """

    name: str | None
    new_decoder: Callable[[], Decoder] | None


KEPT: Final = Coding(None, None)
"""The bytes that come are those of the file."""


class _Format(NamedTuple):
    """A way to compress, and what a file of that kind is called.

    The endings of gzip are those that Firefox does not decode either.  The media types are the registered ones and what
    servers used before; ``application/…+gzip`` needs no entry.
    """

    names: tuple[str, ...]
    endings: tuple[str, ...]
    media_types: tuple[str, ...]
    new_decoder: Callable[[], Decoder] | None = None


@final
class _Inflating:
    """Decodes gzip and zlib, whose check sums and lengths the library compares."""

    def __init__(self, name: str, window_bits: int, *, may_repeat: bool) -> None:
        self._name = name
        self._window_bits = window_bits
        # A gzip file is one or more members, each with an end of its own (RFC 1952 section 2.2).
        self._may_repeat = may_repeat
        self._is_first = True
        self._inflate = zlib.decompressobj(window_bits)
        # What was fed and not used yet, from the offset on.
        self._held = b""
        self._at = 0
        self._is_cut_off = False

    @property
    def is_pending(self) -> bool:
        return self._is_cut_off or self._at < len(self._held)

    def feed(self, data: bytes, most: int) -> bytes:
        if most < 1:
            raise ValueError(f"most is a number of bytes from 1 up, got {most}")
        if data:
            self._held = self._held[self._at :] + data
            self._at = 0
        pieces = list[bytes]()
        room = most
        while room and self.is_pending:
            if self._inflate.eof:
                self._begin_another()
            piece = self._inflated(room)
            pieces.append(piece)
            room -= len(piece)
            # With room left, whatever could be given was given.
            self._is_cut_off = not room and not self._inflate.eof
        return b"".join(pieces)

    def end(self) -> None:
        if self._inflate.eof and not self.is_pending:
            return
        if self._is_first:
            raise CodingError(f"the {self._name} coding has not ended")
        raise CodingError(f"after the end of a {self._name} member comes what is no whole one")

    def _begin_another(self) -> None:
        if not self._may_repeat:
            raise CodingError(f"the body goes on after the end of the {self._name} coding")
        self._is_first = False
        self._inflate = zlib.decompressobj(self._window_bits)

    def _inflated(self, room: int) -> bytes:
        piece = self._held[self._at : self._at + _SLICE_BYTES]
        try:
            output = self._inflate.decompress(piece, room)
        except zlib.error as exc:
            problem = str(exc).rpartition(": ")[2]
            where = "" if self._is_first else " after the end of a member"
            raise CodingError(f"the bytes are no {self._name}{where}: {problem}") from exc
        # At the end the library may have what is left in both places (CPython's save_unconsumed_input).
        left = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        self._at += len(piece) - len(left)
        return output


_FORMATS: Final = (
    _Format(
        ("gzip", "x-gzip"),
        (".gz", ".gzip", ".tgz", ".svgz"),
        (
            "application/gzip",
            "application/x-gzip",
            "application/x-gunzip",
            "application/gzip-compressed",
            "application/x-compressed-tar",
            "application/x-gtar-compressed",
            "application/x-tgz",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ),
        partial(_Inflating, "gzip", zlib.MAX_WBITS | 16, may_repeat=True),
    ),
    _Format(
        ("deflate",),
        (".zz", ".zlib"),
        ("application/zlib", "application/x-zlib"),
        # That is the format of zlib.  Some servers send only what is inside of it (RFC 9110 section 8.4.1.2), which has
        # no check sum and is refused.
        partial(_Inflating, "deflate", zlib.MAX_WBITS, may_repeat=False),
    ),
    _Format(("br",), (".br",), ("application/brotli", "application/x-brotli")),
    _Format(("zstd",), (".zst", ".tzst", ".zstd"), ("application/zstd", "application/x-zstd")),
    # These two are no registered codings, but Apache can be told to use them for files of the kind.
    _Format(("bzip2", "x-bzip2"), (".bz2", ".tbz", ".tbz2"), ("application/x-bzip2", "application/x-bzip")),
    _Format(("xz", "x-xz"), (".xz", ".txz"), ("application/x-xz",)),
    _Format(("compress", "x-compress"), (".z", ".taz"), ("application/x-compress", "application/compress")),
)
_FORMAT_OF: Final = {name: each for each in _FORMATS for name in each.names}

# What stands in Content-Encoding and changes no byte.  "identity" should not be there and often is; curl takes "none"
# for the same.  "aws-chunked" is the framing of an upload to S3: servers of the kind undo it and keep the word.
_NO_CODINGS: Final = frozenset({"identity", "none", "aws-chunked"})


def codings_of(head: ReplyHead) -> list[str]:
    """Return the codings that *head* names and that change bytes, in the order of their being applied."""
    return [coding for coding in head.items("content-encoding") if coding not in _NO_CODINGS]


def coding_of(head: ReplyHead, *, names: Sequence[str]) -> Coding:
    """Decide what to do with the body of a reply.

    Args:
        head: of the reply.
        names: what the file will be called, and what else it is called.

    Returns:
        :data:`KEPT`, or how to decode it.

    Raises:
        UnusableReplyError: the body has a coding that is unknown or cannot be decoded here, or has several.
    """
    codings = codings_of(head)
    if not codings:
        return KEPT
    format_ = _FORMAT_OF.get(codings[0]) if len(codings) == 1 else None
    if format_ is not None and _is_file_of(format_, names, head.values("content-type")):
        return KEPT
    if format_ is None or format_.new_decoder is None:
        raise unusable(
            head,
            f"the body came with Content-Encoding {quoted(', '.join(codings))}, although it was asked for as it is",
            f"only one coding can be undone, and only {_decodable()}: try another source",
        )
    return Coding(codings[0], format_.new_decoder)


def _is_file_of(format_: _Format, names: Iterable[str], media_types: Iterable[str]) -> bool:
    """Return whether the file itself is of that kind, by one of its names or of its media types."""
    if any(name.lower().endswith(format_.endings) for name in names):
        return True
    types = (each.partition(";")[0].strip(" \t").lower() for each in media_types)
    # The structured suffix of a media type is the name of the coding (RFC 6839 section 3, RFC 8878 section 7.1).
    return any(each in format_.media_types or each.rpartition("+")[2] in format_.names for each in types)


def _decodable() -> str:
    return " or ".join(each.names[0] for each in _FORMATS if each.new_decoder is not None)
