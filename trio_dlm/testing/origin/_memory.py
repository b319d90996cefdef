"""The origin in memory: no socket of the machine, so that time may be virtual.

Rules that hold here:

- with a network in memory below the run it listens there under its name, and clients reach it by its address; without
  one only :meth:`~trio_dlm.testing.origin.Origin.connect` gets there;
- both ways lead through the same sockets in memory, with their bounded buffers and their resets.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from ..world._network import current_network, open_memory_pair
from ._background import open_background
from ._certificates import make_certificate
from ._resource import DEFAULT_BODY
from ._server import Origin, Plan

__all__ = ["open_memory_origin"]


@asynccontextmanager
async def open_memory_origin(
    plan: Plan | None = None,
    *,
    body: bytes = DEFAULT_BODY,
    host: str = "origin.test",
    tls: bool | ssl.SSLContext = False,
) -> AsyncGenerator[Origin, None]:
    """Have an origin in memory until the block ends; what is still connected then is closed.

    Args:
        plan: what it does with requests; without one it answers by scripts only.
        body: the bytes of its file.
        host: its name in the network in memory; ports are those of the schemes, 80 and 443.
        tls: serve https, with this context or with a certificate made for it.
    """
    certificate = make_certificate(host) if tls is True else None
    context = tls if isinstance(tls, ssl.SSLContext) else certificate and certificate.server_context
    port = 80 if context is None else 443
    network = current_network()
    async with open_background() as nursery:

        async def connect(origin: Origin) -> trio.SocketStream:
            if network is not None:
                return await trio.open_tcp_stream(host, port)
            client, server = open_memory_pair()
            nursery.start_soon(origin.serve, server)
            await trio.lowlevel.checkpoint()
            return client

        origin = Origin(plan, body, host=host, port=port, connector=connect, context=context, certificate=certificate)
        if network is not None:
            network.listen(host, port, origin.serve, nursery=nursery)
        yield origin
