"""The faults, and what is known of each class of them: all names in one place.

Rules that hold here:

- a table speaks of whole classes; where a class has values of both kinds, :class:`FaultPlan` looks closer;
- a class that users write stands in none of the tables.
"""

from __future__ import annotations

from typing import Final

from .._fault import Fault
from ._body import CorruptedBody, DropAt, ForgedReply, Serve, Stall, Surplus, Trickle
from ._coding import GzipCorrupt, GzipCut, Gzipped, UnknownCoding
from ._digest import JunkDigest, RightDigest, WrongDigest
from ._framing import (
    ChunkedCut,
    ChunkedJunk,
    ChunkedWithLength,
    ChunkSizeWrong,
    CutUntilClose,
    JunkLength,
    LengthTooLong,
    LengthTooShort,
    ServeChunked,
    ServeUntilClose,
    TwoLengths,
)
from ._header import (
    DropInHeader,
    EarlyHints,
    EndlessHeader,
    EndlessHints,
    HeaderStops,
    HugeHeader,
    NotHttp,
    OddVersion,
    SlowHeader,
)
from ._name import Named
from ._range import (
    ForgetfulRange,
    JunkContentRange,
    LongerRange,
    Mislabelled,
    MultipartRange,
    NoContentRange,
    OtherBytes,
    OtherStart,
    OtherTotal,
    OtherUnit,
    PartUnasked,
    RangeIgnored,
    ShorterRange,
    TwoContentRanges,
    UnknownTotal,
    WholeWithContentRange,
)
from ._redirect import (
    Redirect,
    RedirectBothWays,
    RedirectNowhere,
    RedirectTo,
    RedirectToHost,
    RedirectToItself,
    RedirectToScheme,
)
from ._status import Busy, OddSuccess, Refuse, Unsatisfiable
from ._version import Changed, ChangedSecretly, ChangesMidway, IfRangeIgnored, Touched

__all__ = [
    "CHANGING",
    "FAULTS",
    "HONEST",
    "RECOVERABLE",
    "UNDETECTABLE",
    "Busy",
    "Changed",
    "ChangedSecretly",
    "ChangesMidway",
    "ChunkSizeWrong",
    "ChunkedCut",
    "ChunkedJunk",
    "ChunkedWithLength",
    "CorruptedBody",
    "CutUntilClose",
    "DropAt",
    "DropInHeader",
    "EarlyHints",
    "EndlessHeader",
    "EndlessHints",
    "Fault",
    "ForgedReply",
    "ForgetfulRange",
    "GzipCorrupt",
    "GzipCut",
    "Gzipped",
    "HeaderStops",
    "HugeHeader",
    "IfRangeIgnored",
    "JunkContentRange",
    "JunkDigest",
    "JunkLength",
    "LengthTooLong",
    "LengthTooShort",
    "LongerRange",
    "Mislabelled",
    "MultipartRange",
    "Named",
    "NoContentRange",
    "NotHttp",
    "OddSuccess",
    "OddVersion",
    "OtherBytes",
    "OtherStart",
    "OtherTotal",
    "OtherUnit",
    "PartUnasked",
    "RangeIgnored",
    "Redirect",
    "RedirectBothWays",
    "RedirectNowhere",
    "RedirectTo",
    "RedirectToHost",
    "RedirectToItself",
    "RedirectToScheme",
    "Refuse",
    "RightDigest",
    "Serve",
    "ServeChunked",
    "ServeUntilClose",
    "ShorterRange",
    "SlowHeader",
    "Stall",
    "Surplus",
    "Touched",
    "Trickle",
    "TwoContentRanges",
    "TwoLengths",
    "UnknownCoding",
    "UnknownTotal",
    "Unsatisfiable",
    "WholeWithContentRange",
    "WrongDigest",
]

# All of them, subject by subject.
FAULTS: Final[tuple[type[Fault], ...]] = (
    Serve,
    Trickle,
    Stall,
    DropAt,
    CorruptedBody,
    Surplus,
    ForgedReply,
    LengthTooLong,
    LengthTooShort,
    TwoLengths,
    JunkLength,
    ServeUntilClose,
    CutUntilClose,
    ServeChunked,
    ChunkedCut,
    ChunkedJunk,
    ChunkSizeWrong,
    ChunkedWithLength,
    RangeIgnored,
    PartUnasked,
    OtherStart,
    ShorterRange,
    LongerRange,
    OtherBytes,
    Mislabelled,
    OtherTotal,
    UnknownTotal,
    OtherUnit,
    NoContentRange,
    JunkContentRange,
    TwoContentRanges,
    MultipartRange,
    WholeWithContentRange,
    ForgetfulRange,
    Changed,
    ChangedSecretly,
    ChangesMidway,
    Touched,
    IfRangeIgnored,
    EarlyHints,
    EndlessHints,
    NotHttp,
    SlowHeader,
    HeaderStops,
    DropInHeader,
    EndlessHeader,
    HugeHeader,
    OddVersion,
    Busy,
    Refuse,
    OddSuccess,
    Unsatisfiable,
    Redirect,
    RedirectToItself,
    RedirectToHost,
    RedirectToScheme,
    RedirectTo,
    RedirectNowhere,
    RedirectBothWays,
    Gzipped,
    GzipCut,
    GzipCorrupt,
    UnknownCoding,
    RightDigest,
    WrongDigest,
    JunkDigest,
    Named,
)

# What a server does that is right.  A single request is enough, for a client that knows HTTP.
HONEST: Final[frozenset[type[Fault]]] = frozenset(
    {Serve, ServeChunked, RangeIgnored, EarlyHints, RightDigest, JunkDigest}
)

# What passes, and is got over by asking again: broken connections and framing, silence, servers that are busy, ranges
# and versions that are others than was thought, redirects within the origin.  Not what a client may take for the
# server's last word: refusals, nonsense in the header, codings, digests that do not hold, and bodies whose end cannot
# be proven.
RECOVERABLE: Final[frozenset[type[Fault]]] = HONEST | {
    ChunkSizeWrong,
    ChunkedCut,
    ChunkedJunk,
    Busy,
    Changed,
    DropAt,
    DropInHeader,
    ForgedReply,
    ForgetfulRange,
    HeaderStops,
    IfRangeIgnored,
    JunkContentRange,
    LengthTooLong,
    LongerRange,
    Mislabelled,
    MultipartRange,
    NoContentRange,
    OtherStart,
    OtherTotal,
    OtherUnit,
    Redirect,
    ShorterRange,
    SlowHeader,
    Stall,
    Surplus,
    Touched,
    Trickle,
    TwoContentRanges,
    UnknownTotal,
}

# What a client can do everything right about and still deliver wrong bytes, unless it knows a digest.
UNDETECTABLE: Final[frozenset[type[Fault]]] = frozenset(
    {ChangedSecretly, ChangesMidway, CorruptedBody, CutUntilClose, LengthTooShort, OtherBytes}
)

# What gives the origin's file other bytes, so that a digest of the first version does not hold any more.
CHANGING: Final[frozenset[type[Fault]]] = frozenset({Changed, ChangedSecretly, ChangesMidway, IfRangeIgnored})
