"""The meter counts what is reported and nothing else, and its rate is that of the flow."""

from __future__ import annotations

import math
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm._meter import FOLD_EVERY_S, SHORTEST_HISTORY_S, TIME_CONSTANT_S, ProgressMeter
from trio_dlm._records import NO_PROGRESS, PartProgress, Progress
from trio_dlm._status import DownloadPhase

MIB: Final = 1024 * 1024


class Bench:
    """A meter with a clock that is turned by hand, and a count of what its watchers were told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks = 0
        self.changes = 0
        self.meter = ProgressMeter(self._look, self._count)

    def _look(self) -> float:
        self.looks += 1
        return self.now

    def _count(self) -> None:
        self.changes += 1

    def advance_after(self, seconds: float, size_bytes: int) -> None:
        self.now += seconds
        self.meter.advance(size_bytes)

    def flow(self, rate: int, seconds: float, *, pieces: int) -> None:
        """Bytes arrive at a constant rate, in *pieces* equal pieces."""
        start, done = self.now, 0
        for piece in range(1, pieces + 1):
            self.now = start + seconds * piece / pieces
            so_far = round(rate * seconds * piece / pieces)
            self.meter.advance(so_far - done)
            done = so_far

    @property
    def rate(self) -> float:
        return self.meter.rate_bytes_per_s


@pytest.fixture
def bench() -> Bench:
    """Return a meter whose run is open."""
    opened = Bench()
    opened.meter.open_run(keep_received=False)
    return opened


@pytest.fixture
def transfer(bench: Bench) -> Bench:
    """Return a meter whose transfer has just begun, of a file of 1000 MiB."""
    bench.meter.begin(0, 1000 * MIB)
    return bench


# Counting.


def test_before_its_first_run_a_meter_shows_no_progress() -> None:
    assert Bench().meter.read() == NO_PROGRESS


def test_a_run_starts_connecting_with_nothing(bench: Bench) -> None:
    assert bench.meter.read() == Progress(phase=DownloadPhase.CONNECTING)
    assert bench.changes == 0


def test_begin_states_what_is_there_and_what_will_be(bench: Bench) -> None:
    bench.meter.begin(300, 1000)
    progress = bench.meter.read()
    assert (progress.received_bytes, progress.total_bytes, progress.phase) == (300, 1000, DownloadPhase.TRANSFERRING)
    assert (bench.meter.received_bytes, bench.meter.total_bytes) == (300, 1000)
    assert bench.meter.arrived_bytes == 0
    assert bench.changes == 1


def test_every_piece_is_added_and_told(bench: Bench) -> None:
    bench.meter.begin(300, None)
    for size_bytes in (5, 0, 7):
        bench.advance_after(0.01, size_bytes)
    assert bench.meter.received_bytes == 312
    assert bench.meter.arrived_bytes == 12
    assert bench.changes == 4


def test_a_piece_without_begin_starts_the_transfer(bench: Bench) -> None:
    bench.meter.advance(7)
    assert bench.meter.read().phase is DownloadPhase.TRANSFERRING
    assert bench.meter.received_bytes == 7


def test_beginning_again_may_fall_back_and_counts_on_what_arrived(bench: Bench) -> None:
    bench.meter.begin(0, 1000)
    bench.meter.advance(600)
    bench.meter.begin(100, 900)
    bench.meter.advance(50)
    assert (bench.meter.received_bytes, bench.meter.total_bytes) == (150, 900)
    assert bench.meter.arrived_bytes == 650


def test_a_negative_number_of_bytes_is_refused_and_changes_nothing(transfer: Bench) -> None:
    with pytest.raises(ValueError, match=r"advance\(\) takes a number of bytes from 0 up, got -1"):
        transfer.meter.advance(-1)
    with pytest.raises(ValueError, match="received_bytes is a number of bytes from 0 up, got -1"):
        transfer.meter.begin(-1)
    assert transfer.meter.received_bytes == 0
    assert transfer.changes == 1


def test_what_a_downloader_sets_is_shown_and_told_once(bench: Bench) -> None:
    part = PartProgress(0, 1, None)
    for _ in range(2):
        bench.meter.phase = DownloadPhase.VERIFYING
        bench.meter.total_bytes = 1000
        bench.meter.retries = 2
        bench.meter.parts = (part,)
    progress = bench.meter.read()
    assert (progress.phase, progress.total_bytes, progress.retries, progress.parts) == (
        bench.meter.phase,
        bench.meter.total_bytes,
        bench.meter.retries,
        bench.meter.parts,
    )
    assert (progress.phase, progress.total_bytes) == (DownloadPhase.VERIFYING, 1000)
    assert (progress.retries, progress.parts) == (2, (part,))
    assert bench.changes == 4


def test_the_reader_may_know_the_phase_better(transfer: Bench) -> None:
    assert transfer.meter.read(DownloadPhase.STOPPING).phase is DownloadPhase.STOPPING
    assert transfer.meter.read().phase is DownloadPhase.TRANSFERRING


@pytest.mark.parametrize("ended", [False, True], ids=["before the first run", "after the end"])
def test_a_report_outside_of_a_run_is_ignored(ended: bool) -> None:
    bench = Bench()
    if ended:
        bench.meter.open_run(keep_received=False)
        bench.meter.begin(0, 100)
        bench.advance_after(1, 100)
        bench.meter.close_run()
    before, changes = bench.meter.read(), bench.changes
    bench.now += 1
    bench.meter.begin(5, 50)
    bench.meter.advance(10)
    bench.meter.phase = DownloadPhase.MERGING
    bench.meter.total_bytes = 7
    bench.meter.retries = 9
    bench.meter.parts = (PartProgress(0, 0, None),)
    assert bench.meter.read() == before
    assert bench.meter.arrived_bytes == before.received_bytes
    assert bench.changes == changes


def test_a_run_that_ended_has_no_parts_in_flight(transfer: Bench) -> None:
    transfer.meter.parts = (PartProgress(0, 1, 2),)
    transfer.meter.close_run()
    assert transfer.meter.read().parts == ()


def test_a_new_run_that_goes_on_keeps_what_is_there(transfer: Bench) -> None:
    transfer.meter.advance(600)
    transfer.meter.retries = 3
    transfer.meter.close_run()
    transfer.meter.open_run(keep_received=True)
    progress = transfer.meter.read()
    assert (progress.received_bytes, progress.total_bytes) == (600, 1000 * MIB)
    assert (progress.retries, progress.phase) == (0, DownloadPhase.CONNECTING)
    assert transfer.meter.arrived_bytes == 0


def test_a_new_run_that_starts_over_counts_from_zero(transfer: Bench) -> None:
    transfer.meter.advance(600)
    transfer.meter.close_run()
    transfer.meter.open_run(keep_received=False)
    assert transfer.meter.read() == Progress(phase=DownloadPhase.CONNECTING)


def test_what_is_thrown_away_is_forgotten(transfer: Bench) -> None:
    transfer.meter.advance(600)
    transfer.meter.close_run()
    transfer.meter.forget()
    assert (transfer.meter.received_bytes, transfer.meter.total_bytes) == (0, None)


def test_the_size_of_the_whole_file_settles_what_was_reported(transfer: Bench) -> None:
    transfer.meter.advance(600)
    transfer.meter.close_run()
    transfer.meter.settle(size_bytes=700)
    progress = transfer.meter.read()
    assert (progress.received_bytes, progress.total_bytes, progress.fraction) == (700, 700, 1.0)


def test_after_the_last_run_nobody_is_told_anything(transfer: Bench) -> None:
    told = transfer.changes
    transfer.meter.disconnect()
    transfer.meter.advance(5)
    assert transfer.changes == told
    assert transfer.meter.received_bytes == 5


def test_a_report_looks_at_the_clock_once(bench: Bench) -> None:
    for seconds in (0, 0.01, FOLD_EVERY_S, 10):
        looks = bench.looks
        bench.advance_after(seconds, 5)
        assert bench.looks == looks + 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["advance", "read", "phase", "total"]), st.integers(0, 10**12), st.floats(0, 100)),
        max_size=30,
    )
)
def test_received_bytes_never_fall_within_a_transfer(steps: list[tuple[str, int, float]]) -> None:
    bench = Bench()
    bench.meter.open_run(keep_received=False)
    bench.meter.begin(17)
    received = 17
    for kind, number, seconds in steps:
        bench.now += seconds
        if kind == "advance":
            bench.meter.advance(number)
            received += number
        elif kind == "phase":
            bench.meter.phase = DownloadPhase.RETRYING
        elif kind == "total":
            bench.meter.total_bytes = number
        assert bench.meter.read().received_bytes == received
    assert bench.meter.arrived_bytes == received - 17


# The rate.


@pytest.mark.parametrize("piece_s", [0.001, 0.02, 0.1, 0.25, 1.0, 7.0])
@pytest.mark.parametrize("seconds", [1, 20])
def test_a_constant_flow_has_its_own_rate_from_the_start(transfer: Bench, piece_s: float, seconds: int) -> None:
    for _ in range(max(1, round(seconds / piece_s))):
        transfer.advance_after(piece_s, round(MIB * piece_s))
        if transfer.now - 1000 > SHORTEST_HISTORY_S * 1.1:
            assert transfer.rate == pytest.approx(round(MIB * piece_s) / piece_s, rel=1e-6)


def test_the_first_read_is_not_taken_for_a_flow(bench: Bench) -> None:
    # The kernel had buffered it before anybody looked at the clock.
    bench.meter.begin(0, MIB)
    bench.advance_after(0.000_001, 65_536)
    assert bench.rate == pytest.approx(65_536 / SHORTEST_HISTORY_S, rel=1e-3)


def test_before_the_first_byte_the_rate_is_zero(bench: Bench) -> None:
    assert bench.rate == 0
    bench.meter.begin(0, MIB)
    assert bench.rate == 0
    bench.now += 3
    assert bench.rate == 0


def test_the_rate_follows_a_change_of_the_flow(transfer: Bench) -> None:
    transfer.flow(MIB, 20, pieces=400)
    transfer.flow(3 * MIB, TIME_CONSTANT_S, pieces=100)
    # After one time constant of it the new flow counts for 63 %.
    assert transfer.rate == pytest.approx((3 - 2 * math.exp(-1)) * MIB, rel=0.02)
    transfer.flow(3 * MIB, 10 * TIME_CONSTANT_S, pieces=1000)
    assert transfer.rate == pytest.approx(3 * MIB, rel=1e-3)


def test_at_a_stall_the_rate_falls_to_nothing(transfer: Bench) -> None:
    transfer.flow(10 * MIB, 20, pieces=2000)
    rates = []
    for _ in range(100):
        transfer.now += 1
        rates.append(transfer.rate)
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(10 * MIB * math.exp(-1 / TIME_CONSTANT_S), rel=0.01)
    assert rates[29] < 10 * MIB / 300
    assert rates[-1] < 0.1


def test_at_a_stall_it_does_not_matter_that_the_last_piece_was_not_yet_folded(transfer: Bench) -> None:
    transfer.flow(10 * MIB, 20, pieces=2000)
    transfer.advance_after(FOLD_EVERY_S / 2, MIB // 2)
    transfer.now += 100
    assert transfer.rate < 0.1


@pytest.mark.parametrize("silence_s", [60, 3600, 86_400 * 365])
def test_after_a_stall_the_rate_climbs_again(transfer: Bench, silence_s: float) -> None:
    transfer.flow(MIB, 20, pieces=200)
    transfer.advance_after(silence_s, MIB)
    assert 0 < transfer.rate < MIB / 10
    transfer.flow(MIB, 30, pieces=300)
    assert transfer.rate == pytest.approx(MIB, rel=0.01)


def test_right_after_a_resume_what_was_there_does_not_count(transfer: Bench) -> None:
    transfer.flow(MIB, 20, pieces=200)
    transfer.meter.close_run()
    transfer.now += 3600
    transfer.meter.open_run(keep_received=True)
    assert transfer.rate == 0
    transfer.meter.begin(20 * MIB, 1000 * MIB)
    assert transfer.rate == 0
    transfer.advance_after(0.5, MIB)
    assert transfer.rate == pytest.approx(2 * MIB)


def test_a_retry_within_a_run_measures_anew(transfer: Bench) -> None:
    transfer.flow(10 * MIB, 20, pieces=200)
    transfer.meter.phase = DownloadPhase.RETRYING
    transfer.now += 5
    transfer.meter.begin(200 * MIB, 1000 * MIB)
    assert transfer.rate == 0
    transfer.flow(MIB, 1, pieces=10)
    assert transfer.rate == pytest.approx(MIB)


@pytest.mark.parametrize("pieces", [2, 10, 1000])
def test_pieces_at_one_instant_count_as_one(transfer: Bench, pieces: int) -> None:
    for _ in range(50):
        transfer.now += 0.5
        for _ in range(pieces):
            transfer.meter.advance(1000)
    # The first of each burst closes the interval, the rest open the next one.
    transfer.now += 0.5
    transfer.meter.advance(0)
    assert transfer.rate == pytest.approx(1000 * pieces / 0.5, rel=0.05)


def test_a_burst_at_the_start_gives_a_finite_rate(bench: Bench) -> None:
    for _ in range(100):
        bench.meter.advance(MIB)
    assert bench.rate == 100 * MIB / SHORTEST_HISTORY_S


def test_a_clock_that_stands_still_or_goes_back_does_no_harm(transfer: Bench) -> None:
    transfer.flow(MIB, 10, pieces=100)
    before = transfer.rate
    transfer.now -= 5
    transfer.meter.advance(0)
    assert transfer.rate == pytest.approx(before)


def test_looking_does_not_change_the_rate() -> None:
    seen, unseen = Bench(), Bench()
    for each in (seen, unseen):
        each.meter.open_run(keep_received=False)
        each.meter.begin()
    for step in range(200):
        for each in (seen, unseen):
            each.now += 0.03 + step % 7 * 0.05
            if each is seen:
                each.meter.read()
            if step % 5:
                each.meter.advance(step * 1000)
    assert seen.rate == unseen.rate > 0


@given(
    pieces=st.lists(
        st.tuples(st.floats(0.001, 60), st.integers(0, 10**10)),
        min_size=1,
        max_size=40,
    ),
)
def test_the_rate_is_between_the_slowest_and_the_fastest_of_the_flow(pieces: list[tuple[float, int]]) -> None:
    bench = Bench()
    bench.now = 0.0
    bench.meter.open_run(keep_received=False)
    bench.meter.begin()
    flow = []
    for seconds, rate in pieces:
        size_bytes = round(seconds * rate)
        before = bench.now
        bench.advance_after(seconds, size_bytes)
        flow.append(size_bytes / (bench.now - before))
        if bench.now > SHORTEST_HISTORY_S * 1.1:
            assert min(flow) * (1 - 1e-6) <= bench.rate <= max(flow) * (1 + 1e-6)


@given(
    pieces=st.lists(st.tuples(st.floats(0, 10), st.integers(0, 10**10)), max_size=20),
    silences=st.lists(st.floats(0.1, 1e7), max_size=5),
)
def test_silence_never_raises_the_rate(pieces: list[tuple[float, int]], silences: list[float]) -> None:
    bench = Bench()
    bench.meter.open_run(keep_received=False)
    bench.meter.begin()
    for seconds, size_bytes in pieces:
        bench.advance_after(seconds, size_bytes)
    # A piece that has just come has its full weight; only from then on is there silence.
    bench.now += SHORTEST_HISTORY_S
    rate = bench.rate
    for seconds in silences:
        bench.now += seconds
        assert 0 <= bench.rate <= rate * (1 + 1e-9)
        rate = bench.rate


# The mean, once a run has ended.


def test_an_ended_download_has_the_mean_rate_of_its_run(transfer: Bench) -> None:
    transfer.flow(MIB, 10, pieces=100)
    transfer.now += 10
    transfer.meter.close_run()
    transfer.now += 1000
    assert transfer.rate == pytest.approx(MIB / 2)


def test_the_mean_counts_a_whole_run_with_its_retries_and_nothing_of_the_run_before(transfer: Bench) -> None:
    transfer.flow(9 * MIB, 10, pieces=100)
    transfer.meter.close_run()
    transfer.meter.open_run(keep_received=True)
    transfer.now += 5
    transfer.meter.begin(90 * MIB)
    transfer.flow(MIB, 4, pieces=10)
    transfer.meter.begin(90 * MIB)
    transfer.flow(MIB, 6, pieces=10)
    transfer.meter.close_run()
    assert transfer.rate == pytest.approx(MIB)


def test_a_run_without_a_byte_or_without_a_moment_has_no_mean(bench: Bench) -> None:
    bench.now += 1
    bench.meter.close_run()
    assert bench.rate == 0
    bench.meter.open_run(keep_received=False)
    bench.meter.advance(MIB)
    bench.meter.close_run()
    assert bench.rate == 0


# The time that is left.


def test_the_time_left_is_what_is_missing_at_this_rate(transfer: Bench) -> None:
    transfer.flow(MIB, 10, pieces=100)
    assert transfer.meter.read().eta_s == pytest.approx(990)


def test_of_an_unknown_total_nobody_knows_the_time_left(bench: Bench) -> None:
    bench.meter.begin()
    bench.flow(MIB, 10, pieces=100)
    assert bench.meter.read().eta_s is None


def test_before_anything_moves_nobody_knows_the_time_left(transfer: Bench) -> None:
    assert transfer.meter.read().eta_s is None


def test_at_a_stall_nobody_knows_the_time_left(transfer: Bench) -> None:
    transfer.flow(MIB, 10, pieces=100)
    transfer.now += 120
    assert transfer.meter.read().eta_s is None


@pytest.mark.parametrize("total", [0, 10, 20], ids=["empty", "more than announced", "exactly"])
def test_when_all_has_arrived_nothing_is_left(bench: Bench, total: int) -> None:
    bench.meter.begin(0, total)
    bench.advance_after(1, 20)
    assert bench.meter.read().eta_s == 0


def test_an_ended_download_has_no_time_left(transfer: Bench) -> None:
    transfer.flow(MIB, 10, pieces=100)
    transfer.meter.close_run()
    assert transfer.meter.read().eta_s is None


@given(received=st.integers(0, 10**12), total=st.none() | st.integers(0, 10**12), rate=st.integers(0, 10**9))
def test_the_time_left_is_never_negative_and_known_only_with_a_total(
    received: int, total: int | None, rate: int
) -> None:
    bench = Bench()
    bench.meter.open_run(keep_received=False)
    bench.meter.begin(received, total)
    bench.advance_after(1, rate)
    eta_s = bench.meter.read().eta_s
    assert eta_s is None or (eta_s >= 0 and total is not None)
