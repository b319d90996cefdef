"""Which addresses are public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.downloaders.http.rules._destinations import problem_of

EMBEDDED = "an address with an IPv4 address inside"


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2606:2800:220:1:248:1893:25c8:1946",
        "2a00:1450:4001:80b::200e",
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ],
)
def test_a_public_address_passes(text: str) -> None:
    assert problem_of(ip_address(text)) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0.0.0.0", "the unspecified address"),
        ("0.0.0.1", "an address of this network"),
        ("10.0.0.0", "a private address"),
        ("10.255.255.255", "a private address"),
        ("100.64.0.0", "a shared address"),
        ("100.127.255.255", "a shared address"),
        ("127.0.0.1", "a loopback address"),
        ("127.255.255.255", "a loopback address"),
        ("169.254.169.254", "a link-local address"),
        ("172.16.0.0", "a private address"),
        ("172.31.255.255", "a private address"),
        ("192.0.0.1", "an address reserved for protocols"),
        ("192.0.0.170", "an address reserved for protocols"),
        ("192.0.2.1", "an address for documentation"),
        ("192.88.99.1", "a 6to4 relay"),
        ("192.168.0.1", "a private address"),
        ("198.18.0.1", "an address for benchmarks"),
        ("198.19.255.255", "an address for benchmarks"),
        ("198.51.100.1", "an address for documentation"),
        ("203.0.113.1", "an address for documentation"),
        ("224.0.0.1", "a multicast address"),
        ("239.255.255.255", "a multicast address"),
        ("240.0.0.1", "a reserved address"),
        ("255.255.255.254", "a reserved address"),
        ("255.255.255.255", "the broadcast address"),
        ("::", "the unspecified address"),
        ("::1", "a loopback address"),
        ("::7f00:1", EMBEDDED),
        ("::8.8.8.8", EMBEDDED),
        ("::ffff:127.0.0.1", EMBEDDED),
        ("::ffff:8.8.8.8", EMBEDDED),
        ("::ffff:0:8.8.8.8", EMBEDDED),
        ("64:ff9b::10.0.0.1", EMBEDDED),
        ("64:ff9b::8.8.8.8", EMBEDDED),
        ("64:ff9b:1::1", EMBEDDED),
        ("64:ff9b:1:ffff::8.8.8.8", EMBEDDED),
        ("100::1", "an address that discards"),
        ("100:0:0:1::1", "a reserved address"),
        ("2001::1", EMBEDDED),
        ("2001:0:ffff::1", EMBEDDED),
        ("2001:2::1", "an address for benchmarks"),
        ("2001:10::1", "an address reserved for protocols"),
        ("2001:20::1", "an address reserved for protocols"),
        ("2001:1ff:ffff::1", "an address reserved for protocols"),
        ("2001:db8::1", "an address for documentation"),
        ("2002:7f00:1::1", EMBEDDED),
        ("2002:808:808::1", EMBEDDED),
        ("3fff:fff::1", "an address for documentation"),
        ("4000::1", "a reserved address"),
        ("5f00::1", "a reserved address"),
        ("200::1", "a reserved address"),
        ("fc00::1", "a private address"),
        ("fd12:3456:789a::1", "a private address"),
        ("fe00::1", "a reserved address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("febf::1", "a link-local address"),
        ("fec0::1", "a private address"),
        ("feff::1", "a private address"),
        ("ff02::1", "a multicast address"),
        ("ff0e::1", "a multicast address"),
    ],
)
def test_any_other_address_is_refused_in_words(text: str, problem: str) -> None:
    assert problem_of(ip_address(text)) == problem


def addresses() -> st.SearchStrategy[IPv4Address | IPv6Address]:
    # Hypothesis draws from the special networks as often as from all of them.
    return st.ip_addresses()


@given(addresses())
def test_what_passes_is_global_unicast_to_python_too(ip: IPv4Address | IPv6Address) -> None:
    if problem_of(ip) is None:
        assert ip.is_global
        assert not any([ip.is_multicast, ip.is_reserved, ip.is_private, ip.is_loopback, ip.is_link_local])


@given(st.ip_addresses(v=4), st.sampled_from(["::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"]))
def test_no_address_passes_inside_another(ip: IPv4Address, prefix: str) -> None:
    assert problem_of(IPv6Address(int(IPv6Address(prefix)) | int(ip))) is not None


@given(st.ip_addresses(v=4), st.integers(0, 2**80 - 1))
def test_no_6to4_and_no_teredo_address_passes(ip: IPv4Address, rest: int) -> None:
    assert problem_of(IPv6Address(0x2002 << 112 | int(ip) << 80 | rest)) == EMBEDDED
    assert problem_of(IPv6Address(0x20010000 << 96 | rest)) == EMBEDDED
