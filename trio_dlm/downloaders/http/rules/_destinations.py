"""Which addresses are public: those that a download for a stranger may connect to.

Rules that hold here:

- what passes is global unicast; what is not known to be that is refused;
- an IPv6 address with an IPv4 address inside is refused whatever that is: where it leads is for a gateway to say, and
  gateways that lead to private networks exist;
- the tables are our own, since what :mod:`ipaddress` calls global differs between releases of Python.

Source:
    The special-purpose address registries of the IANA (RFC 6890 and what it lists); RFC 4291 sections 2.4 and 2.5 for
    the kinds of IPv6 addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

__all__ = ["REFUSED_NETWORKS", "AnyAddress", "problem_of"]

AnyAddress: TypeAlias = IPv4Address | IPv6Address

_REFUSED_4: Final = tuple(
    (IPv4Network(network), words)
    for network, words in (
        ("0.0.0.0/32", "the unspecified address"),
        # RFC 1122 section 3.2.1.3.
        ("0.0.0.0/8", "an address of this network"),
        ("10.0.0.0/8", "a private address"),
        # RFC 6598: between customers and their provider.
        ("100.64.0.0/10", "a shared address"),
        ("127.0.0.0/8", "a loopback address"),
        # Where clouds serve a machine's own credentials.
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "an address reserved for protocols"),
        ("192.0.2.0/24", "an address for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "an address for benchmarks"),
        ("198.51.100.0/24", "an address for documentation"),
        ("203.0.113.0/24", "an address for documentation"),
        ("224.0.0.0/4", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
        ("240.0.0.0/4", "a reserved address"),
    )
)

_EMBEDDED: Final = "an address with an IPv4 address inside"

_REFUSED_6: Final = tuple(
    (IPv6Network(network), words)
    for network, words in (
        ("::/128", "the unspecified address"),
        ("::1/128", "a loopback address"),
        # IPv4-compatible, IPv4-mapped and IPv4-translated (RFC 4291 section 2.5.5, RFC 2765 section 2.1).
        ("::/96", _EMBEDDED),
        ("::ffff:0:0/96", _EMBEDDED),
        ("::ffff:0:0:0/96", _EMBEDDED),
        # NAT64 (RFC 6052, RFC 8215).
        ("64:ff9b::/96", _EMBEDDED),
        ("64:ff9b:1::/48", _EMBEDDED),
        ("100::/64", "an address that discards"),
        # Teredo (RFC 4380), a part of what follows it.
        ("2001::/32", _EMBEDDED),
        ("2001:2::/48", "an address for benchmarks"),
        ("2001::/23", "an address reserved for protocols"),
        ("2001:db8::/32", "an address for documentation"),
        # 6to4 (RFC 3056).
        ("2002::/16", _EMBEDDED),
        ("3fff::/20", "an address for documentation"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        # RFC 3879: deprecated, and still routed where it was in use.
        ("fec0::/10", "a private address"),
        ("ff00::/8", "a multicast address"),
    )
)

# All that was ever given out for the public (RFC 4291 section 2.4 reserves the rest for it, for some day).
_GLOBAL_6: Final = IPv6Network("2000::/3")

# The same for who cannot ask here: networks as texts, those that IPv6 has not given out among them.
REFUSED_NETWORKS: Final = (
    *(str(network) for network, _ in _REFUSED_4),
    *(str(network) for network, _ in _REFUSED_6),
    *("::/3", "4000::/2", "8000::/1"),
)


def problem_of(ip: AnyAddress) -> str | None:
    """Say why *ip* is not public, as ``"a loopback address"``; None if it is."""
    if isinstance(ip, IPv4Address):
        return next((words for network, words in _REFUSED_4 if ip in network), None)
    for network, words in _REFUSED_6:
        if ip in network:
            return words
    return None if ip in _GLOBAL_6 else "a reserved address"
