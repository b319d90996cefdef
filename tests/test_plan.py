"""What is asked of a server, and what is believed of it."""

from __future__ import annotations

import base64

import pytest

from trio_dlm._errors import (
    HttpStatusError,
    IncompleteBodyError,
    InvalidUrlError,
    RedirectError,
    TooLargeError,
    UnusableReplyError,
)
from trio_dlm.downloaders.http._address import Address, Origin, parse_address, parse_reference
from trio_dlm.downloaders.http._plan import (
    MAX_REDIRECTS,
    ReplyHead,
    check_coding,
    check_delivers,
    check_length,
    check_received,
    check_request_headers,
    next_hop,
    promised_length,
    request_headers,
)


def said(
    *fields: tuple[str, str],
    status: int = 200,
    phrase: str = "",
    version: str = "HTTP/1.1",
    url: str = "http://example.org/a/file",
) -> ReplyHead:
    return ReplyHead(parse_address(url), status, phrase, version, fields)


# Addresses.


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://example.org", "http://example.org/"),
        ("HTTP://EXAMPLE.org:80/A", "http://example.org/A"),
        ("https://example.org:443/a?b=c#d", "https://example.org/a?b=c"),
        ("https://example.org:8443/", "https://example.org:8443/"),
        ("http://example.org:/a", "http://example.org/a"),
        ("http://user:pass@example.org/a", "http://example.org/a"),
        ("http://example.org?a=b", "http://example.org/?a=b"),
        ("http://example.org/é?ü=\\", "http://example.org/%C3%A9?%C3%BC=%5C"),
        ("http://example.org/%C3%A9%2F", "http://example.org/%C3%A9%2F"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://straße.example/", "http://xn--strae-oqa.example/"),
        ("http://sub_domain.example.org./", "http://sub_domain.example.org./"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http://[2001:DB8:0::1]/", "http://[2001:db8::1]/"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
    ],
)
def test_a_url_is_sent_in_one_form(url: str, sent: str) -> None:
    assert parse_address(url).url == sent


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///x",
        "http:x",
        "http:/x",
        "//example.org/x",
        "example.org/x",
        "/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://exa mple/",
        "http://example.org/\n",
        "http://example.org:0/",
        "http://example.org:65536/",
        "http://example.org:-1/",
        "http://example.org:abc/",
        "http://example..org/",
        "http://.example.org/",
        "http://-example.org/",
        "http://exam%70le.org/",
        "http://example.org\\@evil.example/",
        "http://user@/x",
        "http://[::1/",
        "http://[::1%25eth0]/",
        "http://[nonsense]/",
        "http://[v1.x]/",
        "http://\u2100.example/",
        "http://a\u2024\u2024b.example/",
        "http://\u00ad.example/",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 127}example/",
        f"http://{'é' * 60_000}/",
        "",
        "http://\ud800/",
    ],
)
def test_what_is_no_usable_url_is_refused_and_says_why(url: str) -> None:
    with pytest.raises(InvalidUrlError) as caught:
        parse_address(url)
    assert caught.value.problem
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@exa mple.org/",
        "http://user:hunter2@example.org:x/",
        "http://user:hunter2@/",
        "http://user:hunter2@\u2100.example/",
        "http:user:hunter2@example.org/",
        "http:/user:hunter2@example.org/",
        "http:///user:hunter2@example.org/",
        "user:hunter2@example.org/",
        "ftp://user:hunter2@example.org/",
    ],
)
def test_a_refused_url_does_not_tell_its_password(url: str) -> None:
    with pytest.raises(InvalidUrlError) as caught:
        parse_address(url)
    assert "hunter2" not in str(caught.value)


def test_a_url_that_is_no_text_is_misuse() -> None:
    with pytest.raises(TypeError):
        parse_address(b"http://example.org/")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("userinfo", "pair"),
    [
        ("user:pass", b"user:pass"),
        ("user", b"user:"),
        (":pass", b":pass"),
        ("us%40er:p%3Ass", b"us@er:p:ss"),
        ("user:p@ss:w", b"user:p@ss:w"),
        ("user:%E9", b"user:\xe9"),
        ("user:é", "user:é".encode()),
    ],
)
def test_user_info_becomes_basic_credentials(userinfo: str, pair: bytes) -> None:
    address = parse_address(f"https://{userinfo}@example.org/")
    assert address.basic is not None
    assert base64.b64decode(address.basic.removeprefix("Basic ")) == pair


@pytest.mark.parametrize("userinfo", ["", ":"])
def test_empty_user_info_is_none(userinfo: str) -> None:
    assert parse_address(f"https://{userinfo}@example.org/").basic is None


def test_an_address_shows_no_secret() -> None:
    address = parse_address("https://user:hunter2@example.org/a?sig=hunter3&x=" + "y" * 500)
    for text in (repr(address), str(address), address.shown):
        assert "hunter" not in text
        assert len(text) < 350
    assert "hunter3" in address.url


@pytest.mark.parametrize(
    ("location", "to"),
    [
        ("b", "https://example.org/a/b"),
        ("/b?c", "https://example.org/b?c"),
        ("?c", "https://example.org/a/file?c"),
        ("../b", "https://example.org/b"),
        ("//other.example/b", "https://other.example/b"),
        ("http://other.example:81/b#c", "http://other.example:81/b"),
        (" /with space ", "https://example.org/with%20space"),
        ("/\u00c3\u00a9", "https://example.org/%C3%A9"),
        ("/\u00e9", "https://example.org/%C3%A9"),
        ("https://u:p@example.org/b", "https://example.org/b"),
    ],
)
def test_a_reference_is_resolved_as_browsers_do(location: str, to: str) -> None:
    found = parse_reference(parse_address("https://user:pass@example.org/a/file"), location)
    assert found.url == to
    assert found.basic is None


@pytest.mark.parametrize("location", ["http://[x/", "file:///etc/passwd", "http://a b/", "/\x00", "http://"])
def test_a_reference_that_is_no_url_is_refused(location: str) -> None:
    with pytest.raises(InvalidUrlError):
        parse_reference(parse_address("https://example.org/"), location)


# Asking.

HOME = parse_address("https://example.org/")
NAMED = frozenset({HOME.origin})


def sent_to(url: str, basic: str | None = None, **headers: str) -> dict[str, str]:
    return dict(request_headers(parse_address(url), named=NAMED, basic=basic, headers=headers))


def test_every_request_asks_for_the_bytes_as_they_are() -> None:
    assert sent_to("https://example.org/") == {"Accept-Encoding": "identity"}
    assert sent_to("https://other.example/") == {"Accept-Encoding": "identity"}


def test_the_named_origin_gets_headers_and_credentials() -> None:
    sent = sent_to("https://example.org/b", "Basic x", Cookie="c", Referer=" r ")
    assert sent == {"Cookie": "c", "Referer": "r", "Authorization": "Basic x", "Accept-Encoding": "identity"}


@pytest.mark.parametrize(
    "url", ["https://other.example/", "https://example.org:444/", "http://example.org/", "https://www.example.org/"]
)
def test_another_origin_gets_only_what_everybody_may_know(url: str) -> None:
    headers = {
        "user-agent": "u",
        "Accept": "a",
        "ACCEPT-language": "l",
        "Cookie": "c",
        "Authorization": "x",
        "X-Key": "k",
    }
    assert sent_to(url, "Basic x", **headers) == {
        "user-agent": "u",
        "Accept": "a",
        "ACCEPT-language": "l",
        "Accept-Encoding": "identity",
    }


def test_an_authorization_header_goes_before_user_info() -> None:
    assert sent_to("https://example.org/", "Basic x", authorization="Bearer y") == {
        "authorization": "Bearer y",
        "Accept-Encoding": "identity",
    }


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Expect", "Upgrade", "TE"])
def test_headers_that_announce_what_is_not_sent_are_misuse(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        check_request_headers({name: "1"})


@pytest.mark.parametrize(
    ("name", "value"), [("a b", "x"), ("ä", "x"), ("", "x"), ("a", "x\x00"), ("a", "x\r\nb: c"), ("a", "\x7f")]
)
def test_headers_that_cannot_be_sent_are_misuse_and_tell_no_value(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="cannot be a header line") as caught:
        check_request_headers({name: value + "secret"})
    assert "secret" not in str(caught.value)


def test_other_headers_may_be_sent() -> None:
    check_request_headers({"X-Any": "with tab\t, é and ü", "Cookie": "a=b"})


# Redirects.


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
    assert next_hop(said(status=302), hops=[HOME], allow_http_downgrade=False) is None
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
        next_hop(head, hops=[*hops, HOME], allow_http_downgrade=False)
    assert "circle" not in str(caught.value)


def test_a_circle_is_called_one() -> None:
    head = said(("location", "/a"), status=302, url="http://example.org/b")
    hops = [parse_address(f"http://example.org/{'ab'[n % 2]}") for n in range(MAX_REDIRECTS + 1)]
    with pytest.raises(RedirectError, match="circle"):
        next_hop(head, hops=hops, allow_http_downgrade=False)


# Believing.


@pytest.mark.parametrize("status", [200, 203])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1", "HTTP/2"])
def test_a_status_that_delivers(status: int, version: str) -> None:
    check_delivers(said(status=status, version=version))


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (101, "no final answer"),
        (201, "carries no file"),
        (204, "carries no file"),
        (205, "carries no file"),
        (301, "leads nowhere"),
        (304, "leads nowhere"),
        (401, "credentials"),
        (404, "check the URL"),
        (410, "for good"),
        (418, "check the URL"),
        (429, "fewer"),
        (500, "server's own failure"),
        (503, "overloaded"),
        (599, "server's own failure"),
        (600, "no status of HTTP"),
        (999, "no status of HTTP"),
    ],
)
def test_a_status_that_does_not_deliver_gives_advice(status: int, advice: str) -> None:
    with pytest.raises(HttpStatusError, match=advice) as caught:
        check_delivers(said(status=status, phrase="Because"))
    assert caught.value.status == status
    assert f"{status} Because" in str(caught.value)


def test_a_phrase_cannot_paint_the_terminal() -> None:
    with pytest.raises(HttpStatusError) as caught:
        check_delivers(said(status=404, phrase="\x1b[31m" + "x" * 1000))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/1.2", "HTTP/3", "ICY"])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(UnusableReplyError, match="HTTP/2"):
        check_delivers(said(version=version))


def test_a_part_that_was_not_asked_for_is_refused() -> None:
    with pytest.raises(UnusableReplyError, match="206"):
        check_delivers(said(("content-range", "bytes 0-1/2"), status=206))


def test_a_whole_reply_that_claims_to_be_a_range_is_refused() -> None:
    with pytest.raises(UnusableReplyError, match="Content-Range"):
        check_delivers(said(("content-range", "bytes 0-1/2")))


@pytest.mark.parametrize("fields", [[], [("content-encoding", "identity")], [("content-encoding", " Identity, ")]])
def test_bytes_as_they_are_are_taken(fields: list[tuple[str, str]]) -> None:
    check_coding(said(*fields))


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "identity, br", "x\x1by"])
def test_a_coding_that_was_not_asked_for_is_refused(coding: str) -> None:
    with pytest.raises(UnusableReplyError, match="Content-Encoding") as caught:
        check_coding(said(("content-encoding", coding)))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([("content-length", "0")], 0),
        ([("content-length", " 12 ")], 12),
        ([("content-length", "007")], 7),
        ([("content-length", "5"), ("content-length", "5")], 5),
        ([("content-length", "5, 5")], 5),
        ([("transfer-encoding", "chunked")], None),
        ([("transfer-encoding", "Chunked")], None),
    ],
)
@pytest.mark.parametrize("url", ["http://example.org/", "https://example.org/"])
def test_a_length_is_believed(fields: list[tuple[str, str]], length: int | None, url: str) -> None:
    assert promised_length(said(*fields, url=url), has_digest=False) == length


@pytest.mark.parametrize(
    "fields",
    [
        [("content-length", "")],
        [("content-length", "+5")],
        [("content-length", "-5")],
        [("content-length", "5 6")],
        [("content-length", "0x5")],
        [("content-length", "5.0")],
        [("content-length", "\u0665")],
        [("content-length", "9" * 20)],
        [("content-length", "9" * 5000)],
        [("content-length", "5,")],
        [("content-length", "5, 6")],
        [("content-length", "5"), ("content-length", "6")],
        [("content-length", "5"), ("content-length", "05")],
        [("transfer-encoding", "chunked"), ("content-length", "5")],
        [("transfer-encoding", "gzip, chunked")],
        [("transfer-encoding", "gzip")],
        [("transfer-encoding", "identity")],
        [("transfer-encoding", "chunked, chunked")],
        [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
    ],
)
def test_a_length_that_is_none_is_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(UnusableReplyError):
        promised_length(said(*fields), has_digest=True)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/2"])
def test_chunks_are_of_http_1_1_only(version: str) -> None:
    with pytest.raises(UnusableReplyError, match=version):
        promised_length(said(("transfer-encoding", "chunked"), version=version), has_digest=True)


def test_over_https_an_end_must_be_proven() -> None:
    with pytest.raises(UnusableReplyError, match="checksum="):
        promised_length(said(url="https://example.org/"), has_digest=False)
    assert promised_length(said(url="https://example.org/"), has_digest=True) is None
    assert promised_length(said(url="https://example.org/", version="HTTP/2"), has_digest=False) is None
    assert promised_length(said(), has_digest=False) is None


def test_a_file_that_is_announced_as_too_large_is_refused() -> None:
    head = said()
    check_length(head, 5, max_bytes=5)
    check_length(head, None, max_bytes=5)
    check_length(head, 5, max_bytes=None)
    with pytest.raises(TooLargeError, match="announced 6") as caught:
        check_length(head, 6, max_bytes=5)
    assert (caught.value.size_bytes, caught.value.max_bytes) == (6, 5)


def test_a_body_that_grows_too_large_is_refused() -> None:
    check_received(said(), 5, length=None, max_bytes=5, ended=True)
    with pytest.raises(TooLargeError, match="more has arrived"):
        check_received(said(), 6, length=None, max_bytes=5, ended=False)


def test_a_body_is_exactly_as_long_as_promised() -> None:
    check_received(said(), 4, length=5, max_bytes=None, ended=False)
    check_received(said(), 5, length=5, max_bytes=None, ended=True)
    check_received(said(), 4, length=None, max_bytes=None, ended=True)
    for received, ended, problem in ((4, True, "early"), (6, True, "longer"), (6, False, "longer")):
        with pytest.raises(IncompleteBodyError, match=problem) as caught:
            check_received(said(), received, length=5, max_bytes=None, ended=ended)
        assert (caught.value.received_bytes, caught.value.expected_bytes) == (received, 5)


# The head.


def test_fields_are_found_by_their_name() -> None:
    head = said(("a", "1, X"), ("b", "2"), ("a", " Y,,"))
    assert head.values("a") == ["1, X", " Y,,"]
    assert head.first("a") == "1, X"
    assert head.first("c") is None
    assert head.items("a") == ["1", "x", "y"]


def test_the_repr_of_a_head_shows_no_fields() -> None:
    assert "hunter2" not in repr(said(("set-cookie", "hunter2")))


def test_an_origin_is_scheme_host_and_port() -> None:
    assert parse_address("https://Example.org/a").origin == Origin("https", "example.org", 443)
