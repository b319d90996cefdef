"""A reply whose body is being read, on a clock that jumps: what is handed over, when, and what gives up."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from trio_dlm._errors import IncompleteBodyError, StalledError, TooSlowError
from trio_dlm._rate import RateLimit
from trio_dlm.downloaders.http.client._exchange import BATCH_BYTES, BATCH_S, Exchange
from trio_dlm.downloaders.http.rules._address import parse_address
from trio_dlm.downloaders.http.rules._head import ReplyHead
from trio_dlm.downloaders.http.rules._pace import Pace

pytestmark = pytest.mark.virtual_time

HEAD = ReplyHead(address=parse_address("http://example.org/a"), status=200, phrase="OK", version="HTTP/1.1", fields=())


class RemoteProtocolError(Exception):
    """What the library calls a body that breaks off."""


class Body:
    """A body of which each chunk takes its time to come; math.inf never comes."""

    def __init__(self, *chunks: tuple[float, bytes | Exception]) -> None:
        self.chunks = list(chunks)
        self.reads = 0

    async def __anext__(self) -> bytes:
        self.reads += 1
        if not self.chunks:
            await trio.lowlevel.checkpoint()
            raise StopAsyncIteration
        delay_s, chunk = self.chunks.pop(0)
        await trio.sleep(delay_s)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk


def exchange(
    *chunks: tuple[float, bytes | Exception],
    timeout_s: float = 30.0,
    pace: Pace | None = None,
    limiter: RateLimit | None = None,
) -> Exchange:
    return Exchange(HEAD, Body(*chunks), __name__, timeout_s, pace=pace, limiter=limiter)


def nobody(_: int) -> None:
    pass


async def batches(each: Exchange, *, length: int | None = None, most: int | None = None) -> list[bytes]:
    """Read to the end and return the batches."""
    found: list[bytes] = []
    while True:
        chunks, is_done = await each.read_batch(nobody, length=length, most=most)
        found.append(b"".join(chunks))
        if is_done:
            return found


# Batches.


async def test_a_batch_holds_what_comes_within_its_time() -> None:
    quick = (BATCH_S / 2, b"x")
    each = exchange(quick, quick, quick, (5.0, b"late"), (0.0, b"r"))
    assert await batches(each) == [b"xx", b"x" + b"late", b"r"]
    assert each.received_bytes == 8
    assert each.has_ended


async def test_a_full_batch_is_handed_over_at_once() -> None:
    chunk = bytes(BATCH_BYTES // 4)
    assert [len(batch) for batch in await batches(exchange(*[(0.0, chunk)] * 9))] == [
        BATCH_BYTES,
        BATCH_BYTES,
        BATCH_BYTES // 4,
    ]


async def test_every_read_is_reported() -> None:
    sizes: list[int] = []
    each = exchange((0.0, b"abc"), (0.0, b"de"))
    assert await each.read_batch(sizes.append, length=None) == ([b"abc", b"de"], True)
    assert sizes == [3, 2]


# Only so much.


async def test_no_more_is_handed_over_than_is_wanted() -> None:
    each = exchange((0.0, b"abc"), (0.0, b"defg"), (math.inf, b""))
    assert await each.read_batch(nobody, length=100, most=5) == ([b"abc", b"de"], True)
    assert (each.received_bytes, each.has_ended) == (5, False)


async def test_nothing_that_came_behind_is_lost_when_more_is_wanted() -> None:
    each = exchange((0.0, b"abcdefghij"), (0.0, b"klmno"))
    found = b""
    for most in (4, 2, 7, 12, None):
        found += b"".join(await batches(each, length=15, most=most))
    assert found == b"abcdefghijklmno"
    assert each.has_ended


@pytest.mark.parametrize("most", [3, 4])
async def test_a_body_of_which_all_is_wanted_is_read_to_its_end(most: int) -> None:
    each = exchange((0.0, b"abc"))
    assert await batches(each, length=3, most=most) == [b"abc"]
    assert each.has_ended


async def test_a_body_that_ends_before_what_is_wanted_has_ended() -> None:
    each = exchange((0.0, b"abc"))
    assert await batches(each, length=None, most=10) == [b"abc"]
    assert each.has_ended


async def test_asking_for_no_more_is_a_checkpoint() -> None:
    each = exchange((0.0, b"abc"))
    with trio.testing.assert_checkpoints():
        assert await each.read_batch(nobody, length=3, most=0) == ([], True)


# What is read is never lost.


async def test_a_cancelled_batch_keeps_what_it_had() -> None:
    each = exchange((0.0, b"abc"), (0.0, b"def"), (math.inf, b""))
    with trio.move_on_after(1.0):
        await each.read_batch(nobody, length=None)
    assert each.take_rest() == [b"abc", b"def"]
    assert each.take_rest() == []
    assert each.received_bytes == 6


async def test_a_failed_batch_keeps_what_it_had() -> None:
    each = exchange((0.0, b"abc"), (0.0, RemoteProtocolError("broken")))
    with pytest.raises(IncompleteBodyError) as caught:
        await each.read_batch(nobody, length=10)
    assert caught.value.received_bytes == 3
    assert each.take_rest() == [b"abc"]


async def test_a_batch_that_its_reader_refuses_is_kept() -> None:
    def refuse(_: int) -> None:
        raise ZeroDivisionError

    each = exchange((0.0, b"abc"))
    with pytest.raises(ZeroDivisionError):
        await each.read_batch(refuse, length=None)
    assert each.take_rest() == [b"abc"]


async def test_what_was_handed_over_is_not_kept() -> None:
    each = exchange((0.0, b"abc"))
    await each.read_batch(nobody, length=None)
    assert each.take_rest() == []


async def test_what_came_behind_what_was_wanted_is_kept_too() -> None:
    each = exchange((0.0, b"abcdef"))
    await each.read_batch(nobody, length=10, most=2)
    assert each.take_rest() == [b"cdef"]
    assert each.received_bytes == 6


# Silence.


async def test_silence_is_given_up_and_what_had_come_is_kept() -> None:
    each = exchange((0.0, b"abc"), (30.5, b"late"))
    started = trio.current_time()
    with pytest.raises(StalledError, match="no further byte after the first 3 within 30 s") as caught:
        await each.read_batch(nobody, length=None)
    assert trio.current_time() - started == pytest.approx(30.0)
    assert caught.value.option == "timeout_s"
    assert each.take_rest() == [b"abc"]


async def test_every_byte_begins_a_new_silence() -> None:
    assert await batches(exchange(*[(29.5, b"x")] * 5)) == [b"x"] * 5 + [b""]


async def test_time_between_two_batches_is_no_silence() -> None:
    each = exchange((29.0, b"a"), (29.0, b"b"))
    await each.read_batch(nobody, length=None)
    await trio.sleep(1000)
    assert await each.read_batch(nobody, length=None) == ([b"b"], False)


# The least rate.


async def test_a_body_below_the_least_rate_is_given_up_when_its_window_ends() -> None:
    each = exchange(*[(0.7, b"x" * 69)] * 100, pace=Pace(100.0, 30.0))
    started = trio.current_time()
    with pytest.raises(StalledError, match=r"2898 bytes in 30 s are slower than min_rate_bytes_per_s=100"):
        await batches(each)
    assert trio.current_time() - started == pytest.approx(30.0)


async def test_a_body_that_pauses_below_the_least_rate_is_given_up_when_its_window_ends() -> None:
    each = exchange((10.0, b"x" * 2999), (25.0, b"x" * 1000), pace=Pace(100.0, 30.0))
    started = trio.current_time()
    with pytest.raises(StalledError, match=r"2999 bytes in 30 s .*lower min_rate_bytes_per_s"):
        await batches(each)
    assert trio.current_time() - started == pytest.approx(30.0)


async def test_a_read_that_ends_with_its_window_does_not_save_it() -> None:
    class Late(Body):
        async def __anext__(self) -> bytes:
            # The clock may be past the deadline before trio gets to cancel what has ended.
            with trio.CancelScope(shield=True):
                await trio.sleep(30.5)
            return b"x" * 2999

    each = Exchange(HEAD, Late(), __name__, 60.0, pace=Pace(100.0, 30.0))
    with pytest.raises(StalledError, match="2999 bytes in 30 s"):
        await each.read_batch(nobody, length=None)
    assert each.take_rest() == [b"x" * 2999]


async def test_a_body_that_never_comes_is_slower_than_any_rate() -> None:
    with pytest.raises(TooSlowError, match="0 bytes in 30 s"):
        await batches(exchange((math.inf, b""), pace=Pace(100.0, 30.0)))


async def test_a_body_above_the_least_rate_may_pause() -> None:
    each = exchange((1.0, b"x" * 3000), (29.5, b"y"), (29.5, b"x" * 3000), pace=Pace(100.0, 30.0))
    assert sum(map(len, await batches(each))) == 6001


async def test_time_between_two_batches_does_not_slow_a_body_down() -> None:
    each = exchange(*[(0.7, b"x" * 80)] * 100, pace=Pace(100.0, 30.0))
    for _ in range(100):
        assert await each.read_batch(nobody, length=None) == ([b"x" * 80], False)
        await trio.sleep(100)


# Rate limits.


async def test_a_rate_limit_is_kept_however_much_a_read_brings() -> None:
    limiter = RateLimit(10_000.0)
    each = exchange(*[(0.0, b"x" * 65_536)] * 3, limiter=limiter)
    started = trio.current_time()
    sizes = [(len(batch), trio.current_time() - started) for batch in await batches(each)]
    assert sum(size for size, _ in sizes) == 3 * 65_536
    assert trio.current_time() - started == pytest.approx(3 * 65_536 / 10_000, rel=0.02)


async def test_below_a_rate_limit_what_may_come_is_handed_over_as_it_comes() -> None:
    each = exchange((0.0, b"x" * 65_536), limiter=RateLimit(10_000.0))
    started = trio.current_time()
    received = 0
    is_done = False
    while not is_done:
        chunks, is_done = await each.read_batch(nobody, length=None)
        received += sum(map(len, chunks))
        assert received == each.received_bytes <= 1_000 + 10_000 * (trio.current_time() - started)
    assert received == 65_536


async def test_a_batch_does_not_wait_long_for_the_next_permission() -> None:
    limiter = RateLimit(10_000.0)
    each = exchange((0.0, b"x" * 65_536), limiter=limiter)
    # What was permitted meanwhile may come at once.
    await limiter.take(1)
    await trio.sleep(1.0)
    started = trio.current_time()
    # Another connection of the download has received very much.
    chunks, is_done = await each.read_batch(lambda _: limiter.owe(100_000), length=None)
    assert 0 < sum(map(len, chunks)) < 10_000
    assert not is_done
    assert trio.current_time() - started == pytest.approx(BATCH_S)


async def test_waiting_for_permission_is_neither_silence_nor_slowness() -> None:
    each = exchange(*[(0.1, b"x" * 100)] * 20, limiter=RateLimit(10.0), pace=Pace(100.0, 1.0), timeout_s=1.0)
    started = trio.current_time()
    assert sum(map(len, await batches(each))) == 2_000
    assert trio.current_time() - started > 190


async def test_a_silence_below_a_rate_limit_is_given_up_too() -> None:
    each = exchange((0.0, b"x"), (math.inf, b""), limiter=RateLimit(10_000.0))
    with pytest.raises(StalledError, match="after the first 1"):
        await batches(each)


async def test_without_permission_nothing_is_read() -> None:
    limiter = RateLimit(1000.0)
    limiter.owe(10_000)
    body = Body((0.0, b"x"))
    each = Exchange(HEAD, body, __name__, 30.0, limiter=limiter)
    with trio.move_on_after(9.0):
        await each.read_batch(nobody, length=None)
    assert body.reads == 0
    assert each.take_rest() == []


async def test_permission_that_was_not_used_is_given_back() -> None:
    # Each read is permitted far more than the byte that it brings.
    limiter = RateLimit(100_000.0)
    each = exchange(*[(0.0, b"x")] * 1000, limiter=limiter)
    started = trio.current_time()
    assert sum(map(len, await batches(each))) == 1000
    assert trio.current_time() - started < 0.1


async def test_a_read_that_fails_has_used_no_permission() -> None:
    limiter = RateLimit(1000.0)
    for _ in range(100):
        with pytest.raises(IncompleteBodyError):
            await exchange((0.0, RemoteProtocolError("broken")), limiter=limiter).read_batch(nobody, length=10)
    assert trio.current_time() < 1.0


async def test_what_is_taken_without_permission_is_owed() -> None:
    limiter = RateLimit(1000.0)
    each = exchange((0.0, b"x" * 5000), (math.inf, b""), limiter=limiter)
    with trio.move_on_after(0.5):
        await batches(each)
    handed_over = each.received_bytes
    rest = b"".join(each.take_rest())
    assert len(rest) == 5000 - handed_over
    assert each.received_bytes == 5000
    started = trio.current_time()
    await limiter.take(1)
    assert trio.current_time() - started == pytest.approx(len(rest) / 1000, rel=0.05)


async def test_a_limit_that_is_lifted_lets_the_rest_through_at_once() -> None:
    limiter = RateLimit(10.0)
    each = exchange((0.0, b"x" * 65_536), limiter=limiter)
    await each.read_batch(nobody, length=None)
    limiter.bytes_per_s = None
    started = trio.current_time()
    await batches(each)
    assert each.received_bytes == 65_536
    assert trio.current_time() == started


async def test_a_limit_and_an_end_that_is_wanted_go_together() -> None:
    each = exchange((0.0, b"x" * 5000), limiter=RateLimit(1000.0))
    assert len(b"".join(await batches(each, length=5000, most=700))) == 700
    assert each.received_bytes == 700
