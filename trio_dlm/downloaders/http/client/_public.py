"""A request that may go to public addresses only: to the first of them, in their order, that can be connected to.

Rules that hold here:

- names are looked up here, and what was found is connected to;
- each address has a part of the time, so that one that does not answer leaves some for the others;
- once there is a connection, or a kept one was used, no other address is tried: what fails then is an answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ...._errors import ConnectionFailedError, DownloadTimeoutError
from ..rules._address import Address
from ..rules._destinations import AnyAddress
from ._faults import errors_below
from ._resolving import look_up_public
from ._waits import Route, Waits

__all__ = ["send_to_public"]

_T = TypeVar("_T")


async def send_to_public(
    to: Address,
    *,
    connect_timeout_s: float,
    timeout_s: float,
    library: str,
    send: Callable[[Waits], Awaitable[_T]],
) -> tuple[_T, Waits]:
    """Call *send* for one address after the other, until there is a connection, and return what it returned.

    Args:
        to: who is asked.
        connect_timeout_s: for the look-up and all connections together.
        timeout_s: for the header.
        library: who raises what :meth:`Waits.describe` is to describe.
        send: sends the request by the route of its argument.

    Raises:
        TransferError: nobody was reached, or what *send* raised.
    """
    ready_by = trio.current_time() + connect_timeout_s
    addresses = await _look_up(to, Waits(to, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s), library)
    while True:  # noqa: ASYNC913  (each turn sends a request)
        now = trio.current_time()
        route = Route(addresses.pop(0), now + (ready_by - now) / (len(addresses) + 1), ready_by)
        waits = Waits(to, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s, route=route)
        try:
            return await send(waits), waits
        except (ConnectionFailedError, DownloadTimeoutError):
            if not addresses or not waits.is_fresh or waits.has_connected:
                raise


async def _look_up(to: Address, waits: Waits, library: str) -> list[AnyAddress]:
    waits.begin_look_up()
    with waits.scope, errors_below(library, waits.describe):
        return await look_up_public(to)
    raise waits.timeout()
