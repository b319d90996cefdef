"""Scenarios with one reply, or as many as a client asks for at once: honest ones, and what is wrong with a body.

Rules that hold here:

- where nothing but a digest of the user's could tell, the user has one.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Final, TypeAlias

from trio_dlm.testing.origin import (
    Busy,
    ChunkedCut,
    ChunkedJunk,
    ChunkedWithLength,
    ChunkSizeWrong,
    CorruptedBody,
    CutUntilClose,
    DropInHeader,
    EarlyHints,
    EndlessHeader,
    EndlessHints,
    ForgedReply,
    GzipCorrupt,
    GzipCut,
    Gzipped,
    HeaderStops,
    JunkDigest,
    JunkLength,
    LengthTooLong,
    LengthTooShort,
    NotHttp,
    OddSuccess,
    OddVersion,
    RangeIgnored,
    RedirectTo,
    Refuse,
    RightDigest,
    Serve,
    ServeChunked,
    ServeUntilClose,
    SlowHeader,
    Stall,
    Surplus,
    Trickle,
    TwoLengths,
    UnknownCoding,
    WrongDigest,
)

from ._rules import AtMost, Damaged, ForGets, HeadLies, Hops, InTurn, LabelledGzip, NeverBeyond, NoHead, NoHeadLength
from ._scenario import BODY, HALF, Best, Says, Scenario, Stage, Subject, once

__all__ = ["CODINGS", "FRAMING", "HONEST", "REFUSED", "SLOW"]

# Compressed for every request, so less of it.
_SMALL: Final = BODY[: 1024 * 1024]

_MIB: Final = 1024 * 1024

_Told: TypeAlias = tuple[tuple[str, Best, Says, str], ...]
"""Name, what can be had, what the server does, and where to look."""


def _honest() -> Iterator[Scenario]:
    for name, says, source in (
        ("a length, and ranges if wanted", Serve(), "RFC 9110 §8.6"),
        ("in chunks", ServeChunked(50_000), "RFC 9112 §7.1"),
        ("in chunks with extensions and a trailer", ServeChunked(50_000, extras=True), "RFC 9112 §7.1.1"),
        ("no length: the body ends with the connection", ServeUntilClose(), "RFC 9112 §6.3"),
        ("ranges ignored: 200 with everything", RangeIgnored(), "RFC 9110 §14.2"),
        ("ranges cut to 1 MiB", AtMost(_MIB), "RFC 9110 §15.3.7"),
        ("HEAD refused", NoHead(), "RFC 9110 §9.1"),
        ("HEAD tells a length that is too large", HeadLies(1000), "RFC 9110 §9.3.2"),
        ("HEAD tells a length that is too small", HeadLies(-1000), "RFC 9110 §9.3.2"),
        ("HEAD without a length", NoHeadLength(), "RFC 9110 §9.3.2"),
        ("early hints first", EarlyHints(3), "RFC 8297"),
        ("three redirects", Hops(3), "RFC 9110 §15.4"),
        ("relative redirects with 307", Hops(2, 307, is_relative=True), "RFC 9110 §10.2.2"),
        ("a permanent redirect (308)", Hops(1, 308), "RFC 9110 §15.4.9"),
        ("a redirect with a blank in the address", InTurn((RedirectTo("/a b/file.bin"),)), "RFC 3986 §2"),
        ("HTTP/1.0", OddVersion("HTTP/1.0"), "RFC 9112 §2.3"),
        ("bytes behind the end of the body", ForGets(Surplus()), "RFC 9112 §9.2"),
        ("a forged reply behind the right one", ForGets(ForgedReply()), "RFC 9112 §9.2"),
    ):
        yield Scenario(name, Best.CORRECT, Subject.HONEST, once(says), source)
    yield Scenario("a weak ETag", Best.CORRECT, Subject.HONEST, once(Serve()), "RFC 9110 §8.8.3", validators="weak")
    yield Scenario(
        "Last-Modified only", Best.CORRECT, Subject.HONEST, once(Serve()), "RFC 9110 §8.8.2", validators="date"
    )
    yield Scenario(
        "no validator at all", Best.CORRECT, Subject.HONEST, once(Serve()), "RFC 9110 §8.8", validators="none"
    )
    yield Scenario(
        "a second connection is closed at once", Best.CORRECT, Subject.HONEST, once(Serve()), max_connections=1
    )
    yield Scenario(
        "429 to a third request at the same time",
        Best.CORRECT,
        Subject.HONEST,
        (Stage(Serve(), most_at_once=2),),
        "RFC 6585 §4",
    )
    yield Scenario("an empty file", Best.CORRECT, Subject.HONEST, once(Serve()), "RFC 9110 §14.1.2", body=b"")
    yield Scenario("a file of one byte", Best.CORRECT, Subject.HONEST, once(Serve()), body=b"1")
    yield Scenario(
        "over TLS, ended by close_notify",
        Best.CORRECT,
        Subject.HONEST,
        once(ServeUntilClose()),
        "RFC 9112 §9.8",
        tls=True,
    )


def _framing() -> Iterator[Scenario]:
    for name, best, says, source in (
        ("always closed before the promised end", Best.ERROR, LengthTooLong(1000), "RFC 9112 §8"),
        ("closed wherever the second half begins", Best.ERROR, NeverBeyond(HALF), "RFC 9112 §8"),
        ("always without the last chunk", Best.CORRECT, ChunkedCut(1000, chunk_bytes=4096), "RFC 9112 §8"),
        ("a chunk that is no chunk", Best.CORRECT, ChunkedJunk(100, chunk_bytes=4096), "RFC 9112 §7.1"),
        ("a chunk shorter than it says", Best.CORRECT, ChunkSizeWrong(1), "RFC 9112 §7.1"),
        ("chunks, and a length that is too small", Best.ERROR, ChunkedWithLength(1000), "RFC 9112 §6.3"),
        ("two lengths that differ", Best.ERROR, TwoLengths(1000), "RFC 9112 §6.3"),
        ("two lengths that are equal", Best.CORRECT, TwoLengths(0), "RFC 9112 §6.3"),
        ("a length that is no number", Best.ERROR, JunkLength(), "RFC 9110 §8.6"),
    ):
        yield Scenario(name, best, Subject.FRAMING, once(says), source)
    yield Scenario(
        "over TLS, cut off without close_notify",
        Best.CORRECT,
        Subject.FRAMING,
        once(CutUntilClose(HALF, clean=False)),
        "RFC 9112 §9.8",
        tls=True,
    )
    yield Scenario(
        "over TLS, closed wherever the second half begins",
        Best.ERROR,
        Subject.FRAMING,
        once(NeverBeyond(HALF)),
        "RFC 9112 §8",
        tls=True,
    )
    yield Scenario(
        "the promised length is too small, digest known",
        Best.ERROR,
        Subject.FRAMING,
        once(LengthTooShort(1000)),
        "RFC 9110 §8.6",
        has_digest=True,
        validators="none",
    )


def _codings() -> Iterator[Scenario]:
    coded: _Told = (
        ("gzip although nobody asked", Best.CORRECT, Gzipped(), "RFC 9110 §8.4"),
        ("gzip that breaks off within its promised length", Best.ERROR, GzipCut(1000), "RFC 1952 §2.3"),
        ("gzip without its check sum", Best.ERROR, GzipCut(8), "RFC 1952 §2.3"),
        ("gzip with a wrong check sum", Best.ERROR, GzipCorrupt(-6), "RFC 1952 §2.3.1"),
        ("a coding that nobody knows", Best.ERROR, UnknownCoding(), "RFC 9110 §8.4"),
    )
    for name, best, says, source in coded:
        yield Scenario(name, best, Subject.CODINGS, once(says), source, body=_SMALL)
    yield Scenario(
        "a .gz file labelled as coded: kept as it came",
        Best.CORRECT,
        Subject.CODINGS,
        once(LabelledGzip()),
        "RFC 9110 §8.4",
        body=gzip.compress(_SMALL, mtime=0),
        path="/file.txt.gz",
    )
    proven: _Told = (
        ("Repr-Digest, right", Best.CORRECT, RightDigest(), "RFC 9530 §3"),
        ("Repr-Digest that cannot be read", Best.CORRECT, JunkDigest(), "RFC 9651 §4.2"),
        ("one byte wrong, Repr-Digest tells", Best.ERROR, Damaged(), "RFC 9530 §3"),
        ("one byte wrong, Content-Digest tells", Best.ERROR, Damaged("Content-Digest"), "RFC 9530 §2"),
        ("one byte wrong, Digest tells", Best.ERROR, Damaged("Digest"), "RFC 3230"),
        ("one byte wrong, Content-MD5 tells", Best.ERROR, Damaged("Content-MD5"), "RFC 1864"),
    )
    for name, best, says, source in proven:
        yield Scenario(name, best, Subject.CODINGS, once(says), source)
    yield Scenario(
        "one byte wrong, the user's digest tells",
        Best.ERROR,
        Subject.CODINGS,
        once(CorruptedBody(1000)),
        has_digest=True,
    )
    yield Scenario(
        "the server's digest is wrong, the user's is right",
        Best.CORRECT,
        Subject.CODINGS,
        once(WrongDigest()),
        "RFC 9530 §6.1",
        has_digest=True,
    )


def _slow() -> Iterator[Scenario]:
    for name, best, says, source in (
        ("nothing is said at all", Best.ERROR, HeaderStops(0), ""),
        ("the header stops", Best.ERROR, HeaderStops(40), ""),
        ("the header comes without end", Best.ERROR, EndlessHeader(0.5), "RFC 9110 §5.4"),
        ("informational replies without end", Best.ERROR, EndlessHints(gap_s=0.5), "RFC 9110 §15.2"),
        ("the header comes byte by byte, in 4 s", Best.CORRECT, SlowHeader(0.015), "RFC 9112 §2.2"),
        ("silence wherever the second half begins", Best.ERROR, NeverBeyond(HALF, is_silent=True), ""),
        ("every reply falls silent after 1000 bytes", Best.ERROR, Stall(1000), ""),
        ("10 bytes a second", Best.ERROR, Trickle(10.0, chunk_bytes=10), ""),
    ):
        yield Scenario(name, best, Subject.SLOW, once(says), source)


def _refused() -> Iterator[Scenario]:
    for name, best, says, source in (
        ("404", Best.ERROR, Refuse(404), "RFC 9110 §15.5.5"),
        ("401", Best.ERROR, Refuse(401), "RFC 9110 §15.5.2"),
        ("500 for good", Best.ERROR, Busy(500), "RFC 9110 §15.6.1"),
        ("503, come back in an hour", Best.ERROR, Busy(503, 3600), "RFC 9110 §10.2.3"),
        ("204: no content", Best.ERROR, OddSuccess(204), "RFC 9110 §15.3.5"),
        ("202: accepted, not there yet", Best.ERROR, OddSuccess(202), "RFC 9110 §15.3.3"),
        ("not HTTP, but HTML", Best.ERROR, NotHttp(b"<html>hello</html>"), "RFC 9112 §2.1"),
        ("always closed within the header", Best.ERROR, DropInHeader(60), "RFC 9112 §8"),
    ):
        yield Scenario(name, best, Subject.REFUSED, once(says), source)


HONEST: Final = tuple(_honest())
FRAMING: Final = tuple(_framing())
CODINGS: Final = tuple(_codings())
SLOW: Final = tuple(_slow())
REFUSED: Final = tuple(_refused())
