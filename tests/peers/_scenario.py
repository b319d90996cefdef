"""The words in which a scenario is told: a file, a server, and what happens each time that a client is started.

Rules that hold here:

- a scenario is data.  It knows no client, and what it has the server do does not depend on which client comes;
- ``best`` is what a careful reader of the RFCs could have got, whether or not anybody does;
- what needs addresses or paths, which are known only when a run begins, is a function of the :class:`Place`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from trio_dlm.testing.origin import Fault, Resource, Validators

from ._rules import SERVE, become

__all__ = [
    "BODY",
    "HALF",
    "SIZE",
    "Ability",
    "Best",
    "Change",
    "Place",
    "Says",
    "Scenario",
    "Stage",
    "Subject",
    "Turn",
    "killed",
    "once",
]

# 8 MiB in which no eight bytes in a row come twice: enough for eight segments of the smallest size that those who split
# will make, and little enough to be fetched hundreds of times.
BODY: Final = b"".join(b"%07x\n" % number for number in range(1024 * 1024))

SIZE: Final = len(BODY)
HALF: Final = SIZE // 2


class Best(enum.Enum):
    """The best that can be had; the values are what the table says."""

    CORRECT = "correct"
    ERROR = "error"


class Ability(enum.Enum):
    """What a client must be able to take for a scenario to make sense; the values are what the page says."""

    DIGEST = "a digest of the user's"
    MIRRORS = "several addresses of one file"


class Subject(enum.Enum):
    """What a scenario is about; the values are headings."""

    HONEST = "Honest servers"
    BROKEN = "Broken off, and tried again by the client itself"
    RESUMED = "Stopped, and started again"
    RANGES = "Ranges that are not what was asked for"
    FRAMING = "Where the body ends"
    CODINGS = "Codings and digests"
    SLOW = "Slow, silent, or without end"
    REFUSED = "Refusals and nonsense"
    MIRRORS = "Mirrors"
    NAMES = "Names that lead elsewhere"
    SECRETS = "Secrets and redirects"


@dataclass(frozen=True)
class Place:
    """What is known when a run begins.

    Attributes:
        origin: scheme, host and port of the server.
        other: those of another server, under another name.
        other_port: those of the same, under the name of the first.
        nobody: those of a port where nobody listens.
        root: a directory; the client is to write below it in another, two levels down.
    """

    origin: str
    other: str
    other_port: str
    nobody: str
    root: Path


Says: TypeAlias = Fault | Callable[[Place], Fault]


@dataclass(frozen=True)
class Change:
    """The file becomes another version.

    Attributes:
        by: how many bytes longer; if negative, how many shorter.
        bytes_too: whether the bytes change, too, and not only the validators.
        tell: whether the validators do.
    """

    by: int = 0
    bytes_too: bool = True
    tell: bool = True

    def apply(self, resource: Resource) -> None:
        """Have it happen."""
        become(resource, by=self.by, bytes_too=self.bytes_too, tell=self.tell)


@dataclass(frozen=True)
class Turn:
    """What happens in the middle of a stage, once the server has sent so many bytes.

    Attributes:
        at_bytes: counted over all connections.
        change: the file becomes another version.
        then: what the server does from now on, all connections having been closed; None if it answers nobody any more.
        is_silent: it says nothing any more, on connections that stay.
    """

    at_bytes: int
    then: Says | None = None
    change: Change | None = None
    is_silent: bool = False


@dataclass(frozen=True)
class Stage:
    """One start of the client, in the same directory as those before.

    Attributes:
        says: what the server does with each request.
        change: the file becomes another version before the client is started.
        turn: what changes while it runs.
        ended_by: how the client is ended once the server has fallen silent; None if it ends by itself.
        most_at_once: how many replies are given at a time; further requests get a 429.
    """

    says: Says = SERVE
    change: Change | None = None
    turn: Turn | None = None
    ended_by: Literal["SIGKILL", "SIGTERM"] | None = None
    most_at_once: int | None = None


@dataclass(frozen=True)
class Scenario:
    """What a client meets.

    Attributes:
        name: in plain words, and different from all others.
        best: what can be had.
        subject: under which it is told.
        stages: one for each start of the client.
        source: where to look.
        body: the file.
        validators: what its version is told by.
        max_connections: how many the server has at a time.
        tls: whether it is asked over https.
        path: of the file's address.
        target: the whole address, where it is not that of the server.
        headers: those that the user has sent along.
        userinfo: user and password in the address.
        has_digest: the user knows the sha256 of the first version.
        mirrors: other addresses of the file.
        other_change: by how many bytes, if at all, the other server's version differs.
        found_there: a file of the same name that was there before.
        is_about_names: the name that counts is the one that the server tells.
        wants_resume: whether what was fetched before can be kept, so that to fetch it again is a waste.
    """

    name: str
    best: Best
    subject: Subject
    stages: tuple[Stage, ...]
    source: str = ""
    body: bytes = BODY
    validators: Validators = "strong"
    max_connections: int | None = None
    tls: bool = False
    path: str = "/file.bin"
    headers: tuple[tuple[str, str], ...] = ()
    userinfo: str = ""
    has_digest: bool = False
    mirrors: Callable[[Place], tuple[str, ...]] | None = None
    target: Callable[[Place], str] | None = None
    other_change: Change | None = None
    found_there: bytes | None = None
    is_about_names: bool = False
    wants_resume: bool = False

    @property
    def needs(self) -> frozenset[Ability]:
        """What a client must be able to take."""
        asked = {Ability.DIGEST: self.has_digest, Ability.MIRRORS: self.mirrors is not None}
        return frozenset(ability for ability, is_asked in asked.items() if is_asked)

    @property
    def is_security(self) -> bool:
        """Whether those who do badly have a weakness that an attacker can use."""
        return self.subject in (Subject.NAMES, Subject.SECRETS)


def once(says: Says) -> tuple[Stage, ...]:
    """Start the client once."""
    return (Stage(says),)


def killed(by: Literal["SIGKILL", "SIGTERM"] = "SIGKILL", *, at_bytes: int = HALF, says: Says = SERVE) -> Stage:
    """Start the client, and end it when it has got so many bytes."""
    return Stage(says, turn=Turn(at_bytes, is_silent=True), ended_by=by)
