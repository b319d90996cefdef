"""Records are frozen, say how far a download is without dividing by nothing, and show no secrets."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm import _records
from trio_dlm._options import DownloadOptions
from trio_dlm._records import (
    NO_PROGRESS,
    DownloadRequest,
    DownloadResult,
    LaneStats,
    ManagerStats,
    PartProgress,
    Progress,
    TaskSnapshot,
)
from trio_dlm._status import DownloadPhase, DownloadStatus

NOW: Final = datetime(2025, 1, 1, tzinfo=UTC)

RECORDS: Final[list[Any]] = [
    DownloadRequest("https://example.org/a"),
    DownloadResult(path=Path("/a"), size_bytes=1),
    PartProgress(0, 1, None),
    Progress(),
    LaneStats(pending=1, active=0, limit=2),
    ManagerStats(
        active=0,
        pending=0,
        paused=0,
        max_concurrent=5,
        available_slots=5,
        completed=0,
        failed=0,
        cancelled=0,
        bytes_received=0,
        rate_bytes_per_s=0.0,
        lanes={},
    ),
    TaskSnapshot(
        correlation_id="0123abcd",
        sequence=1,
        url="https://example.org/a",
        status=DownloadStatus.PENDING,
        progress=NO_PROGRESS,
        lane=None,
        parent_id=None,
        retry_of=None,
        attempts=0,
        reason=None,
        error=None,
        result=None,
        created_at=NOW,
        started_at=None,
        finished_at=None,
    ),
]


def test_every_public_record_is_tried_here() -> None:
    tried = {type(record).__name__ for record in RECORDS}
    assert tried == {name for name in _records.__all__ if isinstance(getattr(_records, name), type)}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_never_changes(record: Any) -> None:
    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field.name, None)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_equals_its_copy(record: Any) -> None:
    assert copy.copy(record) == record
    assert copy.deepcopy(record) == record
    assert dataclasses.replace(record) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_that_goes_out_survives_pickling(record: Any) -> None:
    assert pickle.loads(pickle.dumps(record)) == record


def test_a_request_shows_its_address_without_the_secrets_and_keeps_them() -> None:
    url = "https://user:hunter2@example.org/a?token=hunter2"
    request = DownloadRequest(url, DownloadOptions(headers={"Authorization": "hunter2"}))
    assert repr(request) == str(request) == "<DownloadRequest https://example.org/a?token=…>"
    assert request.url == url


def test_a_request_can_be_copied_pickled_changed_and_be_a_key() -> None:
    request = DownloadRequest("https://example.org/a", DownloadOptions(headers={"A": "b"}, directory="/x"), lane="x")
    for again in (copy.copy(request), copy.deepcopy(request), pickle.loads(pickle.dumps(request))):
        assert again == request
        assert again.options.given == request.options.given
        assert {request: "found"}[again] == "found"
    other = dataclasses.replace(request, lane="y")
    assert (other.url, other.options, other.lane) == (request.url, request.options, "y")


def test_a_request_needs_nothing_but_its_address() -> None:
    request = DownloadRequest("https://example.org/a")
    assert request.options == DownloadOptions()
    assert request.options.given == frozenset()
    assert (request.downloader, request.lane, request.correlation_id) == (None, None, None)


def test_a_downloader_may_return_more_than_the_common_result() -> None:
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Titled(DownloadResult):
        title: str

    result: DownloadResult = Titled(path=Path("/a"), size_bytes=1, title="A")
    assert result == Titled(path=Path("/a"), size_bytes=1, title="A")
    assert (result.checksum, result.reused) == (None, False)


def test_no_progress_is_what_a_waiting_download_has() -> None:
    assert Progress() == NO_PROGRESS
    assert NO_PROGRESS.phase is DownloadPhase.WAITING
    assert (NO_PROGRESS.received_bytes, NO_PROGRESS.fraction, NO_PROGRESS.eta_s) == (0, None, None)


@pytest.mark.parametrize(
    ("received", "total", "fraction"),
    [
        (0, None, None),
        (5, None, None),
        (0, 0, 1.0),
        (5, 0, 1.0),
        (0, 4, 0.0),
        (1, 4, 0.25),
        (4, 4, 1.0),
        (5, 4, 1.0),
        (10**400, 1, 1.0),
        (10**400, 4 * 10**400, 0.25),
    ],
)
def test_the_fraction_is_a_share_of_the_total_and_never_above_one(
    received: int, total: int | None, fraction: float | None
) -> None:
    assert Progress(received_bytes=received, total_bytes=total).fraction == fraction


@given(total=st.integers(0, 2**70), more=st.integers(0, 2**70), received=st.integers(0, 2**70))
def test_the_fraction_never_falls_as_bytes_arrive(total: int, more: int, received: int) -> None:
    before = Progress(received_bytes=received, total_bytes=total).fraction
    after = Progress(received_bytes=received + more, total_bytes=total).fraction
    assert before is not None
    assert after is not None
    assert 0.0 <= before <= after <= 1.0
