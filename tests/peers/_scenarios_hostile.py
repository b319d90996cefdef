"""Scenarios of servers that mean harm: names that lead out of the directory, redirects after other people's secrets.

Rules that hold here:

- nothing real is in reach: what is outside of the client's directory is a directory of the run's own;
- the secrets are ``hush-hush``, and ``hush:hush`` as user and password.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_dlm.testing.origin import Named, RedirectBothWays, RedirectNowhere, RedirectTo, RedirectToItself, Serve

from ._rules import Guarded, Hops
from ._scenario import Best, Place, Says, Scenario, Stage, Subject, Turn, once

__all__ = ["NAMES", "SECRETS"]


def _names() -> Iterator[Scenario]:
    names: tuple[tuple[str, Says], ...] = (
        ("the name begins with ../", Named("../evil.bin")),
        ("the name has ../ within", Named("a/../../evil.bin")),
        ("the name begins with ..\\", Named("..\\evil.bin")),
        ("the name is ..", Named("..")),
        ("the name is a whole path", lambda place: Named(f"{place.root}/evil.bin")),
        ("the name begins with ~/", Named("~/evil.bin")),
        ("the name has a NUL in it", Named("evil\0.bin")),
        ("the name has a line break in it", Named("evil\n.bin")),
        ("the name is empty", Named("")),
        ("the name has 300 letters", Named("e" * 300 + ".bin")),
        ("the name is in Greek", Named("αρχείο.bin")),
    )
    for name, says in names:
        yield Scenario(name, Best.CORRECT, Subject.NAMES, once(says), "RFC 6266 §4.3", is_about_names=True)
    yield Scenario(
        "the address has an encoded ../",
        Best.CORRECT,
        Subject.NAMES,
        once(Serve()),
        "RFC 3986 §2.2",
        path="/a/..%2f..%2fevil.bin",
        is_about_names=True,
    )
    yield Scenario(
        "a redirect to an address with an encoded ../",
        Best.CORRECT,
        Subject.NAMES,
        once(Hops(1, then=Serve())),
        "RFC 3986 §2.2",
        path="/..%2f..%2fevil.bin",
        is_about_names=True,
    )


def _secrets() -> Iterator[Scenario]:
    def away(place: Place) -> RedirectTo:
        return RedirectTo(f"{place.other}/file.bin")

    def away_by_port(place: Place) -> RedirectTo:
        return RedirectTo(f"{place.other_port}/file.bin")

    secret = (("Authorization", "Bearer hush-hush"),)
    yield Scenario("to another host, no secrets", Best.CORRECT, Subject.SECRETS, once(away), "RFC 9110 §15.4")
    yield Scenario(
        "no redirect, and Authorization wanted every time",
        Best.CORRECT,
        Subject.SECRETS,
        once(Guarded()),
        "RFC 9110 §11.6.2",
        headers=secret,
    )
    for name, says, headers in (
        ("to another host, with Authorization", away, secret),
        ("to another port, with Authorization", away_by_port, secret),
        ("to another host, with a Cookie", away, (("Cookie", "id=hush-hush"),)),
        ("to another host, with X-Api-Key", away, (("X-Api-Key", "hush-hush"),)),
    ):
        yield Scenario(name, Best.CORRECT, Subject.SECRETS, once(says), "RFC 9110 §15.4", headers=headers)
    yield Scenario(
        "to another host, user and password in the address",
        Best.CORRECT,
        Subject.SECRETS,
        once(away),
        "RFC 9110 §15.4",
        userinfo="hush:hush",
    )
    yield Scenario(
        "to another host after half, with Authorization",
        Best.CORRECT,
        Subject.SECRETS,
        (Stage(Serve(), turn=Turn(4 * 1024 * 1024, away)),),
        "RFC 9110 §15.4",
        headers=secret,
    )
    yield Scenario(
        "from https to http, with Authorization",
        Best.ERROR,
        Subject.SECRETS,
        once(away),
        "RFC 9110 §17.9",
        tls=True,
        headers=secret,
    )
    nowhere: tuple[tuple[str, Says], ...] = (
        ("to a file of the user's own", RedirectTo("file:///etc/hostname")),
        ("to data:", RedirectTo("data:,forged")),
        ("in a circle", RedirectToItself()),
        ("without a Location", RedirectNowhere()),
        ("to two places at once", RedirectBothWays()),
    )
    for name, leading in nowhere:
        yield Scenario(name, Best.ERROR, Subject.SECRETS, once(leading), "RFC 9110 §15.4")


NAMES: Final = tuple(_names())
SECRETS: Final = tuple(_secrets())
