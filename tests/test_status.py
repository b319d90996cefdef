"""The life cycle is the table, and nothing leaves a final state."""

from __future__ import annotations

from collections import deque
from itertools import product

import pytest

from trio_dlm._status import TRANSITIONS, DownloadPhase, DownloadStatus, check_transition

ALL = list(DownloadStatus)
FINAL = {DownloadStatus.COMPLETED, DownloadStatus.FAILED, DownloadStatus.CANCELLED}


def test_every_status_has_a_row_in_the_table() -> None:
    assert set(TRANSITIONS) == set(ALL)


def test_exactly_the_three_ends_are_final() -> None:
    assert {status for status in DownloadStatus if status.is_final} == FINAL


@pytest.mark.parametrize("status", [status for status in ALL if status in FINAL], ids=lambda status: status.value)
def test_a_final_status_has_no_way_out(status: DownloadStatus) -> None:
    assert not TRANSITIONS[status]


@pytest.mark.parametrize(("before", "after"), [*product(ALL, ALL)], ids=lambda status: status.value)
def test_a_step_is_allowed_exactly_if_it_is_in_the_table(before: DownloadStatus, after: DownloadStatus) -> None:
    if after in TRANSITIONS[before]:
        check_transition(before, after)
    else:
        with pytest.raises(AssertionError) as caught:
            check_transition(before, after)
        assert str(caught.value) == f"a download cannot go from {before.value} to {after.value}"


def test_no_status_follows_itself() -> None:
    assert not [status for status, following in TRANSITIONS.items() if status in following]


def test_only_a_running_download_can_complete_or_fail() -> None:
    for end in (DownloadStatus.COMPLETED, DownloadStatus.FAILED):
        assert [status for status in ALL if end in TRANSITIONS[status]] == [DownloadStatus.DOWNLOADING]


def test_a_download_starts_only_out_of_the_queue() -> None:
    assert [status for status in ALL if DownloadStatus.DOWNLOADING in TRANSITIONS[status]] == [DownloadStatus.PENDING]


def test_every_unfinished_download_can_be_cancelled() -> None:
    assert {status for status in ALL if DownloadStatus.CANCELLED in TRANSITIONS[status]} == set(ALL) - FINAL


def test_every_status_can_be_reached_from_the_queue() -> None:
    seen, ahead = {DownloadStatus.PENDING}, deque([DownloadStatus.PENDING])
    while ahead:
        new = TRANSITIONS[ahead.popleft()] - seen
        seen |= new
        ahead.extend(new)
    assert seen == set(ALL)


@pytest.mark.parametrize("member", ALL, ids=lambda status: status.value)
def test_a_status_is_a_lower_case_word(member: DownloadStatus) -> None:
    assert member.value == member.name.lower()
    assert DownloadStatus(member.value) is member


def test_a_phase_is_words_for_people() -> None:
    assert [phase.value for phase in DownloadPhase] == [
        "waiting",
        "extracting",
        "connecting",
        "transferring",
        "downloading video",
        "downloading audio",
        "waiting to retry",
        "verifying",
        "merging",
        "post-processing",
        "stopping",
        "ended",
    ]
