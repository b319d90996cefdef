"""From the name of a host to the addresses that a download for a stranger may connect to.

Rules that hold here:

- an address is looked up here and then connected to as it is: a second look-up could bring another one (DNS rebinding);
- the system reads the odd spellings, such as ``127.1`` and ``0x7f000001``, as it would when it connects;
- of several addresses those that are public are used.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

import trio

from ...._errors import ConnectionFailedError
from ..rules._address import Address
from ..rules._destinations import AnyAddress, problem_of

__all__ = ["look_up_public"]

# A name with very many addresses must not make very many attempts.
_MOST_ADDRESSES = 4


async def look_up_public(to: Address) -> list[AnyAddress]:
    """Return the public addresses of the host of *to*, from 1 to 4, in the system's order.

    Cancelling it forgets the look-up.  Whoever calls it sets the limit of time.

    Raises:
        ConnectionFailedError: it has none that is public.
        OSError: the name has none at all, or nobody could be asked.
    """
    host, port = to.origin[1:]
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # What follows a "%" is the zone of a link-local one.
    addresses = dict.fromkeys(ip_address(str(each[4][0]).partition("%")[0]) for each in found)
    problems = {ip: problem_of(ip) for ip in addresses}
    permitted = [ip for ip, problem in problems.items() if problem is None]
    if not permitted:
        # One is enough to go by; the rest is nobody's business.
        ip, problem = next(iter(problems.items()))
        where = f"{ip} is" if str(ip) == host else f"{host} is at {ip},"
        raise ConnectionFailedError(
            url=to.shown,
            problem=f"{where} {problem}, and was not connected to",
            advice="allow_private_addresses=True permits that, for addresses that you trust",
            may_pass=False,
        )
    return permitted[:_MOST_ADDRESSES]
