"""Code that gives up after an hour, tested in a moment: downloads that do as they are told, and time that jumps."""

import trio
import trio.testing

import trio_dlm
from trio_dlm import DownloadManager, DownloadRequest, DownloadStatus
from trio_dlm.testing import ScriptedDownloader, use_virtual_time


async def fetch_within(manager: DownloadManager, requests: list[DownloadRequest], seconds: float) -> list[str]:
    """The code that is tested: tells how each download has ended, and cancels those that take too long."""
    batch = await manager.submit_many(requests)
    with trio.move_on_after(seconds) as limit:
        await batch.wait()
    if limit.cancelled_caught:
        await batch.cancel("not within the hour")
    return [status.value for status in await batch.wait()]


async def test_what_takes_too_long_is_cancelled() -> None:
    names = ["good", "broken", "slow", "last"]
    requests = [DownloadRequest(f"https://example.org/{name}", correlation_id=name) for name in names]

    scripted = ScriptedDownloader()
    scripted.gate("good").grant(1000)
    scripted.gate("good").finish()
    scripted.gate("broken").fail(OSError("no route to host"))
    # It is told nothing, so it waits; and when it is cancelled it takes its time.
    scripted.gate("slow").shield(30)

    async with trio_dlm.open_manager(1, downloader=scripted) as manager:
        ended = await fetch_within(manager, requests, 3600)
        assert ended == ["completed", "failed", "cancelled", "cancelled"]
        assert manager.get_task("good").progress.received_bytes == 1000
        assert manager.get_task("last").attempts == 0
    assert scripted.peak == 1
    assert trio.current_time() == 3600 + 30


async def test_a_slot_goes_to_the_next_when_one_ends() -> None:
    scripted = ScriptedDownloader()
    async with trio_dlm.open_manager(1, downloader=scripted) as manager:
        first = await manager.submit("https://example.org/1")
        second = await manager.submit("https://example.org/2")
        await trio.testing.wait_all_tasks_blocked()
        assert scripted.bodies == [first.correlation_id]

        scripted.gate(first.correlation_id).finish()
        assert await first.wait() is DownloadStatus.COMPLETED
        await trio.testing.wait_all_tasks_blocked()
        assert scripted.bodies == [second.correlation_id]
        scripted.gate(second.correlation_id).finish()


for test in (test_what_takes_too_long_is_cancelled, test_a_slot_goes_to_the_next_when_one_ends):
    trio.run(test, clock=use_virtual_time())
    print("passed:", test.__name__)
