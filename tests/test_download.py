"""The record of one download: how it begins, what it shows of itself, and what it lets go of."""

from __future__ import annotations

from contextvars import copy_context
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes import instant, make_download, url
from trio_dlm import DownloadPhase, DownloadRequest, DownloadResult, DownloadStatus, Progress, TaskSnapshot
from trio_dlm._download import Download, as_utc
from trio_dlm._outcome import Asked


def test_a_new_download_is_pending_and_nothing_has_happened_to_it() -> None:
    download = make_download("a")
    assert download.status is DownloadStatus.PENDING
    assert download.asked is Asked.NOTHING
    assert (download.attempts, download.sequence) == (0, 0)
    assert (download.can_resume, download.collected, download.is_admitted) == (False, False, False)


def test_a_snapshot_has_everything_that_is_known() -> None:
    request = DownloadRequest("https://user:secret@example.org/a")
    download = Download(
        request, instant, copy_context(), correlation_id="a", lane="x", parent_id="p", retry_of="before"
    )
    download.status = DownloadStatus.FAILED
    download.sequence = 7
    download.attempts = 2
    download.reason = "it broke"
    download.error = OSError("it broke")
    download.result = DownloadResult(path=Path("/a"), size_bytes=5)
    download.created_s, download.started_s, download.finished_s = 1.0, 2.0, 3.0
    snapshot = download.snapshot()
    assert "secret" not in snapshot.url
    assert snapshot == TaskSnapshot(
        correlation_id="a",
        sequence=7,
        url=download.url,
        status=DownloadStatus.FAILED,
        progress=Progress(received_bytes=5, total_bytes=5, phase=DownloadPhase.ENDED),
        lane="x",
        parent_id="p",
        retry_of="before",
        attempts=2,
        reason="it broke",
        error=download.error,
        result=download.result,
        created_at=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        started_at=datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC),
        finished_at=datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC),
    )


def test_what_has_not_happened_yet_has_no_time() -> None:
    snapshot = make_download().snapshot()
    assert snapshot.started_at is None
    assert snapshot.finished_at is None


@pytest.mark.parametrize(
    ("status", "asked", "phase"),
    [
        (DownloadStatus.PENDING, Asked.NOTHING, DownloadPhase.WAITING),
        (DownloadStatus.DOWNLOADING, Asked.NOTHING, DownloadPhase.CONNECTING),
        (DownloadStatus.DOWNLOADING, Asked.PAUSE, DownloadPhase.STOPPING),
        (DownloadStatus.DOWNLOADING, Asked.CANCEL, DownloadPhase.STOPPING),
        (DownloadStatus.DOWNLOADING, Asked.CLOSE, DownloadPhase.STOPPING),
        (DownloadStatus.PAUSED, Asked.PAUSE, DownloadPhase.WAITING),
        (DownloadStatus.COMPLETED, Asked.NOTHING, DownloadPhase.ENDED),
        (DownloadStatus.FAILED, Asked.NOTHING, DownloadPhase.ENDED),
        (DownloadStatus.CANCELLED, Asked.CANCEL, DownloadPhase.ENDED),
    ],
)
def test_without_counters_the_status_and_what_was_asked_make_the_phase(
    status: DownloadStatus, asked: Asked, phase: DownloadPhase
) -> None:
    download = make_download()
    download.status, download.asked = status, asked
    assert download.read_progress() == Progress(phase=phase)


def test_the_progress_of_a_result_that_nobody_counted_is_its_size() -> None:
    download = make_download()
    download.status = DownloadStatus.COMPLETED
    download.result = DownloadResult(path=Path("/a"), size_bytes=5)
    assert download.read_progress() == Progress(received_bytes=5, total_bytes=5, phase=DownloadPhase.ENDED)


def test_a_download_says_what_it_is() -> None:
    assert repr(make_download("a")) == f"<pending download a of {url('a')}>"


def test_times_are_aware() -> None:
    assert as_utc(0) == datetime(1970, 1, 1, tzinfo=UTC)
