"""The id of a download follows its code into child tasks and threads, and is on every log record."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trio

import trio_dlm
from trio_dlm._context import CORRELATION_ID, CorrelationIdFilter, current_correlation_id, logger

SOURCE: Final = Path(next(iter(trio_dlm.__path__)))


@pytest.fixture
def within() -> Iterator[str]:
    """Run the test inside the download with this id."""
    token = CORRELATION_ID.set("0123abcd")
    yield "0123abcd"
    CORRELATION_ID.reset(token)


def record(**extra: object) -> logging.LogRecord:
    made = logging.LogRecord("any", logging.INFO, __file__, 1, "message", (), None)
    vars(made).update(extra)
    return made


def test_outside_of_a_download_there_is_no_id() -> None:
    assert current_correlation_id() is None


def test_inside_of_a_download_there_is_its_id(within: str) -> None:
    assert current_correlation_id() == within


def test_the_filter_lets_every_record_pass_with_the_id_on_it(within: str) -> None:
    made = record()
    assert CorrelationIdFilter().filter(made) is True
    assert vars(made)["correlation_id"] == within


def test_outside_of_a_download_the_filter_writes_a_dash() -> None:
    made = record()
    assert CorrelationIdFilter().filter(made) is True
    assert vars(made)["correlation_id"] == "-"


def test_a_record_that_brought_its_own_id_keeps_it(within: str) -> None:
    made = record(correlation_id="other")
    assert CorrelationIdFilter().filter(made) is True
    assert vars(made)["correlation_id"] == "other"


def test_the_records_of_the_library_carry_the_id_without_any_setup(
    within: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger.name):
        logger.info("one")
        logger.info("two", extra={"correlation_id": "other"})
        CORRELATION_ID.set(None)
        logger.info("three")
    assert [vars(each)["correlation_id"] for each in caplog.records] == [within, "other", "-"]


def test_a_handler_with_the_filter_has_the_id_on_the_records_of_others(within: str) -> None:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Lines()
    handler.addFilter(CorrelationIdFilter())
    handler.setFormatter(logging.Formatter("%(correlation_id)s %(message)s"))
    foreign = logging.getLogger("somebody.else")
    foreign.addHandler(handler)
    try:
        foreign.warning("hello")
    finally:
        foreign.removeHandler(handler)
    assert lines == [f"{within} hello"]


def test_no_room_has_a_logger_of_its_own() -> None:
    # A filter of a logger does not see the records of the loggers below it.
    makes_one = re.compile(r"getLogger\((?:__name__|[\"']trio_dlm)|logger\.getChild")
    found = [path.name for path in SOURCE.rglob("*.py") if makes_one.search(path.read_text("utf-8"))]
    assert found == ["_context.py"]


@pytest.mark.trio
async def test_child_tasks_of_a_download_have_its_id_and_others_have_none() -> None:
    seen: dict[str, str | None] = {}

    async def look(name: str) -> None:
        await trio.lowlevel.checkpoint()
        seen[name] = current_correlation_id()

    async def run(correlation_id: str) -> None:
        CORRELATION_ID.set(correlation_id)
        async with trio.open_nursery() as children:
            children.start_soon(look, f"child of {correlation_id}")
        await look(correlation_id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "a")
        nursery.start_soon(run, "b")
        nursery.start_soon(look, "outside")
    assert seen == {"a": "a", "child of a": "a", "b": "b", "child of b": "b", "outside": None}


@pytest.mark.trio
async def test_threads_of_a_download_have_its_id_there_and_back() -> None:
    async def run(correlation_id: str) -> list[str | None]:
        CORRELATION_ID.set(correlation_id)
        return await trio.to_thread.run_sync(
            lambda: [current_correlation_id(), trio.from_thread.run_sync(current_correlation_id)]
        )

    answers: dict[str, list[str | None]] = {}

    async def keep(correlation_id: str) -> None:
        answers[correlation_id] = await run(correlation_id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep, "a")
        nursery.start_soon(keep, "b")
    assert answers == {"a": ["a", "a"], "b": ["b", "b"]}
    assert current_correlation_id() is None
