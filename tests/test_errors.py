"""Every error is below one root, keeps its facts, and says what went wrong, what was done and what you can do."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any, Final

import pytest

from trio_dlm import _errors
from trio_dlm._errors import (
    ChecksumMismatchError,
    ConnectionFailedError,
    DownloadCancelledError,
    DownloadFailedError,
    DownloadTimeoutError,
    DuplicateTaskError,
    HttpClientError,
    HttpStatusError,
    IncompleteBodyError,
    InvalidNameError,
    InvalidUrlError,
    ManagerClosedError,
    ManagerCrashedError,
    NotFinishedError,
    QueueFullError,
    RedirectError,
    StalledError,
    StorageError,
    TargetExistsError,
    TooLargeError,
    TooSlowError,
    TransferError,
    TrioDlmError,
    UncollectedFailuresError,
    UnknownTaskError,
    UnsupportedBackendError,
    UnusableReplyError,
)

URL: Final = "https://example.org/a.iso"

Facts = dict[str, Any]

# Class, facts, message.
CASES: Final[list[tuple[type[TrioDlmError], Facts, str]]] = [
    (
        UnsupportedBackendError,
        {"asked": "trio", "found": "a running asyncio loop"},
        "open_manager needs a running trio loop, but found a running asyncio loop; enter the block inside trio.run(…)",
    ),
    (
        ManagerClosedError,
        {"action": "submit"},
        (
            "cannot submit: the manager's block is being left; submit from inside the block, "
            "and stay in it (await manager.wait_idle()) while downloads submit more"
        ),
    ),
    (
        QueueFullError,
        {"max_pending": 3, "waiting": 0},
        (
            "the queue holds max_pending=3 downloads; nothing was queued: "
            "await manager.submit(…) to wait for room, or raise max_pending"
        ),
    ),
    (
        QueueFullError,
        {"max_pending": 3, "waiting": 2},
        (
            "the queue holds max_pending=3 downloads and 2 submits wait; nothing was queued: "
            "await manager.submit(…) to wait for room, or raise max_pending"
        ),
    ),
    (
        UnknownTaskError,
        {"correlation_id": "0123abcd"},
        "no download with the id '0123abcd' is known; ended downloads are forgotten after the last keep_finished",
    ),
    (
        UnknownTaskError,
        {"correlation_id": "0123abcd", "advice": "ask the batch"},
        "no download with the id '0123abcd' is known; ask the batch",
    ),
    (
        DuplicateTaskError,
        {"correlation_id": "mine"},
        (
            "the id 'mine' belongs to another download that the manager remembers; nothing was queued: "
            "bring another id, or none to have one drawn"
        ),
    ),
    (
        NotFinishedError,
        {"correlation_id": "0123abcd", "status": "paused"},
        (
            "download 0123abcd is paused, and only an ended one can be retried; await task.wait() first, "
            "or use resume() for a paused one"
        ),
    ),
    (
        DownloadFailedError,
        {"correlation_id": "0123abcd", "url": URL, "reason": "no"},
        f"download 0123abcd of {URL} failed: no",
    ),
    (
        DownloadCancelledError,
        {"correlation_id": "0123abcd", "url": URL, "reason": None},
        f"download 0123abcd of {URL} was cancelled",
    ),
    (
        DownloadCancelledError,
        {"correlation_id": "0123abcd", "url": URL, "reason": "user left"},
        f"download 0123abcd of {URL} was cancelled: user left",
    ),
    (
        ManagerCrashedError,
        {"crash": "KeyboardInterrupt()"},
        "the manager's block was ended by KeyboardInterrupt(); this download was stopped with it",
    ),
    (
        ManagerCrashedError,
        {"crash": "KeyboardInterrupt()", "is_culprit": True},
        "this download raised KeyboardInterrupt(), which ended the manager's block",
    ),
    (
        DownloadTimeoutError,
        {"url": URL, "waited_for": "reply", "limit_s": 30.0, "option": "timeout_s"},
        f"{URL}: no reply within 30 s; the attempt was given up: raise timeout_s if that is expected",
    ),
    (
        StalledError,
        {"url": URL, "waited_for": "byte of the body", "limit_s": 0.5, "option": "timeout_s"},
        f"{URL}: no byte of the body within 0.5 s; the attempt was given up: raise timeout_s if that is expected",
    ),
    (
        TooSlowError,
        {"url": URL, "min_rate_bytes_per_s": 1000.0, "received_bytes": 20, "limit_s": 30.0},
        (
            f"{URL}: 20 bytes in 30 s are slower than min_rate_bytes_per_s=1000; the attempt was given up: "
            "lower min_rate_bytes_per_s if that is expected"
        ),
    ),
    (
        InvalidUrlError,
        {"url": "a\nb", "problem": "it holds a line break", "advice": "remove it"},
        "not a usable URL: 'a\\nb': it holds a line break; remove it",
    ),
    (
        InvalidNameError,
        {"name": "../a", "problem": "it has a directory"},
        "not a usable file name: '../a': it has a directory; pass a plain name without a directory",
    ),
    (
        ConnectionFailedError,
        {"url": URL, "problem": "connection refused"},
        f"{URL}: connection refused; check the address and the network, then try again",
    ),
    (
        ConnectionFailedError,
        {"url": URL, "problem": "certificate expired", "advice": "tell the owner", "may_pass": False, "errno": 111},
        f"{URL}: certificate expired; tell the owner",
    ),
    (
        HttpClientError,
        {"problem": "FileNotFoundError: no such file"},
        (
            "no HTTP client could be made: FileNotFoundError: no such file; "
            "check SSL_CERT_FILE, SSL_CERT_DIR and the proxy variables of the environment"
        ),
    ),
    (
        HttpStatusError,
        {"url": URL, "status": 404, "phrase": "Not Found", "advice": "check the address", "retry_after_s": 2.0},
        f"{URL}: the server answered 404 Not Found; check the address",
    ),
    (
        HttpStatusError,
        {"url": URL, "status": 599, "phrase": "", "advice": "try later"},
        f"{URL}: the server answered 599; try later",
    ),
    (
        RedirectError,
        {"url": URL, "target": "http://e.org/\n", "problem": "it leaves https", "advice": "allow_http_downgrade=True"},
        f"{URL}: redirected to 'http://e.org/\\n', which was not followed: it leaves https; allow_http_downgrade=True",
    ),
    (
        UnusableReplyError,
        {"url": URL, "problem": "two lengths", "advice": "tell the owner", "is_disagreement": True, "may_pass": True},
        f"{URL}: two lengths; nothing of it was kept: tell the owner",
    ),
    (
        IncompleteBodyError,
        {"url": URL, "expected_bytes": 10, "received_bytes": 4, "problem": "the connection was closed early"},
        f"{URL}: the connection was closed early: got 4 bytes, expected 10 bytes; try again",
    ),
    (
        IncompleteBodyError,
        {"url": URL, "expected_bytes": None, "received_bytes": 4, "problem": "the last chunk is missing"},
        f"{URL}: the last chunk is missing: got 4 bytes; try again",
    ),
    (
        TooLargeError,
        {"url": URL, "max_bytes": 10, "size_bytes": 11},
        f"{URL}: larger than max_bytes=10: the server announced 11; nothing was kept: raise max_bytes if you want it",
    ),
    (
        TooLargeError,
        {"url": URL, "max_bytes": 10, "size_bytes": None},
        f"{URL}: larger than max_bytes=10: more has arrived; nothing was kept: raise max_bytes if you want it",
    ),
    (
        ChecksumMismatchError,
        {"url": URL, "algorithm": "sha256", "expected": "00ab", "got": "ff01"},
        (
            f"sha256 of {URL} is ff01, expected 00ab; what was received was deleted: "
            "pass the right digest, or ask the publisher why it differs"
        ),
    ),
    (
        TargetExistsError,
        {"path": "/a", "problem": "it exists", "advice": "pass overwrite=True"},
        "/a: it exists; nothing was overwritten: pass overwrite=True",
    ),
    (
        StorageError,
        {"path": "/a", "problem": "the disk is full", "advice": "make room", "errno": 28},
        "/a: the disk is full; make room",
    ),
]

# What else a caller may catch them as.
ALSO: Final[dict[type[TrioDlmError], type[Exception]]] = {
    UnsupportedBackendError: RuntimeError,
    ManagerClosedError: RuntimeError,
    NotFinishedError: RuntimeError,
    UnknownTaskError: LookupError,
    DuplicateTaskError: ValueError,
    InvalidUrlError: ValueError,
    InvalidNameError: ValueError,
    DownloadTimeoutError: TimeoutError,
    StalledError: TimeoutError,
    ConnectionFailedError: ConnectionError,
    TargetExistsError: FileExistsError,
    StorageError: OSError,
    UncollectedFailuresError: ExceptionGroup,
}

CLASSES: Final[list[type[Exception]]] = [getattr(_errors, name) for name in _errors.__all__]

each_case = pytest.mark.parametrize(("cls", "facts", "message"), CASES, ids=[case[0].__name__ for case in CASES])


def test_every_class_is_public_and_below_the_root() -> None:
    written_here = {
        cls for cls in vars(_errors).values() if isinstance(cls, type) and cls.__module__ == _errors.__name__
    }
    assert written_here == set(CLASSES)
    assert all(issubclass(cls, TrioDlmError) for cls in CLASSES)
    assert issubclass(TrioDlmError, Exception)


def test_every_class_that_is_raised_is_tried_here() -> None:
    roots: set[type] = {TrioDlmError, TransferError, UncollectedFailuresError}
    assert {case[0] for case in CASES} == set(CLASSES) - roots


def test_the_reasons_of_one_download_are_apart_from_what_the_manager_says() -> None:
    assert {cls for cls in CLASSES if issubclass(cls, TransferError)} == {
        TransferError,
        DownloadTimeoutError,
        StalledError,
        TooSlowError,
        InvalidUrlError,
        InvalidNameError,
        ConnectionFailedError,
        HttpStatusError,
        RedirectError,
        UnusableReplyError,
        IncompleteBodyError,
        TooLargeError,
        ChecksumMismatchError,
        TargetExistsError,
        StorageError,
    }


@pytest.mark.parametrize(("cls", "also"), ALSO.items(), ids=lambda cls: cls.__name__)
def test_what_a_caller_may_tell_apart_is_a_builtin_error_too(cls: type[Exception], also: type[Exception]) -> None:
    assert issubclass(cls, also)


@each_case
def test_the_message_is_written_from_the_facts(cls: type[TrioDlmError], facts: Facts, message: str) -> None:
    assert str(cls(**facts)) == message


@each_case
def test_the_facts_are_kept_as_attributes(cls: type[TrioDlmError], facts: Facts, message: str) -> None:
    error = cls(**facts)
    # Advice is for the reader, and no fact that a program could use.
    kept = {name: getattr(error, name) for name in facts if name != "advice"}
    assert kept == {name: fact for name, fact in facts.items() if name != "advice"}


@each_case
def test_facts_are_given_by_name(cls: type[TrioDlmError], facts: Facts, message: str) -> None:
    assert all(each.kind is each.KEYWORD_ONLY for each in inspect.signature(cls).parameters.values())


@each_case
def test_a_copy_is_the_same_in_everything(cls: type[TrioDlmError], facts: Facts, message: str) -> None:
    error = cls(**facts)
    error.add_note("seen twice")
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is cls
        assert str(again) == message
        assert again.args == error.args
        assert vars(again) == vars(error)
        assert getattr(again, "errno", None) == getattr(error, "errno", None)


def test_an_error_that_is_an_os_error_too_has_no_errno_to_print() -> None:
    error = StorageError(path="/a", problem="the disk is full", advice="make room")
    error.errno, error.strerror = 28, "No space left on device"
    assert str(error) == "/a: the disk is full; make room"
    other = TargetExistsError(path="/a", problem="it exists", advice="pass overwrite=True")
    other.errno, other.strerror = 17, "File exists"
    assert str(other) == "/a: it exists; nothing was overwritten: pass overwrite=True"


# The group of failures that nobody asked for.


def failed(number: int) -> DownloadFailedError:
    return DownloadFailedError(correlation_id=f"{number:08x}", url=URL, reason=f"reason {number}")


def test_the_group_counts_all_failures_and_says_how_to_ask() -> None:
    group = UncollectedFailuresError.of([failed(1), failed(2)], total=2)
    assert group.total == 2
    assert [error.correlation_id for error in group.exceptions if isinstance(error, DownloadFailedError)] == [
        "00000001",
        "00000002",
    ]
    assert group.message == (
        "2 downloads failed and nobody asked how they ended; "
        'await task.result() or task.wait(), or open the manager with failures="keep"'
    )


def test_the_group_says_that_it_holds_only_the_first() -> None:
    group = UncollectedFailuresError.of([failed(1), failed(2)], total=250)
    assert group.total == 250
    assert "250 downloads failed and nobody asked how they ended, the first 2 of them here; " in group.message


def test_without_a_total_the_group_counts_its_members() -> None:
    assert UncollectedFailuresError("two", [failed(1), failed(2)]).total == 2


def test_a_part_of_the_group_is_of_the_same_kind_and_remembers_the_total() -> None:
    group = UncollectedFailuresError.of([failed(1), failed(2)], total=7)
    first, rest = group.split(lambda error: isinstance(error, DownloadFailedError) and error.reason == "reason 1")
    subgroup = group.subgroup(DownloadFailedError)
    for part, size in ((first, 1), (rest, 1), (subgroup, 2)):
        assert isinstance(part, UncollectedFailuresError)
        assert part.total == 7
        assert part.message == group.message
        assert len(part.exceptions) == size


def test_a_part_keeps_notes_cause_and_traceback() -> None:
    group = UncollectedFailuresError.of([failed(1)], total=1)
    group.add_note("block left")
    cause = RuntimeError("cause")
    try:
        raise group from cause
    except UncollectedFailuresError as caught:
        part = caught.subgroup(DownloadFailedError)
    assert part is not None
    assert part.__notes__ == ["block left"]
    assert part.__cause__ is cause
    assert part.__traceback__ is group.__traceback__


def test_the_group_can_be_taken_apart_with_except_star() -> None:
    seen: list[BaseException] = []
    members = [failed(1), failed(2)]
    try:
        raise UncollectedFailuresError.of(members, total=2)
    except* DownloadFailedError as group:
        seen.extend(group.exceptions)
        kind = type(group)
    assert seen == members
    assert kind is UncollectedFailuresError


def test_the_group_is_caught_as_the_root_too() -> None:
    with pytest.raises(TrioDlmError, match="1 download failed and nobody asked how it ended; "):
        raise UncollectedFailuresError.of([failed(1)], total=1)


def test_the_group_within_another_is_matched_by_its_shape() -> None:
    with pytest.RaisesGroup(pytest.RaisesGroup(DownloadFailedError), RuntimeError):
        raise ExceptionGroup("outer", [UncollectedFailuresError.of([failed(1)], total=1), RuntimeError()])


def test_a_copy_of_the_group_is_the_same_in_everything() -> None:
    group = UncollectedFailuresError.of([failed(1), failed(2)], total=9)
    group.add_note("block left")
    for again in (copy.copy(group), copy.deepcopy(group), pickle.loads(pickle.dumps(group))):
        assert type(again) is UncollectedFailuresError
        assert (again.message, again.total, again.__notes__) == (group.message, 9, ["block left"])
        assert [str(error) for error in again.exceptions] == [str(error) for error in group.exceptions]
