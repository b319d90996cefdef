"""What is logged, word for word, and that every record names its download wherever the code runs."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from tests.fakes import make_download, url
from trio_dlm import DownloadStatus, TransferError
from trio_dlm._log import log_change, log_failure, log_held_back
from trio_dlm._outcome import Asked


def the_record(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    (record,) = caplog.records
    assert record.name == "trio_dlm"
    return record


@pytest.mark.parametrize(
    ("asked", "words"),
    [(Asked.NOTHING, ""), (Asked.PAUSE, " (pause)"), (Asked.CANCEL, " (cancel)"), (Asked.CLOSE, " (close)")],
)
def test_a_change_is_told_for_debugging_with_what_was_asked(
    caplog: pytest.LogCaptureFixture, asked: Asked, words: str
) -> None:
    caplog.set_level(logging.DEBUG, "trio_dlm")
    download = make_download("a")
    download.status = DownloadStatus.DOWNLOADING
    download.asked = asked
    log_change(download)
    record = the_record(caplog)
    assert record.levelno == logging.DEBUG
    assert record.getMessage() == f"download a of {url('a')} is downloading{words}"
    assert vars(record)["correlation_id"] == "a"


def test_while_nobody_debugs_a_change_is_not_even_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_dlm")
    log_change(cast("Any", None))
    assert caplog.records == []


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
@pytest.mark.parametrize("error", [OSError("disk full"), TransferError("the server is gone")])
def test_a_failure_is_a_warning_with_a_traceback_only_for_debugging_and_of_what_is_not_ours(
    caplog: pytest.LogCaptureFixture, level: int, error: Exception
) -> None:
    caplog.set_level(level, "trio_dlm")
    download = make_download("a")
    download.reason = "it broke"
    log_failure(download, error)
    record = the_record(caplog)
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"download a of {url('a')} failed: it broke"
    assert vars(record)["correlation_id"] == "a"
    shown = record.exc_info[1] if record.exc_info else None
    assert shown is (error if level == logging.DEBUG and isinstance(error, OSError) else None)


def test_what_a_limit_of_zero_holds_back_is_counted_and_what_helps_is_said(caplog: pytest.LogCaptureFixture) -> None:
    log_held_back(3)
    record = the_record(caplog)
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "the manager's block is being left, and a limit of 0 holds back 3 queued downloads: "
        "raise max_concurrent or the lane's limit, or cancel them"
    )
