"""The seam to the HTTP client library: one exchange at a time, bytes as they came, and only our own errors.

Rules that hold here:

- this is the only file that knows ``httpx`` and ``httpx2`` (the maintained continuation with the same interface,
  preferred where it is installed);
- redirects, retries, cookies, decoding and naming are decided elsewhere; a client of our own does none of them;
- every wait has a limit.  The library has limits for single reads only, which a server that sends a byte now and then
  never reaches, so they are switched off and ours are set instead;
- when an exchange has been left, its connection is closed or back in the pool, and nothing of it waits for the
  collector of garbage.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import trio

from ..._errors import ConnectionFailedError, HttpClientError, StalledError, TransferError, UnusableReplyError
from ..._urls import redact_url
from ._address import Address
from ._faults import errors_below, in_body
from ._plan import ReplyHead
from ._waits import Waits

if TYPE_CHECKING:
    # Either will do; flake8-async would have everybody use the second.
    from httpx import AsyncClient as HttpxClient  # noqa: ASYNC127
    from httpx2 import AsyncClient as Httpx2Client

    AnyAsyncClient: TypeAlias = HttpxClient | Httpx2Client

__all__ = ["BATCH_BYTES", "LIBRARIES", "Client", "Exchange", "open_client"]

# The names of the libraries, the preferred one first.
LIBRARIES: Final = ("httpx2", "httpx")

USER_AGENT: Final = "trio-dlm"

# What goes to disk in one hop to a thread.  Hops of 256 KiB double the processor time, hops of 4 MiB keep a
# cancellation waiting for milliseconds.
BATCH_BYTES: Final = 1024 * 1024

# On a slow line a batch is handed over before it is full, so that what has arrived is soon on disk.
BATCH_S: Final = 1.0

# Closing only tells the kernel: TLS is closed without waiting for the other side.  This limit is for what cannot
# happen.
_CLOSE_S: Final = 5.0

# How many more reads an abandoned body may bring before it notices.  What the library has buffered is less.
_MOST_READS_TO_NOTICE: Final = 1000

_in_exchange: ContextVar[bool] = ContextVar("trio_dlm.in_exchange", default=False)


@contextlib.asynccontextmanager
async def open_client(client: AnyAsyncClient | None) -> AsyncGenerator[Client, None]:
    """Open what exchanges are made with: *client*, which stays its owner's to close, or one of our own.

    Making one loads the certificates of all authorities, which takes a tenth of a second of processor time, so it is
    done in a thread.  Leaving the block closes it and every connection of it.

    Raises:
        TypeError: *client* is no ``AsyncClient`` of either library.
        HttpClientError: one of our own could not be made.
    """
    if client is not None:
        yield Client(client, library_of(client))
        return
    try:
        library, made = await trio.to_thread.run_sync(make_client, limiter=trio.CapacityLimiter(1))
    except (OSError, ValueError, ImportError) as exc:
        # Certificates that cannot be read (ssl.SSLError is an OSError), and proxies that nobody understands.
        raise HttpClientError(problem=f"{type(exc).__name__}: {exc}") from exc
    try:
        yield Client(made, library)
    finally:
        with trio.move_on_after(_CLOSE_S, shield=True):
            await made.aclose()


def library_of(client: object) -> Any:
    """Return the library that *client* is from.

    Raises:
        TypeError: it is no ``AsyncClient`` of either.
    """
    for name in LIBRARIES:
        library = sys.modules.get(name)
        if library is not None and isinstance(client, library.AsyncClient):
            return library
    raise TypeError(f"client is an httpx.AsyncClient or an httpx2.AsyncClient, got {type(client).__name__}")


def load_library() -> Any:
    """Import the first of :data:`LIBRARIES` that is installed."""
    *preferred, last = LIBRARIES
    for name in preferred:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return importlib.import_module(last)


def make_client() -> tuple[Any, Any]:
    """Return the library and a new client of it.  Takes long; call it in a thread."""
    library = load_library()
    client = library.AsyncClient(
        headers={"User-Agent": USER_AGENT},
        # A jar that takes nothing: cookies of one download would go along with another.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        # The number of downloads is limited elsewhere; one that runs must not wait for another one's connection.
        # None is used twice: what a server sent behind the end of a reply stays in the library's buffer, out of sight,
        # and would be taken for the reply to the next request (RFC 9112 section 9.3: one response for each).
        limits=library.Limits(max_connections=None, max_keepalive_connections=0),
        timeout=None,
    )
    return library, client


@final
class Client:
    """One ``AsyncClient``, and the exchanges made with it.  Made by :func:`open_client`."""

    def __init__(self, client: Any, library: Any) -> None:
        self._client = client
        self._library = library
        # Adding the same filter again does nothing.
        logging.getLogger(library.__name__).addFilter(_SECRETS_FILTER)

    @contextlib.asynccontextmanager
    async def exchange(
        self,
        to: Address,
        *,
        headers: Sequence[tuple[str, str]],
        is_named: bool,
        connect_timeout_s: float,
        timeout_s: float,
    ) -> AsyncGenerator[Exchange, None]:
        """Send a GET and give the reply, its header read and its body not yet.

        Leaving the block, for whatever reason, gives the connection back to the pool if the body was read to its end,
        and closes it if not.

        Args:
            to: who is asked for what.
            headers: what to send beside Host and what the library adds.
            is_named: the user named this origin: what the user's own client adds to every request (headers, auth,
                cookies, parameters) goes along.  Otherwise none of it does.
            connect_timeout_s: for name look-up, connection and TLS handshake together.
            timeout_s: for the whole header block, informational replies included, and for the silence between two
                reads of the body.

        Raises:
            ConnectionFailedError: no connection, or it broke.
            DownloadTimeoutError: no connection or no header in time.
            InvalidUrlError: the library refuses the URL.
            UnusableReplyError: the reply is not HTTP.
        """
        waits = Waits(to, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s)
        try:
            response = await self._send(to, headers, waits, is_named=is_named)
        except (ConnectionFailedError, UnusableReplyError):
            # The server may have closed a kept connection just when it was used again; a GET may be repeated then (RFC
            # 9112 section 9.3.1).  Once: what fails again is no coincidence.
            if waits.stage != "sent" or waits.is_fresh:
                raise
            waits = Waits(to, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s)
            response = await self._send(to, headers, waits, is_named=is_named)
        # Referenced to its end: trio closes a forgotten generator, and its socket, at a time of its own.
        body = response.aiter_raw()
        try:
            yield Exchange(_head_of(to, response), body, self._library.__name__, timeout_s)
        finally:
            with trio.move_on_after(_CLOSE_S, shield=True):
                await self._close(response, body)

    async def _send(self, to: Address, headers: Sequence[tuple[str, str]], waits: Waits, *, is_named: bool) -> Any:
        token = _in_exchange.set(True)
        try:
            with waits.scope, errors_below(self._library.__name__, waits.describe):
                request = self._request(to, headers, waits, is_named=is_named)
                # The client's auth is for the origins that the user named; None means none.
                auth = {} if is_named else {"auth": None}
                return await self._client.send(request, stream=True, follow_redirects=False, **auth)
        finally:
            _in_exchange.reset(token)
            if waits.handshake is not None:
                with trio.move_on_after(_CLOSE_S, shield=True):
                    await waits.handshake.aclose()
        raise waits.timeout()

    def _request(self, to: Address, headers: Sequence[tuple[str, str]], waits: Waits, *, is_named: bool) -> Any:
        fields = [(name.encode("ascii"), value.encode()) for name, value in headers]
        extensions = {
            "timeout": dict.fromkeys(("connect", "read", "write", "pool")),
            "trace": waits.trace,
        }
        if is_named:
            return self._client.build_request("GET", to.url, headers=fields, extensions=extensions)
        names = {name.lower() for name, _ in fields}
        if b"user-agent" not in names:
            fields.append((b"User-Agent", self._client.headers.get("user-agent", USER_AGENT).encode()))
        if b"accept" not in names:
            fields.append((b"Accept", b"*/*"))
        return self._library.Request("GET", to.url, headers=fields, extensions=extensions)

    async def _close(self, response: Any, body: Any) -> None:
        """Close what is left of an exchange, within the caller's shield.  That it fails changes nothing any more."""
        with contextlib.suppress(TransferError), errors_below(self._library.__name__, lambda _: TransferError()):
            try:
                await _unwind(body)
                await body.aclose()
            finally:
                await response.aclose()


async def _unwind(body: Any) -> None:
    """End a body that is not read any further.

    The library nests generators and closes only the outermost one: those within are closed by trio some time later,
    with a warning.  ``Cancelled`` passes through all of them, since the innermost one waits for the network.
    """
    with trio.CancelScope(shield=True) as scope, contextlib.suppress(StopAsyncIteration):  # noqa: ASYNC912
        scope.cancel(reason="the rest of the body is not wanted")
        for _ in range(_MOST_READS_TO_NOTICE):
            await anext(body)


@final
class Exchange:
    """A reply whose body can be read once.  Given by :meth:`Client.exchange`.

    Attributes:
        head: status and header.
        received_bytes: how much of the body was read.
    """

    __slots__ = ("_body", "_library", "_timeout_s", "head", "received_bytes")

    def __init__(self, head: ReplyHead, body: Any, library: str, timeout_s: float) -> None:
        self.head = head
        self.received_bytes = 0
        self._body = body
        self._library = library
        self._timeout_s = timeout_s

    async def read_batch(self, arrived: Callable[[int], None], *, length: int | None) -> tuple[list[bytes], bool]:
        """Read about a mebibyte, or what comes in about a second, and say whether the body has ended.

        A batch and not an iterator of reads, since a limit of time for each read of 16 KiB would cost more than what is
        done with it.  Cancelling loses what the batch held.

        Args:
            arrived: called with the size of every read.
            length: how many bytes the body should have, for the message if it ends early.

        Raises:
            StalledError: nothing came for ``timeout_s``.
            ConnectionFailedError: the connection broke.
            IncompleteBodyError: the body ended before its end, or its framing is broken.
        """
        chunks: list[bytes] = []
        left = BATCH_BYTES
        timeout_s = self._timeout_s
        read = self._body.__anext__
        now = trio.current_time()
        hand_over_at = now + BATCH_S

        def describe(exc: Exception) -> TransferError:
            return in_body(
                exc,
                url=self.head.address.shown,
                received_bytes=self.received_bytes,
                expected_bytes=length,
                waited_s=trio.current_time() - now,
            )

        with trio.CancelScope(deadline=now + timeout_s) as scope, errors_below(self._library, describe):
            while True:  # noqa: ASYNC913  (each turn waits for a read)
                try:
                    chunk = await read()
                except StopAsyncIteration:
                    return chunks, True
                size = len(chunk)
                chunks.append(chunk)
                self.received_bytes += size
                arrived(size)
                left -= size
                now = trio.current_time()
                if left <= 0 or now >= hand_over_at:
                    return chunks, False
                scope.deadline = now + timeout_s
        raise StalledError(
            url=self.head.address.shown,
            waited_for=f"further byte after the first {self.received_bytes}",
            limit_s=timeout_s,
            option="timeout_s",
        )


def _head_of(to: Address, response: Any) -> ReplyHead:
    return ReplyHead(
        address=to,
        status=response.status_code,
        phrase=response.reason_phrase,
        version=response.http_version,
        fields=tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw),
    )


@final
class _SecretsFilter(logging.Filter):
    """Redacts the address in the library's own line "HTTP Request: GET …", for exchanges of ours only."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _in_exchange.get() and isinstance(record.args, tuple):
            record.args = tuple(redact_url(str(each)) if type(each).__name__ == "URL" else each for each in record.args)
        return True


_SECRETS_FILTER: Final = _SecretsFilter()
