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
import importlib.util
import logging
import ssl
import sys
import urllib.request
from collections.abc import AsyncGenerator, Sequence
from contextvars import ContextVar
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import trio

from ...._errors import ConnectionFailedError, HttpClientError, TransferError, UnusableReplyError
from ...._rate import RateLimit
from ...._urls import redact_url
from ..rules._address import Address
from ..rules._head import ReplyHead
from ..rules._pace import Pace
from ._client_settings import DEFAULT_SETTINGS, ClientSettings
from ._exchange import BATCH_BYTES, BATCH_S, Exchange
from ._faults import errors_below
from ._own import LIBRARIES, USER_AGENT, OwnClient, load_library
from ._public import send_to_public
from ._waits import Waits

if TYPE_CHECKING:
    # Either will do; flake8-async would have everybody use the second.
    from httpx import AsyncBaseTransport as HttpxTransport  # noqa: ASYNC127
    from httpx import AsyncClient as HttpxClient  # noqa: ASYNC127
    from httpx2 import AsyncBaseTransport as Httpx2Transport
    from httpx2 import AsyncClient as Httpx2Client

    AnyAsyncClient: TypeAlias = HttpxClient | Httpx2Client

    class AnyAsyncTransport(HttpxTransport, Httpx2Transport):  # type: ignore[misc]
        """Each library has a class of its own, and asks for no more than the methods."""

else:
    AnyAsyncTransport = object

__all__ = [
    "BATCH_BYTES",
    "BATCH_S",
    "LIBRARIES",
    "AnyAsyncTransport",
    "AnyClient",
    "Client",
    "ClientSettings",
    "Exchange",
    "open_client",
]

# Closing only tells the kernel: TLS is closed without waiting for the other side.  This limit is for what cannot
# happen.
_CLOSE_S: Final = 5.0

# How many more reads an abandoned body may bring before it notices.  What the library has buffered is less.
_MOST_READS_TO_NOTICE: Final = 1000

_in_exchange: ContextVar[bool] = ContextVar("trio_dlm.in_exchange", default=False)


@contextlib.asynccontextmanager
async def open_client(
    client: AnyAsyncClient | None, settings: ClientSettings = DEFAULT_SETTINGS
) -> AsyncGenerator[Client | OwnClient, None]:
    """Open what exchanges are made with: *client*, which stays its owner's to close, or connections of our own.

    Where a proxy or HTTP/2 is wanted, that is a client of the library's, made here.

    Making one loads the certificates of all authorities, which takes a tenth of a second of processor time, so it is
    done in a thread.  Leaving the block closes it and every connection of it.

    Args:
        client: the user's, or None.
        settings: for one of our own; a user's was told by the user.

    Raises:
        TypeError: *client* is no ``AsyncClient`` of either library.
        HttpClientError: one of our own could not be made.
    """
    if client is not None:
        yield Client(client, library_of(client))
        return
    if not (settings.proxy or settings.http2 or _has_proxies()):
        async with OwnClient(settings) as own:
            yield own
        return
    library, made = await trio.to_thread.run_sync(make_clients, settings, limiter=trio.CapacityLimiter(1))
    try:
        yield Client(made[0], library, for_public=made[-1])
    finally:
        for each in made:
            with trio.move_on_after(_CLOSE_S, shield=True):
                await each.aclose()


def _has_proxies() -> bool:
    """Whether the environment names a proxy, for some address at least."""
    return any(scheme in ("http", "https", "all") for scheme in urllib.request.getproxies())


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


def make_clients(settings: ClientSettings) -> tuple[Any, list[Any]]:
    """Return the library and a new client of it, and for HTTP/2 a second one without.  Takes long; call it in a thread.

    Raises:
        HttpClientError: it cannot be made.
    """
    library = load_library()
    if settings.http2 and importlib.util.find_spec("h2") is None:
        raise HttpClientError(
            problem="HTTP/2 needs the package h2, which is not installed",
            advice="run: pip install 'trio-dlm[http2]'",
        )
    try:
        return library, [
            make_client(library, settings, http2=http2) for http2 in ((True, False) if settings.http2 else (False,))
        ]
    except (OSError, ValueError, ImportError, library.InvalidURL) as exc:
        # Certificates that cannot be read (ssl.SSLError is an OSError), and proxies that nobody understands.
        file = f" ({settings.ca_file})" if settings.ca_file is not None and isinstance(exc, OSError) else ""
        raise HttpClientError(problem=f"{type(exc).__name__}: {redact_url(str(exc))}{file}") from exc


def make_client(library: Any, settings: ClientSettings, *, http2: bool) -> Any:
    """Return a new client of *library*."""
    return library.AsyncClient(
        headers={"User-Agent": USER_AGENT},
        # A jar that takes nothing: cookies of one download would go along with another.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        # The number of downloads is limited elsewhere; one that runs must not wait for another one's connection.
        # None is used twice: what a server sent behind the end of a reply stays in the library's buffer, out of sight,
        # and would be taken for the reply to the next request (RFC 9112 section 9.3: one response for each).
        limits=library.Limits(max_connections=None, max_keepalive_connections=0),
        timeout=None,
        proxy=settings.proxy,
        http2=http2,
        verify=True if settings.ca_file is None else ssl.create_default_context(cafile=settings.ca_file),
    )


@final
class Client:
    """One ``AsyncClient``, and the exchanges made with it.  Made by :func:`open_client`."""

    def __init__(self, client: Any, library: Any, *, for_public: Any = None) -> None:
        self._client = client
        # One that speaks only HTTP/1.1, for addresses that are checked; Waits says why.
        self._for_public = client if for_public is None else for_public
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
        min_rate_bytes_per_s: float | None = None,
        limiter: RateLimit | None = None,
        allow_private: bool = True,
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
            min_rate_bytes_per_s: a body that comes slower, over ``timeout_s`` of waiting for it, is given up.
            limiter: what to ask before each read of the body.
            allow_private: connect to addresses that are not public.  With False the name is looked up here, and the
                request goes to one of the public addresses that were found, or to nobody: not by a proxy, not over
                HTTP/2, and not over a connection that was there before.

        Raises:
            ConnectionFailedError: no connection, or none that is permitted, or it broke.
            DownloadTimeoutError: no connection or no header in time.
            InvalidUrlError: the library refuses the URL.
            UnusableReplyError: the reply is not HTTP.
        """
        send = self._send if allow_private else self._send_to_public
        response = await send(to, headers, is_named=is_named, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s)
        # Referenced to its end: trio closes a forgotten generator, and its socket, at a time of its own.
        body = response.aiter_raw()
        exchange = Exchange(
            _head_of(to, response),
            body,
            self._library.__name__,
            timeout_s,
            pace=None if min_rate_bytes_per_s is None else Pace(min_rate_bytes_per_s, timeout_s),
            limiter=limiter,
            close=partial(self._close, response, body),
        )
        try:
            yield exchange
        finally:
            await exchange.aclose()

    async def _send(
        self,
        to: Address,
        headers: Sequence[tuple[str, str]],
        *,
        is_named: bool,
        connect_timeout_s: float,
        timeout_s: float,
    ) -> Any:
        """Send a request over any connection that the client has or makes."""
        client = self._client
        waits = Waits(to, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s)
        try:
            return await self._send_once(client, to, headers, waits, is_named=is_named)
        except (ConnectionFailedError, UnusableReplyError):
            # The server may have closed a kept connection just when it was used again; a GET may be repeated then (RFC
            # 9112 section 9.3.1).  Once: what fails again is no coincidence.
            if waits.stage != "sent" or waits.is_fresh:
                raise
        waits = Waits(to, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s)
        return await self._send_once(client, to, headers, waits, is_named=is_named)

    async def _send_to_public(
        self,
        to: Address,
        headers: Sequence[tuple[str, str]],
        *,
        is_named: bool,
        connect_timeout_s: float,
        timeout_s: float,
    ) -> Any:
        """Send a request to a public address of its host."""

        async def send(waits: Waits) -> Any:
            return await self._send_once(self._for_public, to, headers, waits, is_named=is_named)

        response, waits = await send_to_public(
            to, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s, library=self._library.__name__, send=send
        )
        if waits.has_connected:
            return response
        with trio.move_on_after(_CLOSE_S, shield=True):
            await self._close(response, response.aiter_raw())
        raise waits.unreported()

    async def _send_once(
        self, client: Any, to: Address, headers: Sequence[tuple[str, str]], waits: Waits, *, is_named: bool
    ) -> Any:
        token = _in_exchange.set(True)
        try:
            with waits.scope, errors_below(self._library.__name__, waits.describe):
                request = self._request(client, to, headers, waits, is_named=is_named)
                # The client's auth is for the origins that the user named; None means none.
                auth = {} if is_named else {"auth": None}
                return await client.send(request, stream=True, follow_redirects=False, **auth)
        finally:
            _in_exchange.reset(token)
            if waits.unowned is not None:
                with trio.move_on_after(_CLOSE_S, shield=True):
                    await waits.unowned.aclose()
        raise waits.timeout()

    def _request(
        self, client: Any, to: Address, headers: Sequence[tuple[str, str]], waits: Waits, *, is_named: bool
    ) -> Any:
        fields = [(name.encode("ascii"), value.encode()) for name, value in headers]
        extensions = {
            "timeout": dict.fromkeys(("connect", "read", "write", "pool")),
            "trace": waits.trace,
        }
        if is_named:
            request = client.build_request("GET", to.url, headers=fields, extensions=extensions)
        else:
            names = {name.lower() for name, _ in fields}
            if b"user-agent" not in names:
                fields.append((b"User-Agent", client.headers.get("user-agent", USER_AGENT).encode()))
            if b"accept" not in names:
                fields.append((b"Accept", b"*/*"))
            request = self._library.Request("GET", to.url, headers=fields, extensions=extensions)
        if waits.route is not None:
            # Host, cookies and what the client adds were taken from the name; the certificate is compared with it.
            request.url = request.url.copy_with(host=str(waits.route.ip))
            request.extensions["sni_hostname"] = to.origin.host
            # Nobody else is to find this connection by its number.
            request.headers["Connection"] = "close"
        return request

    async def _close(self, response: Any, body: Any) -> None:
        """Close what is left of an exchange.  That it fails changes nothing any more."""
        with (
            trio.move_on_after(_CLOSE_S, shield=True),
            contextlib.suppress(TransferError),
            errors_below(self._library.__name__, lambda _: TransferError()),
        ):
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


def _head_of(to: Address, response: Any) -> ReplyHead:
    return ReplyHead(
        address=to,
        status=response.status_code,
        phrase=response.reason_phrase,
        version=response.http_version,
        fields=tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw),
    )


AnyClient: TypeAlias = Client | OwnClient
"""What exchanges are made with."""


@final
class _SecretsFilter(logging.Filter):
    """Redacts the address in the library's own line "HTTP Request: GET …", for exchanges of ours only."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _in_exchange.get() and isinstance(record.args, tuple):
            record.args = tuple(redact_url(str(each)) if type(each).__name__ == "URL" else each for each in record.args)
        return True


_SECRETS_FILTER: Final = _SecretsFilter()
