"""From an origin to a link: look-up, connection, TLS.

Rules that hold here:

- several addresses are tried as RFC 8305 says, which trio does;
- what was begun is closed, however this is left;
- who wants to know how far it is, is told in the words that httpx's users know.

Source:
    RFC 8305 (Happy Eyeballs).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import Any, TypeAlias

import trio

from ..rules._destinations import AnyAddress
from ._link import Link
from ._problems import ConnectError
from ._request_head import Origin
from ._wire import wire_of

__all__ = ["Trace", "connect"]

Trace: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[object]]


async def connect(
    origin: Origin,
    context: ssl.SSLContext | None,
    trace: Trace,
    allow_address: Callable[[AnyAddress], bool] | None = None,
) -> Link:
    """Return a link to *origin*.

    Cancelling it closes what was begun.

    Args:
        origin: to whom.
        context: for TLS; needed if the origin is secure.
        trace: is told how far it is.
        allow_address: whether an address may be connected to; None allows all.

    Raises:
        ConnectError: there is none.
    """
    await trace("connection.connect_tcp.started", {"host": origin.host, "port": origin.port})
    try:
        if allow_address is None:
            stream = await trio.open_tcp_stream(origin.host, origin.port)
        else:
            stream = await _open_allowed(origin, allow_address)
    except OSError as exc:
        raise ConnectError(str(exc)) from exc
    link = Link(wire_of(stream))
    try:
        await trace("connection.connect_tcp.complete", {"return_value": link})
        if origin.is_secure:
            assert context is not None
            await trace("connection.start_tls.started", {})
            try:
                await link.start_tls(context, origin.server_name or origin.host)
            except OSError as exc:
                raise ConnectError(str(exc)) from exc
            await trace("connection.start_tls.complete", {"return_value": link})
    except BaseException:
        link.close()
        raise
    return link


async def _open_allowed(origin: Origin, allow_address: Callable[[AnyAddress], bool]) -> trio.SocketStream:
    """Connect to the first of the addresses that are allowed; what was looked at is what is connected to."""
    found = await trio.socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    allowed = [each for each in addresses if allow_address(ip_address(each.partition("%")[0]))]
    if not allowed:
        raise ConnectError(f"{origin.host} has no address that is allowed")
    for address in allowed[:-1]:
        with contextlib.suppress(OSError):
            return await trio.open_tcp_stream(address, origin.port)
    return await trio.open_tcp_stream(allowed[-1], origin.port)
