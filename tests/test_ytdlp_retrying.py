"""When yt-dlp is asked again."""

from __future__ import annotations

import pytest

from trio_dlm._errors import ConnectionFailedError, StalledError, StorageError, TransferError
from trio_dlm.downloaders.ytdlp._errors import MediaError, MediaErrorKind
from trio_dlm.downloaders.ytdlp._retrying import Patience


def failure(
    kind: MediaErrorKind = MediaErrorKind.NETWORK, *, may_pass: bool = True, status: int | None = None
) -> MediaError:
    return MediaError(url="u", kind=kind, problem="p", advice="a", may_pass=may_pass, http_status=status)


def wait(patience: Patience, error: TransferError, received_bytes: int = 0, draw: float = 1.0) -> float:
    return patience.after(error, received_bytes=received_bytes, draw=draw)


def test_waits_double_up_to_a_limit_and_a_random_share_of_them_is_taken() -> None:
    patience = Patience(8, 60)
    assert [wait(patience, failure()) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert wait(patience, failure(), draw=0.5) == 15


def test_after_as_many_retries_as_were_allowed_the_error_is_raised() -> None:
    patience = Patience(2, 60)
    wait(patience, failure())
    wait(patience, failure())
    last = failure()
    with pytest.raises(MediaError) as raised:
        wait(patience, last)
    assert raised.value is last


def test_what_arrives_resets_the_count() -> None:
    patience = Patience(1, 60)
    for received in (10, 20, 30):
        assert wait(patience, failure(), received) == 1
    with pytest.raises(MediaError):
        wait(patience, failure(), 30)


@pytest.mark.parametrize(
    "error",
    [
        failure(may_pass=False),
        StorageError(path="p", problem="p", advice="a"),
        ConnectionFailedError(url="u", problem="p", may_pass=False),
    ],
)
def test_what_will_not_pass_is_not_tried_again(error: TransferError) -> None:
    with pytest.raises(type(error)):
        wait(Patience(5, 60), error)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionFailedError(url="u", problem="p"),
        StalledError(url="u", waited_for="byte", limit_s=1, option="stall_timeout_s"),
    ],
)
def test_what_may_pass_is(error: TransferError) -> None:
    assert wait(Patience(5, 60), error) == 1


def test_a_crash_is_tried_again_once() -> None:
    patience, crash = Patience(5, 60), failure(MediaErrorKind.WORKER_CRASHED)
    assert wait(patience, crash) == 1
    with pytest.raises(MediaError):
        wait(patience, crash)


def test_an_address_that_expired_while_its_media_was_fetched_is_looked_up_again_once() -> None:
    patience, gone = Patience(5, 60), failure(MediaErrorKind.HTTP_STATUS, may_pass=False, status=403)
    assert wait(patience, gone, 10) == 1
    with pytest.raises(MediaError):
        wait(patience, gone, 20)
    with pytest.raises(MediaError):
        wait(Patience(5, 60), gone, 0)


def test_a_site_that_asks_for_fewer_requests_is_left_alone_for_longer_but_not_for_ever() -> None:
    patience, busy = Patience(5, 30), failure(MediaErrorKind.RATE_LIMITED)
    assert [wait(patience, busy, draw=0.5) for _ in range(2)] == [10.5, 20.5]
    with pytest.raises(MediaError):
        wait(patience, busy)
