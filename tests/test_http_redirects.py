"""Where a redirect leads, and which ones are not followed."""

from __future__ import annotations

import pytest

from tests.replies import said
from trio_dlm._errors import RedirectError
from trio_dlm.downloaders.http.rules._address import Address, parse_address
from trio_dlm.downloaders.http.rules._redirects import MAX_REDIRECTS, next_hop


def hop(
    location: str, *, status: int = 302, url: str = "https://example.org/", downgrade: bool = False
) -> Address | None:
    head = said(("location", location), status=status, url=url)
    return next_hop(head, hops=[head.address], allow_http_downgrade=downgrade)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(status: int) -> None:
    to = hop("/b", status=status)
    assert to is not None
    assert to.url == "https://example.org/b"


@pytest.mark.parametrize("status", [200, 201, 300, 304, 305, 306, 404])
def test_a_location_elsewhere_is_no_redirect(status: int) -> None:
    assert hop("/b", status=status) is None


def test_a_redirect_without_location_is_none() -> None:
    assert next_hop(said(status=302), hops=[parse_address("https://example.org/")], allow_http_downgrade=False) is None
    assert hop("") is None


def test_the_same_location_twice_is_one() -> None:
    head = said(("location", "/b"), ("location", "/b"), status=302)
    assert next_hop(head, hops=[head.address], allow_http_downgrade=False) is not None


def test_two_locations_are_refused() -> None:
    head = said(("location", "/b"), ("location", "/c"), status=302)
    with pytest.raises(RedirectError, match="another Location"):
        next_hop(head, hops=[head.address], allow_http_downgrade=False)


def test_less_security_is_followed_only_if_allowed() -> None:
    with pytest.raises(RedirectError, match="allow_http_downgrade"):
        hop("http://example.org/b")
    to = hop("http://example.org/b", downgrade=True)
    assert to is not None
    assert not to.is_secure
    assert hop("https://example.org/b", url="http://example.org/") is not None


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://example.org/", "http://", "data:,x", "/\x07"])
def test_only_http_and_https_are_followed(location: str) -> None:
    with pytest.raises(RedirectError):
        hop(location)


def test_a_refused_redirect_tells_no_secret_and_is_short() -> None:
    with pytest.raises(RedirectError) as caught:
        hop("ftp://user:hunter2@example.org/?token=hunter3&" + "x" * 10_000)
    assert "hunter" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_most_redirects_are_followed_and_not_one_more() -> None:
    hops = [parse_address(f"http://example.org/{n}") for n in range(MAX_REDIRECTS)]
    head = said(("location", "/next"), status=302)
    assert next_hop(head, hops=hops, allow_http_downgrade=False) is not None
    with pytest.raises(RedirectError, match=f"redirect number {MAX_REDIRECTS + 1};") as caught:
        next_hop(head, hops=[*hops, parse_address("https://example.org/")], allow_http_downgrade=False)
    assert "circle" not in str(caught.value)


def test_a_circle_is_called_one() -> None:
    head = said(("location", "/a"), status=302, url="http://example.org/b")
    hops = [parse_address(f"http://example.org/{'ab'[n % 2]}") for n in range(MAX_REDIRECTS + 1)]
    with pytest.raises(RedirectError, match="circle"):
        next_hop(head, hops=hops, allow_http_downgrade=False)
