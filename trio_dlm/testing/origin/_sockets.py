"""The origin on a socket of the machine, for clients that trio knows nothing of.

Rules that hold here:

- loopback only, on a port that was free;
- the clock is the real one, unless a test knows better.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio

from ._background import open_background
from ._certificates import make_certificate
from ._resource import DEFAULT_BODY
from ._server import Origin, Plan

__all__ = ["open_origin"]

_LOOPBACK: Final = "127.0.0.1"


@asynccontextmanager
async def open_origin(
    plan: Plan | None = None,
    *,
    body: bytes = DEFAULT_BODY,
    tls: bool | ssl.SSLContext = False,
    host: str = _LOOPBACK,
) -> AsyncGenerator[Origin, None]:
    """Listen on a free port of loopback until the block ends; what is still connected then is closed.

    Args:
        plan: what it does with requests; without one it answers by scripts only.
        body: the bytes of its file.
        tls: serve https, with this context or with a certificate made for it.
        host: the name in the addresses that it gives; ``localhost`` makes another origin of the same machine.
    """
    certificate = make_certificate(host, _LOOPBACK) if tls is True else None
    context = tls if isinstance(tls, ssl.SSLContext) else certificate and certificate.server_context
    async with open_background() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=_LOOPBACK)
        port: int = listener.socket.getsockname()[1]

        async def connect(_: Origin) -> trio.SocketStream:
            return await trio.open_tcp_stream(_LOOPBACK, port)

        origin = Origin(plan, body, host=host, port=port, connector=connect, context=context, certificate=certificate)
        # In this nursery, so that the mistake of a script does not come out in a group.
        await nursery.start(partial(trio.serve_listeners, handler_nursery=nursery), origin.serve, [listener])
        yield origin
