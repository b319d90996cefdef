"""A process that ends between any two calls of the system leaves what the next one can go on from, and nothing false.

The end is played: from one operation on nothing is done any more, and the descriptors are closed as the system does it.
Then the next run looks at what is there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.parts import OLD, digest_of, everything, wanted
from trio_dlm.downloaders.http.files import _record_file
from trio_dlm.downloaders.http.files._claim import Existing, Wanted, claim
from trio_dlm.downloaders.http.files._part import Part
from trio_dlm.downloaders.http.rules._spans import Spans
from trio_dlm.downloaders.http.rules._version import Validator, Version

# Many processes, each with files of its own, and nothing of it depends on the version of Python.
pytestmark = pytest.mark.slow

ONE = bytes(range(40))
TWO = bytes(range(100, 130))
BODIES = {'"1"': ONE, '"2"': TWO}


def version_of(tag: str, **changes: Any) -> Version:
    return replace(Version(Validator("etag", tag), total=len(BODIES[tag])), **changes)


class _EndedError(BaseException):
    """The process is no more."""


CALLS = ("open", "close", "unlink", "link", "rename", "replace", "pwrite", "ftruncate", "fchmod", "fsync", "fdatasync")


@dataclass
class Process:
    """One that lives for a number of operations; a write that is the last may do a part of its work."""

    operations: float
    torn: bool = False
    done: int = 0
    open_fds: set[int] = field(default_factory=set)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        try:
            with pytest.MonkeyPatch.context() as patch:
                for call in CALLS:
                    patch.setattr(os, call, self._stand_in(call, getattr(os, call)))
                yield
        finally:
            for fd in self.open_fds:
                os.close(fd)

    def _stand_in(self, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.done >= self.operations:
                if self.done == self.operations and self.torn and call == "pwrite":
                    real(args[0], args[1][: len(args[1]) // 2], *args[2:])
                self.done += 1
                raise _EndedError
            self.done += 1
            value = real(*args, **kwargs)
            if call == "open":
                self.open_fds.add(value)
            elif call == "close":
                self.open_fds.discard(args[0])
            return value

        return counted


def take(what: Wanted) -> Part:
    part = claim(what)
    assert isinstance(part, Part)
    return part


def write(part: Part, tag: str, *spans: tuple[int, int]) -> None:
    for start, stop in spans:
        body = BODIES[tag]
        middle = (start + stop) // 2
        part.write(start, [body[start:middle], body[middle:stop]])


def fetch_in_one_go(what: Wanted) -> None:
    part = take(what)
    part.begin(version_of('"1"'), set())
    write(part, '"1"', (0, 15), (15, 40))
    part.publish(len(ONE))


def fetch_in_segments_and_leave(what: Wanted) -> None:
    part = take(what)
    part.begin(version_of('"1"'), set())
    write(part, '"1"', (20, 30), (0, 10), (30, 35))
    part.leave()


def go_on_and_leave(what: Wanted) -> None:
    fetch_in_segments_and_leave(what)
    part = take(what)
    if part.go_on(version_of('"1"', digests=("sha256:00",)), set()):
        part.note()
    write(part, '"1"', (10, 15))
    part.leave()


def find_another_version(what: Wanted) -> None:
    fetch_in_segments_and_leave(what)
    part = take(what)
    part.begin(version_of('"2"'), set())
    write(part, '"2"', (0, 10), (20, 30))
    part.leave()


def find_another_version_and_then_the_first_again(what: Wanted) -> None:
    find_another_version(what)
    part = take(what)
    part.begin(version_of('"1"'), set())
    write(part, '"1"', (0, 5))
    part.leave()


def find_that_it_was_wrong(what: Wanted) -> None:
    fetch_in_segments_and_leave(what)
    part = take(what)
    part.forget()
    part.begin(version_of('"2"'), set())
    write(part, '"2"', (0, 10))
    part.forget()
    part.leave()


def fetch_what_nothing_proves(what: Wanted) -> None:
    fetch_in_segments_and_leave(what)
    part = take(what)
    part.begin(Version(), set())
    write(part, '"2"', (0, 30))
    part.publish(len(TWO))


STORIES = [
    fetch_in_one_go,
    fetch_in_segments_and_leave,
    go_on_and_leave,
    find_another_version,
    find_another_version_and_then_the_first_again,
    find_that_it_was_wrong,
    fetch_what_nothing_proves,
]


def ends(story: Callable[[Wanted], None], what: Wanted, directory: Path) -> Iterator[str]:
    """Tell *story* again and again, ending it one operation later each time, and yield after each where it was."""
    for number in range(1000):
        for torn in (False, True):
            for path in directory.iterdir():
                path.unlink()
            if what.overwrite is True:
                (directory / "a.iso").write_bytes(OLD)
            process = Process(number, torn=torn)
            try:
                with process.running():
                    story(what)
            except _EndedError:
                yield f"after {number} operations{', the next one torn' if torn else ''}"
            else:
                assert number > 10
                return
    pytest.fail("a story without an end")


def finish(what: Wanted) -> bytes:
    """Go on as the next run does, from what is really of the version that is said, and return the whole."""
    claimed = claim(what)
    if isinstance(claimed, Existing):
        return claimed.path.read_bytes()
    if claimed.version is None:
        claimed.begin(version_of('"2"'), set())
    assert claimed.version is not None
    # Where the digest is the only proof it is the second that was fetched.
    tag = '"2"' if claimed.version.validator is None else claimed.version.validator.text
    on_disk = claimed._places.part.read_bytes()
    for start, stop in claimed.held:
        assert on_disk[start:stop] == BODIES[tag][start:stop], f"bytes {start} to {stop} are not of {tag}"
    write(claimed, tag, *claimed.held.missing(len(BODIES[tag])))
    claimed.publish(len(BODIES[tag]))
    return claimed.path.read_bytes()


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="the operations of other systems have other names")
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize(
    "options",
    [{}, {"durability": "power"}, {"overwrite": True}, {"resume": False}, {"checksum": digest_of(ONE)}],
    ids=str,
)
def test_whenever_the_process_ends_the_next_one_goes_on(
    tmp_path: Path, story: Callable[[Wanted], None], options: dict[str, Any]
) -> None:
    what = wanted(tmp_path, **options)
    for where in ends(story, what, tmp_path):
        found = everything(tmp_path).get("a.iso")
        assert found in (None, ONE, TWO, OLD), where
        # Once it has its name, and nothing is left that could tell that we gave it, it is a file like any other.
        if found in (ONE, TWO) and not options.get("overwrite"):
            if options.get("resume", True) and (tmp_path / "a.iso.part").exists():
                assert finish(what) == found, where
            continue
        assert finish(what) in (ONE, TWO), where
        assert everything(tmp_path).keys() == {"a.iso"}, where


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="the operations of other systems have other names")
def test_a_list_of_ranges_that_is_put_together_is_right_at_every_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_record_file, "_MOST_LISTED_BYTES", 30)

    def fetch_byte_by_byte(what: Wanted) -> None:
        part = take(what)
        part.begin(version_of('"1"'), set())
        write(part, '"1"', *((at, at + 2) for at in range(0, 40, 2)))
        part.leave()

    what = wanted(tmp_path)
    most = 0
    for where in ends(fetch_byte_by_byte, what, tmp_path):
        record = tmp_path / "a.iso.part.json"
        most = max(most, record.stat().st_size if record.exists() else 0)
        assert finish(what) in (ONE, TWO), where
        assert everything(tmp_path).keys() == {"a.iso"}, where
    assert most < 700
    part = take(what)
    assert part.held == Spans(((0, 40),))
    part.leave()
