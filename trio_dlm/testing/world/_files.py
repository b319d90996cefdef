"""Files that fail when they are told to: every operation below a directory is counted, and one of them can be refused.

What is watched is what Python code calls: the functions of :mod:`os`, by path and by descriptor, and the files that
``open()``, ``io.open()`` and :mod:`pathlib` give.  Not watched: functions that a module had imported by name before,
``io.FileIO`` called directly, what an ``os.DirEntry`` is asked for (its ``stat()``, and where the system has not said
it at once also ``is_file()`` and its like), and what goes to the system past all of these (``mmap``, SQLite, other
processes).

Rules that hold here:

- an operation that fails has not happened.  Close is the exception: the descriptor is closed, and then the error is
  raised, as Linux does it; and ``os.access`` raises nothing, but says no, as it does to every error;
- paths and descriptors elsewhere are left alone;
- a descriptor is told by what it was opened on, so that its number, used again by somebody else, is no leak;
- several threads may use files at the same time; which of them is which operation is then up to them.

Source:
    close(2), "Dealing with error returns from close()"; write(2) for writes that take a part only.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import functools
import io
import os
import threading
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast, final

from .._places import innermost

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, StrOrBytesPath, WriteableBuffer

__all__ = ["FileOperation", "WatchedFiles", "failing_files"]

_T = TypeVar("_T")
_Function: TypeAlias = Callable[..., Any]

_real_fstat: Final = os.fstat

# Each argument that names a file: where it stands, what it is called, and the keyword of the directory that it is
# relative to.  A number given as a path is a descriptor.
_PATH: Final = ((0, "path", "dir_fd"),)
_TWO_PATHS: Final = ((0, "src", "src_dir_fd"), (1, "dst", "dst_dir_fd"))
_LINK_ONLY: Final = ((1, "dst", "dir_fd"),)
_DESCRIPTOR: Final = ((0, "fd", None),)
_TWO_DESCRIPTORS: Final = ((0, "out_fd", None), (1, "in_fd", None))
_COPIED: Final = ((0, "src", None), (1, "dst", None))

_Arguments: TypeAlias = tuple[tuple[int, str, str | None], ...]

_ARGUMENTS: Final[Mapping[str, _Arguments]] = {
    **dict.fromkeys(
        (
            *("access", "chflags", "chmod", "chown", "getxattr", "lchflags", "lchmod", "lchown", "listdir"),
            *("listxattr", "lstat", "mkdir", "mkfifo", "mknod", "open", "readlink", "remove", "removexattr", "rmdir"),
            *("scandir", "setxattr", "stat", "statvfs", "truncate", "unlink", "utime"),
        ),
        _PATH,
    ),
    **dict.fromkeys(("link", "rename", "replace"), _TWO_PATHS),
    "symlink": _LINK_ONLY,
    **dict.fromkeys(
        (
            *("close", "dup", "dup2", "fchmod", "fchown", "fdatasync", "fstat", "fstatvfs", "fsync", "ftruncate"),
            *("lockf", "lseek", "posix_fadvise", "posix_fallocate", "pread", "preadv", "pwrite", "pwritev", "read"),
            *("readv", "write", "writev"),
        ),
        _DESCRIPTOR,
    ),
    "sendfile": _TWO_DESCRIPTORS,
    **dict.fromkeys(("copy_file_range", "splice"), _COPIED),
}

# What needs room on the disk, and of these what can be cut.
_WRITES: Final = frozenset({"copy_file_range", "posix_fallocate", "pwrite", "pwritev", "sendfile", "write", "writev"})
_CUT: Final = frozenset({"pwrite", "write"})

# By these the standard library knows what a function can do; it asks for the function itself.
_ABILITIES: Final = ("supports_dir_fd", "supports_effective_ids", "supports_fd", "supports_follow_symlinks")


@final
@dataclass(frozen=True, slots=True)
class FileOperation:
    """One thing that was asked of the system.

    Attributes:
        call: the function of :mod:`os` that does it, or would.
        paths: what it was about, relative to the directory that is watched, ``.`` for that itself; two for ``link``,
            ``rename`` and ``replace``.
    """

    call: str
    paths: tuple[str, ...]

    @property
    def is_write(self) -> bool:
        """Whether it needs room on the disk."""
        return self.call in _WRITES

    @property
    def is_removal(self) -> bool:
        """Whether it takes a file away."""
        return self.call in ("remove", "rmdir", "unlink")

    @property
    def is_look(self) -> bool:
        """Whether it asks what is under a name."""
        return self.call in ("access", "lstat", "stat")

    def __str__(self) -> str:
        return f"{self.call} {' -> '.join(self.paths)}"


@final
class WatchedFiles:
    """What was done to the files below a directory.  Given by :func:`failing_files`.

    Attributes:
        operations: all that were asked for, also the failed one.
        failed: the one that was refused, or the write that was cut.
        failed_at: the place in the code that asked for it.
    """

    def __init__(self, directory: StrOrBytesPath, *, fail_at: int | None, error: int, cut: bool) -> None:
        self.operations: list[FileOperation] = []
        self.failed: FileOperation | None = None
        self.failed_at: str | None = None
        given = os.path.abspath(os.fsdecode(directory))
        # Somebody may reach the same directory with and without its links.
        self._roots = (given, os.path.realpath(given))
        self._fail_at = fail_at
        self._error = error
        self._cut = cut
        self._is_full = False
        self._descriptors: dict[int, tuple[str, os.stat_result]] = {}
        self._lock = threading.RLock()
        self._open_elsewhere: Callable[..., IO[Any]] = io.open

    def open_descriptors(self) -> list[str]:
        """Return what the descriptors that are open still are of, one entry for each."""
        return [path for fd, (path, opened) in self._descriptors.items() if _is_same(fd, opened)]

    def _name(self, value: object, dir_fd: object = None) -> str | None:
        """Return what a path or a descriptor is below the directory, or None for what is elsewhere."""
        if isinstance(value, int):
            tracked = self._descriptors.get(value)
            return None if tracked is None or not _is_same(value, tracked[1]) else tracked[0]
        if not isinstance(value, str | bytes | os.PathLike):
            return None
        path = os.fsdecode(cast("StrOrBytesPath", value))
        if isinstance(dir_fd, int) and not path.startswith(os.sep):
            base = self._name(dir_fd)
            if base is None:
                return None
            path = str(Path(self._roots[0], base, path))
        path = os.path.abspath(path)
        for root in self._roots:
            if path == root:
                return "."
            if path.startswith(root + os.sep):
                return path[len(root) + 1 :]
        return None

    def _paths(self, call: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what a call is about, if any of that is below the directory."""
        values = [
            (args[position] if position < len(args) else kwargs.get(name, "."), kwargs.get(beside or ""))
            for position, name, beside in _ARGUMENTS[call]
        ]
        names = [self._name(value, dir_fd) for value, dir_fd in values]
        if not any(names):
            return ()
        return tuple(name or str(value) for name, (value, _) in zip(names, values, strict=True))

    def _perform(self, operation: FileOperation, run: Callable[[], _T], *, data: object = None) -> _T:
        """Count *operation* and do it, or refuse it.

        Args:
            operation: what it is.
            run: does it.
            data: what a write is to write, if that can be cut.
        """
        with self._lock:
            self.operations.append(operation)
            is_due = len(self.operations) == self._fail_at
            if is_due:
                self.failed = operation
                self.failed_at = innermost(traceback.walk_stack(None))
                self._is_full = self._cut
            fails = self._is_full and operation.is_write if self._cut else is_due
        if fails and not (is_due and data is not None):
            if operation.call == "close":
                run()
            raise self._refusal(operation)
        return run()

    def _refusal(self, operation: FileOperation) -> OSError:
        names = [str(Path(self._roots[0], path)) for path in operation.paths]
        return OSError(self._error, os.strerror(self._error), names[0], None, *names[1:])

    def _take(self, fd: int, path: str) -> None:
        """Watch a descriptor from now on."""
        self._descriptors[fd] = path, _real_fstat(fd)

    def _stand_in(self, call: str, real: _Function) -> _Function:
        """Return what counts the calls of *real*."""
        at = 1 if call in _CUT else None

        @functools.wraps(real)
        def counted(*args: Any, **kwargs: Any) -> Any:
            paths = self._paths(call, args, kwargs)
            if not paths:
                return real(*args, **kwargs)
            operation = FileOperation(call, paths)
            half = None if at is None else self._half(args[at])
            if half is not None:
                return self._perform(operation, lambda: real(args[0], half, *args[2:]), data=half)
            if call == "access":
                with contextlib.suppress(OSError):
                    return self._perform(operation, lambda: real(*args, **kwargs))
                return False
            value = self._perform(operation, lambda: real(*args, **kwargs))
            if call in ("open", "dup", "dup2"):
                self._take(value, paths[0])
            return value

        return counted

    def _half(self, data: ReadableBuffer) -> memoryview | None:
        """Return what the next write, if it is the one to be cut, takes of *data*; None if it takes all or nothing."""
        if not self._cut or len(self.operations) + 1 != self._fail_at:
            return None
        view = memoryview(data).cast("B")
        return view[: len(view) // 2] if len(view) > 1 else None

    def _open(  # noqa: PLR0917  (the signature of open())
        self,
        file: StrOrBytesPath | int,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,  # noqa: FBT001, FBT002
        opener: Callable[[str, int], int] | None = None,
    ) -> IO[Any]:
        """Do as ``open()`` does, with a file that is watched."""
        path = self._name(file)
        if path is None:
            return self._open_elsewhere(file, mode, buffering, encoding, errors, newline, closefd, opener)
        is_text = "b" not in mode
        raw = _WatchedFile(file, mode.replace("t", ""), closefd, opener or _open_as_files_do, watched=self, path=path)
        try:
            if buffering == 0:
                if is_text:
                    raise ValueError("can't have unbuffered text I/O")
                return cast("IO[Any]", raw)
            size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
            buffer: io.BufferedRandom | io.BufferedReader | io.BufferedWriter
            if "+" in mode:
                buffer = io.BufferedRandom(raw, size)
            elif "r" in mode:
                buffer = io.BufferedReader(raw, size)
            else:
                buffer = io.BufferedWriter(raw, size)
            if not is_text:
                return buffer
            text = io.TextIOWrapper(buffer, io.text_encoding(encoding), errors, newline, buffering == 1)
            # open() says what it was asked for; the wrapper cannot know.
            text.mode = mode  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
            return text
        except BaseException:
            with contextlib.suppress(OSError):
                raw.close()
            raise


@final
class _WatchedFile(io.FileIO):
    """The lowest layer of a file, whose calls of the system are counted."""

    def __init__(
        self,
        file: StrOrBytesPath | int,
        mode: str,
        closefd: bool,  # noqa: FBT001  (the signature of FileIO)
        opener: Callable[[str, int], int],
        *,
        watched: WatchedFiles,
        path: str,
    ) -> None:
        self._watched = watched
        self._path = path
        # A descriptor that is handed over needs no opener and gets none.
        super().__init__(file, mode, closefd, opener=None if isinstance(file, int) else opener)

    def _do(self, call: str, run: Callable[[], _T], *, data: object = None) -> _T:
        return self._watched._perform(FileOperation(call, (self._path,)), run, data=data)

    def read(self, size: int | None = -1, /) -> bytes | Any:
        below = super().read
        return self._do("read", lambda: below(-1 if size is None else size))

    def readall(self) -> bytes | Any:
        return self._do("read", super().readall)

    def readinto(self, buffer: WriteableBuffer, /) -> int | Any:
        below = super().readinto
        return self._do("read", lambda: below(buffer))

    def write(self, data: ReadableBuffer, /) -> int | Any:
        below = super().write
        half = self._watched._half(data)
        return self._do("write", lambda: below(data if half is None else half), data=half)

    def truncate(self, size: int | None = None, /) -> int:
        below = super().truncate
        return self._do("ftruncate", lambda: below(size))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        below = super().seek
        return self._do("lseek", lambda: below(offset, whence))

    def close(self) -> None:
        # A file whose opening failed has no descriptor, and is closed by its destructor.
        if self.closed or not self.closefd:
            super().close()
        else:
            self._do("close", super().close)


def _open_as_files_do(path: str, flags: int) -> int:
    # By its name in os, where it is counted.
    return os.open(path, flags, 0o666)


def _is_same(fd: int, opened: os.stat_result) -> bool:
    try:
        return os.path.samestat(_real_fstat(fd), opened)
    except OSError:
        return False


@contextlib.contextmanager
def failing_files(
    directory: StrOrBytesPath, fail_at: int | None = None, *, error: int = errno.ENOSPC, cut: bool = False
) -> Generator[WatchedFiles, None, None]:
    """Watch the files in and below *directory*, and refuse operation number *fail_at*.

    For the whole process while the block runs: :mod:`os` and ``open`` are replaced.  Blocks for different directories
    may be nested.

    Args:
        directory: need not exist.
        fail_at: counted from 1; None refuses nothing.
        error: the errno.
        cut: the disk becomes full at *fail_at* instead: a write that is this operation takes half of its data, and
            every write after it is refused.
    """
    watched = WatchedFiles(directory, fail_at=fail_at, error=error, cut=cut)
    with contextlib.ExitStack() as restore:
        for call in _ARGUMENTS:
            if hasattr(os, call):
                _replace(restore, os, call, watched._stand_in(call, getattr(os, call)))
        opens = watched._open
        for module in (io, builtins):
            _replace(restore, module, "open", opens)
        yield watched


def _replace(restore: contextlib.ExitStack, module: object, name: str, stand_in: _Function) -> None:
    real = getattr(module, name)
    restore.callback(setattr, module, name, real)
    setattr(module, name, stand_in)
    for ability in _ABILITIES:
        functions: set[_Function] = getattr(os, ability)
        if real in functions:
            functions.add(stand_in)
            restore.callback(functions.discard, stand_in)
