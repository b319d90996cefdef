"""Every kind of failure: words for a chat, a tail for the operator, and whether another attempt may go better."""

from __future__ import annotations

import copy
import errno
import pickle

import pytest

from trio_dlm._errors import ConnectionFailedError, StorageError, TooLargeError, TransferError
from trio_dlm.downloaders.ytdlp._errors import (
    MediaError,
    MediaErrorKind,
    MissingRequirementError,
    PlaylistError,
    ProcessLeakError,
    error_of,
)
from trio_dlm.downloaders.ytdlp._wire import Failure

URL = "https://example.org/watch"


def raised(kind: MediaErrorKind, message: str = "yt-dlp says so", **facts: object) -> TransferError:
    failure = Failure(kind=kind.value, message=message, **facts)  # type: ignore[arg-type]
    return error_of(failure, url=URL, log_tail="the last line\n", max_bytes=None)


@pytest.mark.parametrize("kind", MediaErrorKind)
def test_every_kind_has_words_for_people_and_survives_pickle(kind: MediaErrorKind) -> None:
    error = raised(kind)
    text = str(error)
    assert text.startswith(f"{URL}: ")
    assert "{" not in text
    assert ";" in text, "it says what to do"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__dict__) == (type(error), text, error.__dict__)
    assert str(copy.copy(error)) == text


PASSING = {
    MediaErrorKind.NETWORK,
    MediaErrorKind.RATE_LIMITED,
    MediaErrorKind.PROXY,
    MediaErrorKind.WORKER_CRASHED,
    MediaErrorKind.HTTP_STATUS,
}


@pytest.mark.parametrize("kind", MediaErrorKind)
def test_what_may_pass(kind: MediaErrorKind) -> None:
    error = raised(kind)
    if isinstance(error, MediaError):
        assert error.may_pass == (kind in PASSING)


@pytest.mark.parametrize(("status", "may_pass"), [(404, False), (403, False), (408, True), (425, True), (500, True)])
def test_a_status_decides_whether_it_may_pass(status: int, may_pass: bool) -> None:
    error = raised(MediaErrorKind.HTTP_STATUS, http_status=status)
    assert isinstance(error, MediaError)
    assert (error.may_pass, error.http_status) == (may_pass, status)
    assert f"the site answered with {status}" in str(error)


def test_what_yt_dlp_printed_is_for_the_operator_and_not_for_the_chat() -> None:
    error = raised(MediaErrorKind.INTERNAL, tail="Traceback")
    assert isinstance(error, MediaError)
    assert error.log_tail == "the last line\nTraceback"
    assert "the last line" not in str(error)


def test_addresses_in_the_words_of_yt_dlp_have_no_secrets() -> None:
    error = raised(
        MediaErrorKind.INTERNAL, "no 'https://a:b@example.org/x?token=secret'", tail="https://e.org/?sig=secret"
    )
    assert isinstance(error, MediaError)
    assert "secret" not in f"{error} {error.log_tail}"
    assert "a:b" not in str(error)


def test_long_words_of_a_site_are_cut() -> None:
    assert len(str(raised(MediaErrorKind.INTERNAL, "x" * 10_000))) < 500


def test_a_kind_that_is_not_known_is_internal() -> None:
    error = error_of(Failure(kind="new", message=""), url=URL, log_tail="", max_bytes=None)
    assert isinstance(error, MediaError)
    assert error.kind is MediaErrorKind.INTERNAL
    assert "it does not say why" in str(error)


def test_countries_are_named() -> None:
    error = raised(MediaErrorKind.GEO_RESTRICTED, countries=("DE", "AT"))
    assert "only in DE, AT" in str(error)
    assert isinstance(error, MediaError)
    assert error.countries == ("DE", "AT")


def test_a_playlist_says_how_to_go_on() -> None:
    error = raised(MediaErrorKind.PLAYLIST, count=3)
    assert isinstance(error, PlaylistError)
    assert (error.count, error.kind) == (3, MediaErrorKind.PLAYLIST)
    assert "3 items" in str(error)
    assert "expand" in str(error)
    assert "several items" in str(raised(MediaErrorKind.PLAYLIST))


@pytest.mark.parametrize(
    ("requirement", "advice"),
    [
        ("ffmpeg", "package ffmpeg"),
        ("yt-dlp", r"pip install 'trio-dlm[yt-dlp]'"),
        ("a JavaScript runtime", "deno"),
        ("curl_cffi", "impersonate"),
        ("something", "install something"),
    ],
)
def test_what_is_missing_is_named_with_how_to_install_it(requirement: str, advice: str) -> None:
    error = MissingRequirementError(requirement=requirement)
    assert error.requirement == requirement
    assert str(error).startswith(f"this takes {requirement}")
    assert advice in str(error)


def test_missing_requirements_of_a_worker() -> None:
    for failure, requirement in (
        (raised(MediaErrorKind.FFMPEG_MISSING), "ffmpeg"),
        (raised(MediaErrorKind.REQUIREMENT, requirement="curl_cffi"), "curl_cffi"),
        (raised(MediaErrorKind.REQUIREMENT), "more"),
    ):
        assert isinstance(failure, MissingRequirementError)
        assert failure.requirement == requirement


def test_what_the_http_downloader_has_a_class_for_is_raised_as_that() -> None:
    too_large = error_of(Failure(kind="too_large", message=""), url=URL, log_tail="", max_bytes=5)
    assert isinstance(too_large, TooLargeError)
    assert too_large.max_bytes == 5
    full = raised(MediaErrorKind.DISK_FULL)
    assert isinstance(full, StorageError)
    assert full.errno == errno.ENOSPC
    assert isinstance(raised(MediaErrorKind.OS_ERROR), StorageError)
    blocked = raised(MediaErrorKind.BLOCKED_ADDRESS)
    assert isinstance(blocked, ConnectionFailedError)
    assert not blocked.may_pass


def test_a_leak_names_the_group() -> None:
    error = ProcessLeakError(url=URL, process_group=42)
    assert error.process_group == 42
    assert "process group 42" in str(error)
