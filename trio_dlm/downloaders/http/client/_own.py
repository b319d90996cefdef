"""Exchanges over connections of our own, where no client of the user's, proxy or HTTP/2 is asked for.

Rules that hold here:

- nothing is imported or made before it is needed: a download over http needs neither certificates nor a library;
- who may be trusted is up to the library that others would be asked with, so that both ways trust the same;
- what goes wrong is told in the words of the other way.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import ssl
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any, Final, Self, final

import trio

from ...._errors import HttpClientError
from ...._rate import RateLimit
from ...._urls import redact_url
from ..rules._address import Address
from ..rules._head import ReplyHead
from ..rules._pace import Pace
from ..transport._connection import Connection
from ..transport._pool import Pool
from ..transport._problems import TruncatedError
from ..transport._reply_head import Framing
from ..transport._request_head import Origin, WireRequest
from ._client_settings import ClientSettings
from ._exchange import Exchange
from ._faults import errors_below
from ._public import send_to_public
from ._waits import Waits

__all__ = ["OwnClient", "load_library"]

# The names of the libraries, the preferred one first.
LIBRARIES: Final = ("httpx2", "httpx")

USER_AGENT: Final = "trio-dlm"

# Whose exceptions the transport's are.
_PACKAGE: Final = "trio_dlm"

# How a user says whom to trust.
_NAME_AUTHORITIES: Final = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR"})

_PORTS: Final = {"http": 80, "https": 443}


@final
class OwnClient:
    """Connections of our own, and the exchanges made with them.  A context manager: leaving it closes them."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._pool = Pool(self._make_context)

    async def __aenter__(self) -> Self:
        """Read the authorities, if the user names them, so that what is wrong with them is said at once.

        Raises:
            HttpClientError: they cannot be read.
        """
        if self._settings.ca_file is not None or not _NAME_AUTHORITIES.isdisjoint(os.environ):
            await self._pool.prepare()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.close()

    async def _make_context(self) -> ssl.SSLContext:
        # A tenth of a second of processor time.
        return await trio.to_thread.run_sync(_make_context, self._settings, limiter=trio.CapacityLimiter(1))

    @contextlib.asynccontextmanager
    async def exchange(
        self,
        to: Address,
        *,
        headers: Sequence[tuple[str, str]],
        is_named: bool,  # noqa: ARG002  (nothing is added that somebody must not see)
        connect_timeout_s: float,
        timeout_s: float,
        min_rate_bytes_per_s: float | None = None,
        limiter: RateLimit | None = None,
        allow_private: bool = True,
    ) -> AsyncGenerator[Exchange, None]:
        """Send a GET and give the reply, its header read and its body not yet, as :meth:`Client.exchange` does."""
        send = partial(self._send, to, headers)
        if allow_private:
            waits = Waits(to, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s)
            origin, connection = await send(waits)
        else:
            (origin, connection), _ = await send_to_public(
                to, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s, library=_PACKAGE, send=send
            )
        exchange = Exchange(
            _head_of(to, connection),
            Body(connection),
            _PACKAGE,
            timeout_s,
            pace=None if min_rate_bytes_per_s is None else Pace(min_rate_bytes_per_s, timeout_s),
            limiter=limiter,
            close=partial(self._give_back, origin, connection),
            connection=connection,
        )
        try:
            yield exchange
        finally:
            await exchange.aclose()

    async def _give_back(self, origin: Origin, connection: Connection) -> None:
        # One that was made to an address that was looked up here is not for anybody else.
        self._pool.release(origin, connection, may_keep=not origin.server_name)

    async def _send(self, to: Address, headers: Sequence[tuple[str, str]], waits: Waits) -> tuple[Origin, Connection]:
        scheme, host, port = to.origin
        route = waits.route
        origin = Origin(to.is_secure, host if route is None else str(route.ip), port, "" if route is None else host)
        request = WireRequest(origin, b"GET", to.target.encode("ascii"), _fields(host, port, scheme, headers))
        with waits.scope, errors_below(_PACKAGE, waits.describe):
            return origin, await self._pool.send(request, waits.trace, may_keep=route is None)
        raise waits.timeout()


@final
class Body:
    """The body of a reply, as it comes.

    Attributes:
        connection: what it comes over.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self.connection.read()
        except TruncatedError:
            if self.connection.head.framing is not Framing.CLOSE:
                raise
            # Such a body is only believed if a digest proves it.
            data = b""
        if not data:
            raise StopAsyncIteration
        return data


def load_library() -> Any:
    """Import the first of :data:`LIBRARIES` that is installed."""
    *preferred, last = LIBRARIES
    for name in preferred:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return importlib.import_module(last)


def _make_context(settings: ClientSettings) -> ssl.SSLContext:
    try:
        context: ssl.SSLContext = (
            load_library().create_ssl_context()
            if settings.ca_file is None
            else ssl.create_default_context(cafile=settings.ca_file)
        )
    except (OSError, ValueError) as exc:
        # Certificates that cannot be read (ssl.SSLError is an OSError).
        file = f" ({settings.ca_file})" if settings.ca_file is not None else ""
        raise HttpClientError(problem=f"{type(exc).__name__}: {redact_url(str(exc))}{file}") from exc
    context.set_alpn_protocols(["http/1.1"])
    return context


def _fields(host: str, port: int, scheme: str, headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    place = f"[{host}]" if ":" in host else host
    if port != _PORTS[scheme]:
        place += f":{port}"
    names = {name.lower() for name, _ in headers}
    fields = [] if "host" in names else [(b"Host", place.encode("ascii"))]
    fields += [(name.encode("ascii"), value.encode()) for name, value in headers]
    if "user-agent" not in names:
        fields.append((b"User-Agent", USER_AGENT.encode()))
    if "accept" not in names:
        fields.append((b"Accept", b"*/*"))
    return fields


def _head_of(to: Address, connection: Connection) -> ReplyHead:
    head = connection.head
    return ReplyHead(
        address=to,
        status=head.status,
        phrase=head.phrase.decode("latin-1"),
        version=f"HTTP/{head.version}",
        fields=tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in head.fields),
    )
