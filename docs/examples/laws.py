"""Whether a manager keeps its laws: one that is set up like yours, in random use, and any manager by its log."""

import logging

import trio
from hypothesis import given, settings

import trio_dlm
from trio_dlm import DownloadJob, DownloadResult
from trio_dlm.testing import LawBrokenError, Program, check_events, interpret, parse_log, programs, use_virtual_time


@settings(max_examples=50, deadline=None, database=None)
@given(programs())
def test_my_manager_keeps_its_laws(program: Program) -> None:
    async def main() -> None:
        async with trio_dlm.open_manager(max_pending=10, max_per_lane=2) as manager:
            await interpret(program, manager)

    trio.run(main, clock=use_virtual_time())


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def fetch(job: DownloadJob) -> DownloadResult:
    await trio.sleep(1)
    return DownloadResult(path=job.directory / job.correlation_id, size_bytes=0)


def test_what_was_logged_is_right() -> None:
    log = Records()
    logger = logging.getLogger("trio_dlm")
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)

    async def main() -> None:
        async with trio_dlm.open_manager(3, downloader=fetch) as manager:
            await manager.submit_many(f"https://example.org/{number}" for number in range(10))

    trio.run(main, clock=use_virtual_time())
    assert check_events(parse_log(log.records), limit=3, all_ended=True) == 10

    # The same log, held against a limit that it did not have.
    try:
        check_events(parse_log(log.records), limit=2)
    except LawBrokenError as exc:
        print(exc)


test_my_manager_keeps_its_laws()
test_what_was_logged_is_right()
