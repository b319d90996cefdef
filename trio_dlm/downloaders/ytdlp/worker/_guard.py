"""No connection to an address that is not public: what Python dials is looked at, and refused.

Rules that hold here:

- the address that is dialled counts, not the name that led to it: a name that changes its address passes nothing;
- it holds for Python's own sockets.  Libraries and programs that dial by themselves are not seen, so they are left out:
  :mod:`._job` takes away the one, and the parameters forbid the other.

Source:
    PEP 578 for audit hooks.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard, cast

__all__ = ["RefusedAddressError", "guard", "refusal"]

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# The events of Python's sockets that name the other side.
_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


class RefusedAddressError(PermissionError):
    """A connection was refused."""


def refusal(denied: Sequence[str], allowed: Sequence[tuple[str, int]]) -> Callable[[object], str | None]:
    """Return what says why an address is refused; None if it is not.

    Args:
        denied: networks.
        allowed: hosts and ports in them that may be dialled.
    """
    networks: list[_Network] = [ipaddress.ip_network(each) for each in denied]
    endpoints = {(host, port) for host, port in allowed}

    def why(address: object) -> str | None:
        # A path is a socket of this machine, such as that of a name service; bytes are of families that we do not use.
        if not _is_endpoint(address):
            return None
        host: str = address[0].partition("%")[0]
        port: object = address[1] if len(address) > 1 else 0
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            # A name, which the socket looks up; what it finds would be seen by nobody.
            return None if (host, port) in endpoints else f"{host} is no address"
        return None if (host, port) in endpoints else _in(networks, ip)

    return why


def _is_endpoint(address: object) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(address, tuple) and isinstance(next(iter(cast("tuple[object, ...]", address)), None), str)


def guard(request: Mapping[str, Any]) -> None:
    """Refuse from now on, for the rest of the process, what *request* forbids."""
    why = refusal(request["denied"], [(host, port) for host, port in request["allowed"]])

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS and (problem := why(arguments[1])) is not None:
            raise RefusedAddressError(13, f"egress refused: {problem}")

    sys.addaudithook(look)


def _in(networks: Sequence[_Network], ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
    network = next((each for each in networks if each.version == ip.version and ip in each), None)
    return None if network is None else f"{ip} is in {network}"
