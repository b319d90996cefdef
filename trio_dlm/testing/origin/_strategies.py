"""Faults and plans of faults, drawn by Hypothesis.

Rules that hold here:

- everything shrinks towards no fault: fewer steps, faults that stand earlier in the tables below, positions at 0;
- positions at the ends of the body are likely, since that is where programs count wrongly;
- every class of fault is drawn but for those that the caller leaves out.

This is the only file of the origin that needs Hypothesis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, get_args

from hypothesis import strategies as st

from . import faults as f
from ._plan import FaultPlan
from ._resource import DEFAULT_BODY, Validators
from .faults._digest import DigestField
from .faults._name import HOSTILE_NAMES
from .faults._redirect import Reference

__all__ = ["DEFAULT_BODY", "fault_plans", "faults"]

_Strategy: TypeAlias = st.SearchStrategy[Any]

# A client that waits for longer than this on a real clock makes the search slow.
_REAL_TIME_S: Final = 0.2

# What waits for the client to give up, or for seconds.
_LONG: Final[frozenset[type[f.Fault]]] = frozenset({f.EndlessHeader, f.EndlessHints, f.HeaderStops, f.Stall})

_REDIRECTS: Final = st.sampled_from([302, 301, 303, 307, 308])
_INTERIM: Final = st.sampled_from([103, 100, 102])


def faults(
    size_bytes: int = len(DEFAULT_BODY), *, real_time: bool = False, undetectable: bool = False
) -> st.SearchStrategy[f.Fault]:
    """Draw what is done with one request.

    Args:
        size_bytes: of the file.
        real_time: draw nothing that takes longer than a fraction of a second.
        undetectable: draw also what only a digest of the client's own reveals.
    """
    left_out = frozenset[type[f.Fault]]() if undetectable else f.UNDETECTABLE
    return _one_of(size_bytes, real_time=real_time, kinds=frozenset(f.FAULTS) - left_out)


def fault_plans(
    *,
    max_faults: int = 4,
    size_bytes: int = len(DEFAULT_BODY),
    real_time: bool = False,
    undetectable: bool = False,
    recoverable: bool = False,
) -> st.SearchStrategy[FaultPlan]:
    """Draw what an origin does; the simplest plan is ``FaultPlan()``, which serves.

    Args:
        max_faults: the most steps before the plan's last word.
        size_bytes: of the file.
        real_time: draw nothing that takes longer than a fraction of a second.
        undetectable: draw also what only a digest of the client's own reveals.
        recoverable: draw only what a client gets over that tries again: see :attr:`FaultPlan.is_recoverable`.
    """
    if recoverable:
        step = _one_of(size_bytes, real_time=real_time, kinds=f.RECOVERABLE, patient=True)
        then = _one_of(size_bytes, real_time=real_time, kinds=f.HONEST)
    else:
        step = then = faults(size_bytes, real_time=real_time, undetectable=undetectable)
    return st.builds(
        FaultPlan,
        steps=st.lists(step, max_size=max_faults).map(tuple),
        # Half of the plans end well: `just(Serve()) | then` would be a choice among all faults at once.
        then=st.booleans().flatmap(lambda ends_otherwise: then if ends_otherwise else st.just(f.Serve())),
        validators=st.sampled_from(get_args(Validators)),
        max_connections=st.none() if recoverable else st.sampled_from([None, None, None, 1, 2]),
    )


def _one_of(
    size_bytes: int, *, real_time: bool, kinds: frozenset[type[f.Fault]], patient: bool = False
) -> st.SearchStrategy[f.Fault]:
    wanted = kinds - _LONG if real_time else kinds
    families = [
        st.one_of([st.builds(kind, **arguments) for kind, arguments in family.items() if kind in wanted])
        for family in _families(size_bytes, real_time=real_time, patient=patient)
        if wanted & family.keys()
    ]
    # The family first, so that what befalls every client now and then is not lost among all that might befall one.
    return st.integers(0, len(families) - 1).flatmap(families.__getitem__)


def _families(
    size_bytes: int, *, real_time: bool, patient: bool
) -> Sequence[Mapping[type[f.Fault], Mapping[str, _Strategy]]]:
    """Return how each class of fault is drawn, the simplest first."""
    position = _positions(size_bytes)
    inside = _positions(max(0, size_bytes - 1))
    in_header = _positions(100)
    by = st.sampled_from([1, 7, max(1, size_bytes // 2)])
    either_way = by | by.map(_negated)
    chunk_bytes = st.sampled_from([1000, max(1, size_bytes)])
    return [
        # Right replies first.
        {
            f.Serve: {"chunk_bytes": st.sampled_from([65_536, 1000, 1])},
            f.ServeChunked: {"chunk_bytes": chunk_bytes, "extras": st.booleans()},
            f.RangeIgnored: {},
            f.EarlyHints: {
                "count": st.integers(1, 5),
                "status": _INTERIM,
                "gap_s": _gaps(0.0, 1.0, real_time=real_time),
            },
            f.RightDigest: {"field": _digest_fields()},
            f.JunkDigest: {
                "field": _digest_fields(),
                "text": st.sampled_from(["sha-256=?", "?", "", "unheard-of=:AAAA:"]),
            },
        },
        # The connection breaks.
        {
            f.DropAt: {"byte": position, "reset": st.booleans()},
            f.DropInHeader: {"byte": in_header, "reset": st.booleans()},
        },
        # It is slow.
        {
            f.Stall: {"byte": position},
            f.HeaderStops: {"byte": in_header},
            f.Trickle: _rates(size_bytes, real_time=real_time),
            f.SlowHeader: {"gap_s": _gaps(0.0, 0.01, 0.1, 1.0, real_time=real_time)},
        },
        # The file is not to be had now.
        {
            f.Busy: _patience(real_time=real_time, patient=patient),
            f.Redirect: {"status": _REDIRECTS, "reference": st.sampled_from(get_args(Reference))},
        },
        # Another version.
        {
            f.Changed: {"by": st.just(0) | either_way, "drop_at": st.none() | position},
            f.Touched: {},
            f.IfRangeIgnored: {},
        },
        # Another range.
        {
            f.OtherStart: {"by": either_way},
            f.ShorterRange: {"by": by},
            f.LongerRange: {"by": by},
            f.Mislabelled: {"by": either_way},
            f.OtherTotal: {"by": either_way},
            f.UnknownTotal: {},
            f.OtherUnit: {},
            f.NoContentRange: {},
            f.JunkContentRange: {
                "text": st.sampled_from(["junk", "bytes", "bytes 1-0/2", "bytes 0-/*", "bytes */*", ""])
            },
            f.TwoContentRanges: {"by": either_way},
            f.MultipartRange: {},
            f.ForgetfulRange: {},
            f.PartUnasked: {"size_bytes": by},
            f.WholeWithContentRange: {"first": inside},
            f.Unsatisfiable: {"by": st.just(0) | either_way | st.none()},
        },
        # Another length.
        {
            f.LengthTooLong: {"by": by},
            f.TwoLengths: {"by": by},
            f.JunkLength: {"text": st.sampled_from(["junk", "", "-1", "+1", "1e3", "0x10", "1 2", "9" * 30])},
            f.ServeUntilClose: {"clean": _true_first()},
            f.ChunkedCut: {"chunks": st.integers(0, 4), "chunk_bytes": chunk_bytes},
            f.ChunkedJunk: {"chunks": st.integers(0, 4), "text": st.sampled_from(["junk", "", "-1", "0x10", "f" * 30])},
            f.ChunkSizeWrong: {"by": either_way, "quarter": st.none() | st.integers(0, 3)},
            f.ChunkedWithLength: {"by": st.just(0) | by},
        },
        # More than was asked for.
        {
            f.Surplus: {"data": st.sampled_from([b"surplus", b"\r\n", b"\0" * 1000])},
            f.ForgedReply: {},
        },
        # A name that leads elsewhere.
        {
            f.Named: {"name": st.sampled_from(HOSTILE_NAMES)},
        },
        # Codings and digests.
        {
            f.Gzipped: {},
            f.GzipCut: {"by": st.sampled_from([1, 4, 8, 9, 1000])},
            f.GzipCorrupt: {"byte": st.integers(-12, -1) | st.integers(0, 40)},
            f.UnknownCoding: {"name": st.sampled_from(["turned", "br", "deflate"])},
            f.WrongDigest: {"field": _digest_fields()},
        },
        # The file is not to be had at all.
        {
            f.Refuse: {"status": st.sampled_from([404, 401, 403, 410, 501, 400, 405, 451, 511])},
            f.OddSuccess: {"status": st.sampled_from([204, 201, 202, 205])},
            f.NotHttp: {"data": _NO_HTTP},
            f.OddVersion: {"version": st.sampled_from(["HTTP/1.2", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "ICY"])},
            f.HugeHeader: {"size_bytes": st.sampled_from([8192, 65_536, 1_048_576])},
            f.EndlessHints: {"status": _INTERIM},
            f.EndlessHeader: {},
            f.RedirectToItself: {"status": _REDIRECTS},
            f.RedirectNowhere: {"status": _REDIRECTS},
            f.RedirectBothWays: {"status": _REDIRECTS},
            # A real look-up of a name that nobody has may take long, and so may other schemes at this port.
            f.RedirectToHost: {"host": st.just("localhost" if real_time else "elsewhere.test"), "status": _REDIRECTS},
            f.RedirectToScheme: {"scheme": st.sampled_from(["http"] if real_time else ["ftp", "http", "https"])},
            f.RedirectTo: {"location": st.sampled_from(["file:///etc/passwd", "data:,forged", "//", "http://"])},
        },
        # Nothing shows it but a digest.
        {
            f.CutUntilClose: {"byte": inside, "clean": _true_first()},
            f.LengthTooShort: {"by": by},
            f.CorruptedBody: {"byte": inside},
            f.OtherBytes: {"by": either_way},
            f.ChangesMidway: {"byte": position},
            f.ChangedSecretly: {},
        },
    ]


_NO_HTTP: Final = st.sampled_from(
    [
        b"220 ready\r\n",
        b"",
        b"\0\1\2\3",
        b"<html>hello</html>",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nno field\r\nContent-Length: 5\r\n\r\nhello",
    ]
)


def _positions(size: int) -> st.SearchStrategy[int]:
    """Draw a place in *size* bytes, or their end."""
    edges = sorted({0, min(1, size), max(0, size - 1), size})
    return st.sampled_from(edges) | st.integers(0, size)


def _gaps(*gaps_s: float, real_time: bool) -> st.SearchStrategy[float]:
    return st.just(0.0) if real_time else st.sampled_from(gaps_s)


def _rates(size_bytes: int, *, real_time: bool) -> dict[str, _Strategy]:
    if real_time:
        # Two silences at most.
        return {
            "bytes_per_s": st.just(max(1000.0, size_bytes / _REAL_TIME_S)),
            "chunk_bytes": st.just(max(1, -(-size_bytes // 2))),
        }
    return {"bytes_per_s": st.sampled_from([1000.0, 100.0, 10.0]), "chunk_bytes": st.sampled_from([100, 1])}


def _patience(*, real_time: bool, patient: bool) -> dict[str, _Strategy]:
    seconds: list[int] = [0] if real_time else [0, 1, 30] if patient else [0, 1, 30, 3600]
    texts: list[int | str | None] = ["junk", "-1", "1.5", "", "Wed, 21 Oct 2015 07:28:00 GMT"]
    return {
        "status": st.sampled_from([503, 429, 500, 502, 504, 408, 425]),
        "retry_after": st.sampled_from([None, *seconds, *texts]),
        "as_date": st.booleans(),
    }


def _digest_fields() -> st.SearchStrategy[str]:
    return st.sampled_from(get_args(DigestField))


def _true_first() -> st.SearchStrategy[bool]:
    return st.sampled_from([True, False])


def _negated(number: int) -> int:
    return -number
