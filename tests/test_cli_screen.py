"""Drawing anew on a terminal: what is permanent stays, the frame is replaced, and nothing else is touched."""

from __future__ import annotations

import os

import pytest
import trio
from rich.text import Text

from tests.command import Glass, Memory
from trio_dlm.cli._output import Output
from trio_dlm.cli._screen import DEFAULT_SIZE, Screen

COLUMNS = 20


class Stand:
    """A screen, and the terminal that it draws on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.glass = Glass(COLUMNS)
        self.stream = Memory()
        monkeypatch.setattr(Screen, "size", property(lambda _: os.terminal_size((self.glass.columns, 24))))
        self.screen = Screen(self.stream, Output(self.stream))

    async def draw(self, permanent: list[str], frame: list[str]) -> list[str]:
        await self.screen.draw([Text(line) for line in permanent], [Text(line) for line in frame])
        self.glass.feed(self.stream.getvalue())
        self.stream.seek(0)
        self.stream.truncate()
        return self.glass.lines


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(monkeypatch)


async def test_a_frame_replaces_the_one_before_also_if_it_is_higher_or_lower(stand: Stand) -> None:
    assert await stand.draw([], ["one", "two", "three"]) == ["one", "two", "three"]
    assert await stand.draw([], ["four"]) == ["four"]
    assert await stand.draw([], ["5", "six"]) == ["5", "six"]
    assert await stand.draw([], []) == [""]


async def test_what_is_permanent_stands_above_the_frame_and_stays(stand: Stand) -> None:
    await stand.draw([], ["running", "all"])
    assert await stand.draw(["a done"], ["running", "all"]) == ["a done", "running", "all"]
    assert await stand.draw(["b done", "c done"], ["all"]) == ["a done", "b done", "c done", "all"]
    assert await stand.draw([], []) == ["a done", "b done", "c done", ""]


async def test_a_frame_as_wide_as_the_terminal_does_not_wrap(stand: Stand) -> None:
    wide = ["x" * COLUMNS, "日" * (COLUMNS // 2)]
    await stand.draw([], wide)
    assert len(await stand.draw([], wide)) == 2


async def test_a_frame_that_is_too_wide_is_cut_and_not_wrapped(stand: Stand) -> None:
    (line,) = await stand.draw([], ["abcdefghij" * 3])
    assert line == "abcdefghijabc…efghij"


async def test_permanent_lines_are_broken_between_words_and_indented(stand: Stand) -> None:
    lines = await stand.draw(["the server answered 404 Not Found; check the URL"], ["all"])
    assert lines == ["the server", "  answered 404 Not", "  Found; check the", "  URL", "all"]


async def test_a_terminal_that_became_narrower_is_left_without_rests(stand: Stand) -> None:
    await stand.draw(["done"], ["x" * 18, "y" * 12, "z" * 20])
    stand.glass.resize(7)
    assert await stand.draw([], ["X", "Z"]) == ["done", "X", "Z"]


async def test_after_the_process_was_stopped_the_frame_begins_below_what_the_shell_wrote(stand: Stand) -> None:
    await stand.draw([], ["one", "two"])
    stand.glass.feed("^Z\r\n[1]+ Stopped\r\n")
    stand.screen.forget()
    assert await stand.draw([], ["one", "two"]) == ["one", "^Zo", "[1]+ Stopped", "one", "two"]


async def test_an_echo_of_ctrl_c_does_not_push_the_frame(stand: Stand) -> None:
    await stand.draw([], ["one", "x" * COLUMNS])
    stand.glass.feed("^C")
    assert await stand.draw(["stopped"], []) == ["stopped", ""]


async def test_a_frame_is_one_write_and_leaves_the_terminal_as_it_was(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[str] = []
    monkeypatch.setattr(stand.stream, "write", writes.append)
    await stand.draw(["done"], ["one", "two"])
    assert len(writes) == 1
    assert writes[0].endswith("\x1b[?7h")
    assert "\x1b[?25" not in writes[0], "the cursor is not hidden"


async def test_drawing_is_not_interrupted_by_a_cancellation(stand: Stand) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await stand.draw(["done"], ["all"]) == ["done", "all"]


async def test_colours_are_not_used_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for wanted in (True, False):
        if not wanted:
            monkeypatch.setenv("NO_COLOR", "1")
        stream = Memory()
        await Screen(stream, Output(stream)).draw([Text("red", "red")], [])
        assert ("\x1b[31m" in stream.getvalue()) is wanted


def test_a_stream_that_has_no_size_is_given_one() -> None:
    assert Screen(Memory(), Output(Memory())).size == DEFAULT_SIZE


@pytest.mark.parametrize(
    ("encoding", "is_ascii"), [("utf-8", False), ("ascii", True), ("latin-1", True), ("no such", True)]
)
def test_bars_are_ascii_where_the_encoding_has_no_blocks(encoding: str, is_ascii: bool) -> None:
    stream = Memory()
    stream.encoding = encoding
    assert Screen(stream, Output(Memory())).is_ascii is is_ascii
