"""Every exception that the library raises, misuse aside.

Rules that hold here:

- one tree below :class:`TrioDlmError`; misuse is ``TypeError``, ``ValueError`` or ``RuntimeError``, and where a
  caller may want to tell such a case apart the class inherits from both;
- a class is built from keyword facts, keeps them as attributes and writes its own message: what went wrong, expected
  against got, what was done, what you can do;
- URLs arrive here without their secrets (:func:`trio_dlm._urls.redact_url`);
- an error can be copied and pickled, with its attributes and notes;
- nothing here imports another room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = [
    "ChecksumMismatchError",
    "ConnectionFailedError",
    "DownloadCancelledError",
    "DownloadFailedError",
    "DownloadTimeoutError",
    "DuplicateTaskError",
    "HttpClientError",
    "HttpStatusError",
    "IncompleteBodyError",
    "InvalidNameError",
    "InvalidUrlError",
    "ManagerClosedError",
    "ManagerCrashedError",
    "NotFinishedError",
    "QueueFullError",
    "RedirectError",
    "StalledError",
    "StorageError",
    "TargetExistsError",
    "TooLargeError",
    "TooSlowError",
    "TransferError",
    "TrioDlmError",
    "UncollectedFailuresError",
    "UnknownTaskError",
    "UnsupportedBackendError",
    "UnusableReplyError",
]

_ExceptionT_co = TypeVar("_ExceptionT_co", bound=Exception, covariant=True)


class TrioDlmError(Exception):
    """The root of every exception that the library raises, misuse aside."""

    def __reduce__(self) -> tuple[object, ...]:
        # What Exception does, calling the class with the message, fails on every class here that is built from facts.
        # The number of a system's error is no entry of the dict.
        facts = {**self.__dict__, "errno": self.errno} if isinstance(self, OSError) else self.__dict__
        return _rebuild, (type(self), self.args), facts


def _rebuild(cls: type[TrioDlmError], args: tuple[object, ...]) -> TrioDlmError:
    error = cls.__new__(cls, *args)
    # The classes that are OSErrors too leave this to __init__, which would write the message anew.
    error.args = args
    return error


class UnsupportedBackendError(TrioDlmError, RuntimeError):
    """``open_manager`` was entered where it cannot run.

    Attributes:
        asked: the ``backend`` that was asked for.
        found: what runs there instead.
    """

    def __init__(self, *, asked: str, found: str) -> None:
        wanted = "trio or asyncio" if asked == "auto" else asked
        run = {"trio": "trio.run(…)", "asyncio": "asyncio.run(…)"}.get(asked, "trio.run(…) or asyncio.run(…)")
        super().__init__(f"open_manager needs a running {wanted} loop, but found {found}; enter the block inside {run}")
        self.asked = asked
        self.found = found


class ManagerClosedError(TrioDlmError, RuntimeError):
    """The manager's block is being left or was left: nothing new can be queued.

    Attributes:
        action: what was asked for.
    """

    def __init__(self, *, action: str) -> None:
        super().__init__(
            f"cannot {action}: the manager's block is being left; submit from inside the block, "
            f"and stay in it (await manager.wait_idle()) while downloads submit more"
        )
        self.action = action


class QueueFullError(TrioDlmError):
    """``max_pending`` downloads are queued, and the caller asked not to wait.

    Attributes:
        max_pending: the limit.
        waiting: how many calls of ``submit`` wait for room.
    """

    def __init__(self, *, max_pending: float, waiting: int) -> None:
        behind = f" and {waiting} submits wait" if waiting else ""
        super().__init__(
            f"the queue holds max_pending={max_pending} downloads{behind}; nothing was queued: "
            f"await manager.submit(…) to wait for room, or raise max_pending"
        )
        self.max_pending = max_pending
        self.waiting = waiting


class UnknownTaskError(TrioDlmError, LookupError):
    """No download that the manager remembers has this id.

    Attributes:
        correlation_id: the id.
    """

    def __init__(
        self, *, correlation_id: str, advice: str = "ended downloads are forgotten after the last keep_finished"
    ) -> None:
        super().__init__(f"no download with the id {correlation_id!r} is known; {advice}")
        self.correlation_id = correlation_id


class DuplicateTaskError(TrioDlmError, ValueError):
    """The correlation id that the caller brought is in use.

    Attributes:
        correlation_id: the id.
    """

    def __init__(self, *, correlation_id: str) -> None:
        super().__init__(
            f"the id {correlation_id!r} belongs to another download that the manager remembers; nothing was queued: "
            f"bring another id, or none to have one drawn"
        )
        self.correlation_id = correlation_id


class NotFinishedError(TrioDlmError, RuntimeError):
    """``retry`` of a download that has not ended.

    Attributes:
        correlation_id: of the download.
        status: the value of its status.
    """

    def __init__(self, *, correlation_id: str, status: str) -> None:
        super().__init__(
            f"download {correlation_id} is {status}, and only an ended one can be retried; await task.wait() first, "
            f"or use resume() for a paused one"
        )
        self.correlation_id = correlation_id
        self.status = status


class DownloadFailedError(TrioDlmError):
    """A download failed; ``__cause__`` is the reason.

    Attributes:
        correlation_id: of the download.
        url: its address, without secrets.
        reason: what went wrong, in words.
    """

    def __init__(self, *, correlation_id: str, url: str, reason: str) -> None:
        super().__init__(f"download {correlation_id} of {url} failed: {reason}")
        self.correlation_id = correlation_id
        self.url = url
        self.reason = reason


class DownloadCancelledError(TrioDlmError):
    """The result of a download was asked for, and it had been cancelled.

    Attributes:
        correlation_id: of the download.
        url: its address, without secrets.
        reason: why, in the words of whoever cancelled it, or None.
    """

    def __init__(self, *, correlation_id: str, url: str, reason: str | None) -> None:
        super().__init__(f"download {correlation_id} of {url} was cancelled" + (f": {reason}" if reason else ""))
        self.correlation_id = correlation_id
        self.url = url
        self.reason = reason


class ManagerCrashedError(TrioDlmError):
    """Something that is no ``Exception`` came out of a download, this one or another, and ended the whole block.

    Attributes:
        crash: what came out, in words.
        is_culprit: whether it came out of this download.
    """

    def __init__(self, *, crash: str, is_culprit: bool = False) -> None:
        super().__init__(
            f"this download raised {crash}, which ended the manager's block"
            if is_culprit
            else f"the manager's block was ended by {crash}; this download was stopped with it"
        )
        self.crash = crash
        self.is_culprit = is_culprit


class UncollectedFailuresError(ExceptionGroup[_ExceptionT_co], TrioDlmError):
    """Failures that nobody asked for, raised when the block ends normally.

    The group holds the first of them (100 at most), each a :class:`DownloadFailedError`.

    Attributes:
        total: how many there were in all.
    """

    def __init__(self, message: str, exceptions: Sequence[_ExceptionT_co], /) -> None:
        super().__init__(message, exceptions)
        self.total = len(exceptions)

    @classmethod
    def of(cls, failures: Sequence[TrioDlmError], *, total: int) -> UncollectedFailuresError[TrioDlmError]:
        """Build the group from the kept *failures* out of *total*."""
        count = "1 download" if total == 1 else f"{total} downloads"
        shown = "" if total == len(failures) else f", the first {len(failures)} of them here"
        group = UncollectedFailuresError(
            f"{count} failed and nobody asked how {'it' if total == 1 else 'they'} ended{shown}; "
            f'await task.result() or task.wait(), or open the manager with failures="keep"',
            failures,
        )
        group.total = total
        return group

    def derive(self, excs: Sequence[_ExceptionT_co], /) -> UncollectedFailuresError[_ExceptionT_co]:  # type: ignore[override]
        """Return a group of the same kind for a part of the members, as ``split`` and ``except*`` ask for."""
        group = UncollectedFailuresError(self.message, excs)
        group.total = self.total
        return group


class HttpClientError(TrioDlmError):
    """The HTTP client could not be made, so that no download could start.

    Attributes:
        problem: what stood in the way.
    """

    def __init__(
        self,
        *,
        problem: str,
        advice: str = "check SSL_CERT_FILE, SSL_CERT_DIR and the proxy variables of the environment",
    ) -> None:
        super().__init__(f"no HTTP client could be made: {problem}; {advice}")
        self.problem = problem


class TransferError(TrioDlmError):
    """The root of the reasons why one download failed."""


class DownloadTimeoutError(TransferError, TimeoutError):
    """A wait on the outside world took longer than its limit.

    Attributes:
        url: who was waited for, without secrets.
        waited_for: what did not come.
        limit_s: the limit, in seconds.
        option: what sets the limit.
    """

    def __init__(self, *, url: str, waited_for: str, limit_s: float, option: str) -> None:
        super().__init__(
            f"{url}: no {waited_for} within {limit_s:g} s; the attempt was given up: raise {option} if that is expected"
        )
        self.url = url
        self.waited_for = waited_for
        self.limit_s = limit_s
        self.option = option


class StalledError(DownloadTimeoutError):
    """The body stopped arriving."""


class TooSlowError(StalledError):
    """The body arrived more slowly than ``min_rate_bytes_per_s``.

    Attributes:
        min_rate_bytes_per_s: the limit.
        received_bytes: how much came within ``limit_s`` seconds.
    """

    def __init__(self, *, url: str, min_rate_bytes_per_s: float, received_bytes: int, limit_s: float) -> None:
        super().__init__(
            url=url,
            waited_for=f"more than {received_bytes} bytes",
            limit_s=limit_s,
            option="min_rate_bytes_per_s",
        )
        message = (
            f"{url}: {received_bytes} bytes in {limit_s:g} s are slower than min_rate_bytes_per_s="
            f"{min_rate_bytes_per_s:g}; the attempt was given up: lower min_rate_bytes_per_s if that is expected"
        )
        self.args = (message,)
        self.min_rate_bytes_per_s = min_rate_bytes_per_s
        self.received_bytes = received_bytes


class InvalidUrlError(TransferError, ValueError):
    """This is not a URL, or none that the downloader understands.

    Attributes:
        url: what was given, without secrets, and shortened.
        problem: what is wrong with it.
    """

    def __init__(self, *, url: str, problem: str, advice: str) -> None:
        super().__init__(f"not a usable URL: {url!r}: {problem}; {advice}")
        self.url = url
        self.problem = problem


class InvalidNameError(TransferError, ValueError):
    """A file name that the caller asked for cannot be one.

    Attributes:
        name: what was given, shortened.
        problem: what is wrong with it.
    """

    def __init__(self, *, name: str, problem: str) -> None:
        super().__init__(f"not a usable file name: {name!r}: {problem}; pass a plain name without a directory")
        self.name = name
        self.problem = problem


class ConnectionFailedError(TransferError, ConnectionError):
    """No connection could be made, or it broke before or inside the reply.

    Attributes:
        url: who was asked, without secrets.
        problem: what happened.
        may_pass: another attempt may go better; False for a certificate that is not accepted, and its like.
        errno: the system's number of the error, or None.
    """

    def __init__(
        self,
        *,
        url: str,
        problem: str,
        advice: str = "check the address and the network, then try again",
        may_pass: bool = True,
        errno: int | None = None,
    ) -> None:
        super().__init__(f"{url}: {problem}; {advice}")
        self.url = url
        self.problem = problem
        self.may_pass = may_pass
        # What it means is in the message already; OSError prints its own way as soon as it has one.
        self.errno = errno

    def __str__(self) -> str:
        return str(self.args[0])


class HttpStatusError(TransferError):
    """The server answered with a status that delivers no file.

    Attributes:
        url: who answered, without secrets.
        status: the number, such as 404.
        phrase: the server's words for it, possibly empty.
        retry_after_s: for how many seconds the server asks to be left alone, or None if it does not say.
    """

    def __init__(self, *, url: str, status: int, phrase: str, advice: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{url}: the server answered {status}{' ' + phrase if phrase else ''}; {advice}")
        self.url = url
        self.status = status
        self.phrase = phrase
        self.retry_after_s = retry_after_s


class RedirectError(TransferError):
    """A redirect that is not followed.

    Attributes:
        url: who sent it, without secrets.
        target: where it leads, without secrets.
        problem: why it is not followed.
    """

    def __init__(self, *, url: str, target: str, problem: str, advice: str) -> None:
        super().__init__(f"{url}: redirected to {target!r}, which was not followed: {problem}; {advice}")
        self.url = url
        self.target = target
        self.problem = problem


class UnusableReplyError(TransferError):
    """The reply contradicts itself, or carries what was not asked for.

    Attributes:
        url: who sent it, without secrets.
        problem: what is wrong with it.
        is_disagreement: it is at odds with another reply or with what was asked, which a plain request may settle.
        may_pass: the same request may bring a better one.
    """

    def __init__(
        self, *, url: str, problem: str, advice: str, is_disagreement: bool = False, may_pass: bool = False
    ) -> None:
        super().__init__(f"{url}: {problem}; nothing of it was kept: {advice}")
        self.url = url
        self.problem = problem
        self.is_disagreement = is_disagreement
        self.may_pass = may_pass or is_disagreement


class IncompleteBodyError(TransferError):
    """The body ended at another length than promised.

    Attributes:
        url: who sent it, without secrets.
        expected_bytes: the length that was promised, or None.
        received_bytes: how much came.
        problem: how it ended.
        is_malformed: its framing is broken, so that some of what came before may be no bytes of the file.
    """

    def __init__(
        self, *, url: str, expected_bytes: int | None, received_bytes: int, problem: str, is_malformed: bool = False
    ) -> None:
        expected = "" if expected_bytes is None else f", expected {expected_bytes} bytes"
        super().__init__(f"{url}: {problem}: got {received_bytes} bytes{expected}; try again")
        self.url = url
        self.expected_bytes = expected_bytes
        self.received_bytes = received_bytes
        self.problem = problem
        self.is_malformed = is_malformed


class TooLargeError(TransferError):
    """The file is larger than ``max_bytes``.

    Attributes:
        url: of the file, without secrets.
        max_bytes: the limit.
        size_bytes: the length that was announced, or None if only what arrived told.
    """

    def __init__(self, *, url: str, max_bytes: int, size_bytes: int | None) -> None:
        got = "more has arrived" if size_bytes is None else f"the server announced {size_bytes}"
        super().__init__(
            f"{url}: larger than max_bytes={max_bytes}: {got}; nothing was kept: raise max_bytes if you want it"
        )
        self.url = url
        self.max_bytes = max_bytes
        self.size_bytes = size_bytes


class ChecksumMismatchError(TransferError):
    """The bytes are not those that the digest names.

    Attributes:
        url: of the file, without secrets.
        algorithm: of the digest.
        expected: the digest that was asked for, in hex digits.
        got: the digest of what came, in hex digits.
    """

    def __init__(self, *, url: str, algorithm: str, expected: str, got: str) -> None:
        super().__init__(
            f"{algorithm} of {url} is {got}, expected {expected}; what was received was deleted: "
            f"pass the right digest, or ask the publisher why it differs"
        )
        self.url = url
        self.algorithm = algorithm
        self.expected = expected
        self.got = got


class TargetExistsError(TransferError, FileExistsError):
    """The final name, or the part file that leads to it, is taken.

    Attributes:
        path: what is in the way.
        problem: what is the matter with it.
    """

    def __init__(self, *, path: str, problem: str, advice: str) -> None:
        super().__init__(f"{path}: {problem}; nothing was overwritten: {advice}")
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        # OSError prints its own way as soon as it has an errno; this class never has one.
        return str(self.args[0])


class StorageError(TransferError, OSError):
    """The directory or the disk refused.

    Attributes:
        path: the file or directory.
        problem: what the system said.
        errno: the system's number of the error, or None.
    """

    def __init__(self, *, path: str, problem: str, advice: str, errno: int | None = None) -> None:
        super().__init__(f"{path}: {problem}; {advice}")
        self.path = path
        self.problem = problem
        self.errno = errno

    def __str__(self) -> str:
        return str(self.args[0])
