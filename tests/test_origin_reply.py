"""What the origin says when nothing is wrong: the rules of RFC 9110 on ranges, conditions and methods.

Rules that hold here:

- requests are written as they stand on the wire, so that nothing of the reader is taken for granted.
"""

from __future__ import annotations

import pytest

from trio_dlm.testing.origin._acts import Close, Send, Wait
from trio_dlm.testing.origin._reply import (
    Reply,
    honest_reply,
    http_date,
    interim_head,
    knows_http_1_1,
    note,
    selected_range,
    whole_reply,
)
from trio_dlm.testing.origin._request import Request
from trio_dlm.testing.origin._resource import Resource, Validators

BODY = b"0123456789"
FIRST = "Tue, 14 Nov 2023 22:13:20 GMT"
SECOND = "Tue, 14 Nov 2023 23:13:20 GMT"


def ask(*lines: str, method: str = "GET", version: str = "HTTP/1.1") -> Request:
    return Request.parse("\r\n".join([f"{method} /file.bin {version}", "Host: origin.test", *lines]).encode())


def answer(*lines: str, method: str = "GET", body: bytes = BODY, validators: Validators = "strong") -> Reply:
    return honest_reply(ask(*lines, method=method), Resource(body, validators=validators))


# The whole file.


def test_the_file_comes_with_its_length_its_validators_and_the_date() -> None:
    (sent, body) = answer().acts()
    assert sent == Send(
        b"HTTP/1.1 200 OK\r\n"
        b"Date: Wed, 01 Jan 2025 00:00:00 GMT\r\n"
        b'ETag: "v1"\r\n'
        b"Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
        b"Accept-Ranges: bytes\r\n"
        b"Content-Type: application/octet-stream\r\n"
        b"Content-Length: 10\r\n\r\n"
    )
    assert body == Send(BODY)


@pytest.mark.parametrize(
    ("validators", "etag", "modified"),
    [("strong", '"v1"', FIRST), ("weak", 'W/"v1"', FIRST), ("date", None, FIRST), ("none", None, None)],
)
def test_what_is_told_of_the_version_depends_on_the_resource(
    validators: Validators, etag: str | None, modified: str | None
) -> None:
    for reply in (answer(validators=validators), answer("Range: bytes=0-1", validators=validators)):
        assert (reply.value("ETag"), reply.value("Last-Modified")) == (etag, modified)


def test_an_empty_file_has_a_length_and_no_body() -> None:
    reply = answer(body=b"")
    assert (reply.status, reply.value("Content-Length")) == (200, "0")
    assert len(list(reply.acts())) == 1


def test_head_gets_the_header_of_get_and_nothing_more() -> None:
    head = answer(method="HEAD")
    assert head.head() == answer().head()
    assert list(head.acts()) == [Send(answer().head())]


def test_a_range_means_nothing_to_head() -> None:
    assert answer("Range: bytes=0-1", method="HEAD").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(method: str) -> None:
    reply = answer("If-Match: *", "Range: bytes=0-1", method=method)
    assert (reply.status, reply.value("Allow")) == (405, "GET, HEAD")


def test_the_date_advances_with_the_clock_of_the_request() -> None:
    request = Request("GET", "/", (), at_s=61.5)
    assert http_date(request) == "Wed, 01 Jan 2025 00:01:01 GMT"
    assert http_date(request, after_s=-62) == "Tue, 31 Dec 2024 23:59:59 GMT"


def test_a_reply_without_the_file_carries_a_few_words() -> None:
    reply = note(ask(), 404)
    assert reply.content == b"404 Not Found\n"
    assert reply.value("Content-Length") == "14"
    assert note(ask(), 599).phrase == "Status"


def test_what_has_no_content_says_so() -> None:
    assert list(note(ask(), 204).acts()) == [Send(note(ask(), 204).head())]
    assert note(ask(), 204).value("Content-Length") is None


def test_an_informational_reply_is_a_header() -> None:
    assert interim_head(103) == b"HTTP/1.1 103 Early Hints\r\n\r\n"
    assert interim_head(199) == b"HTTP/1.1 199 Status\r\n\r\n"


# The connection.


@pytest.mark.parametrize("line", ["Connection: close", "Connection: x, Close", "connection:close"])
def test_the_connection_is_closed_for_a_client_that_asks(line: str) -> None:
    reply = answer(line)
    assert reply.closes
    assert list(reply.acts())[-1] == Close()


@pytest.mark.parametrize("line", ["Connection: keep-alive", "Connection: closed", "X: close"])
def test_the_connection_is_kept_otherwise(line: str) -> None:
    reply = answer(line)
    assert not reply.closes
    assert list(reply.acts())[-1] == Send(BODY)


def test_the_connection_is_closed_for_an_old_client() -> None:
    request = ask(version="HTTP/1.0")
    assert not knows_http_1_1(request)
    assert list(honest_reply(request, Resource(BODY)).acts())[-1] == Close()


def test_a_request_that_was_never_on_a_wire_is_of_today() -> None:
    assert knows_http_1_1(Request("GET", "/", ()))


# Ranges (RFC 9110 sections 14.1.2 and 14.2).


@pytest.mark.parametrize(
    ("asked", "content", "told"),
    [
        ("bytes=0-", BODY, "bytes 0-9/10"),
        ("bytes=0-9", BODY, "bytes 0-9/10"),
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=3-5", b"345", "bytes 3-5/10"),
        ("bytes=9-9", b"9", "bytes 9-9/10"),
        ("bytes=5-99", b"56789", "bytes 5-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-99", BODY, "bytes 0-9/10"),
        ("BYTES=1-2", b"12", "bytes 1-2/10"),
    ],
)
def test_a_range_that_can_be_satisfied_is_a_206(asked: str, content: bytes, told: str) -> None:
    reply = answer(f"Range: {asked}")
    assert (reply.status, reply.content, reply.value("Content-Range")) == (206, content, told)
    assert reply.value("Content-Length") == str(len(content))
    first, last = selected_range(ask(f"Range: {asked}"), Resource(BODY)) or (-1, -1)
    assert BODY[first : last + 1] == content


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99-99"])
def test_a_range_that_cannot_be_satisfied_is_a_416(asked: str) -> None:
    reply = answer(f"Range: {asked}")
    assert (reply.status, reply.value("Content-Range")) == (416, "bytes */10")
    assert selected_range(ask(f"Range: {asked}"), Resource(BODY)) is None


def test_no_part_of_an_empty_file_can_be_had() -> None:
    assert answer("Range: bytes=0-", body=b"").value("Content-Range") == "bytes */0"
    # A suffix of nothing is satisfiable, and cannot be written as a range.
    assert answer("Range: bytes=-5", body=b"").status == 200


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=5-3",
        "bytes=20-3",
        "bytes=0-1,3-4",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=+1-2",
        "items=0-1",
        "0-1",
        f"bytes=0-{'9' * 5000}",
    ],
)
def test_a_range_that_is_none_or_several_is_ignored(asked: str) -> None:
    assert answer(f"Range: {asked}").status == 200


def test_a_server_may_ignore_a_range_and_nothing_else() -> None:
    resource = Resource(BODY)
    assert whole_reply(ask("Range: bytes=1-2"), resource).content == BODY
    assert whole_reply(ask("Range: bytes=1-2", 'If-Match: "v2"'), resource).status == 412


# Conditions (RFC 9110 section 13).


@pytest.mark.parametrize(
    ("validators", "condition", "status"),
    [
        ("strong", '"v1"', 206),
        ("strong", '"v2"', 200),
        ("strong", 'W/"v1"', 200),
        ("strong", FIRST, 206),
        ("strong", SECOND, 200),
        ("strong", "v1", 200),
        ("weak", 'W/"v1"', 200),
        ("weak", '"v1"', 200),
        ("weak", FIRST, 206),
        ("date", FIRST, 206),
        ("date", SECOND, 200),
        # The same second, written otherwise: the comparison is exact.
        ("date", "Tuesday, 14-Nov-23 22:13:20 GMT", 200),
        ("none", FIRST, 200),
        ("none", '"v1"', 200),
    ],
)
def test_if_range_wants_the_same_strong_tag_or_the_very_date(
    validators: Validators, condition: str, status: int
) -> None:
    assert answer("Range: bytes=1-2", f"If-Range: {condition}", validators=validators).status == status


def test_if_range_decides_before_it_is_asked_whether_the_range_exists() -> None:
    assert answer("Range: bytes=99-", 'If-Range: "v1"').status == 416
    assert answer("Range: bytes=99-", 'If-Range: "v2"').status == 200


def test_if_range_alone_means_nothing() -> None:
    assert answer('If-Range: "v2"').status == 200


@pytest.mark.parametrize(
    ("validators", "condition", "status"),
    [
        ("strong", 'If-Match: "v1"', 200),
        ("strong", 'If-Match: "x", "v1"', 200),
        ("strong", "If-Match: *", 200),
        ("strong", 'If-Match: "v2"', 412),
        ("strong", 'If-Match: W/"v1"', 412),
        ("weak", 'If-Match: W/"v1"', 412),
        ("none", 'If-Match: "v1"', 412),
        ("none", "If-Match: *", 200),
        ("strong", f"If-Unmodified-Since: {FIRST}", 200),
        ("strong", "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT", 412),
        ("none", "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT", 200),
        ("strong", "If-Unmodified-Since: yesterday", 200),
        ("strong", "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 -0000", 200),
        ("strong", "If-Unmodified-Since: Tue, 14 Nov 99999999999999999999 22:13:19 GMT", 200),
        ("strong", 'If-None-Match: "v1"', 304),
        ("strong", 'If-None-Match: W/"v1"', 304),
        ("weak", 'If-None-Match: "v1"', 304),
        ("strong", "If-None-Match: *", 304),
        ("strong", 'If-None-Match: "v2"', 200),
        ("none", 'If-None-Match: "v1"', 200),
        ("strong", f"If-Modified-Since: {FIRST}", 304),
        ("strong", f"If-Modified-Since: {SECOND}", 304),
        ("strong", "If-Modified-Since: Tue, 14 Nov 2023 22:13:19 GMT", 200),
        ("none", f"If-Modified-Since: {FIRST}", 200),
    ],
)
def test_conditions_are_honoured(validators: Validators, condition: str, status: int) -> None:
    reply = answer(condition, "Range: bytes=1-2", validators=validators)
    assert reply.status == (206 if status == 200 else status)
    assert answer(condition, validators=validators).status == status


def test_a_tag_goes_before_a_date() -> None:
    old = "Tue, 14 Nov 2023 22:13:19 GMT"
    assert answer('If-Match: "v1"', f"If-Unmodified-Since: {old}").status == 200
    assert answer('If-None-Match: "v2"', f"If-Modified-Since: {FIRST}").status == 200


def test_what_is_known_already_comes_without_content() -> None:
    reply = answer('If-None-Match: "v1"')
    assert list(reply.acts()) == [Send(reply.head())]
    assert (reply.value("ETag"), reply.value("Content-Length")) == ('"v1"', None)


# A reply as a value.


def test_a_field_takes_the_place_of_those_with_its_name() -> None:
    reply = Reply(200, "OK", (("A", "1"), ("B", "2"), ("A", "3")))
    assert reply.saying(("A", "4"), ("A", "5")).fields == (("B", "2"), ("A", "4"), ("A", "5"))
    assert reply.without("A", "C").fields == (("B", "2"),)
    assert (reply.value("A"), reply.value("C")) == ("1", None)


def test_another_body_has_another_length() -> None:
    reply = answer().carrying(b"abc")
    assert (reply.content, reply.value("Content-Length")) == (b"abc", "3")


def test_a_reply_is_sent_in_pieces_with_silences_between() -> None:
    reply = answer("Connection: close")
    assert list(reply.acts(chunk_bytes=4, gap_s=0.5)) == [
        Send(reply.head()),
        Wait(0.5),
        Send(b"0123"),
        Wait(0.5),
        Send(b"4567"),
        Wait(0.5),
        Send(b"89"),
        Close(),
    ]


def test_another_version_can_be_told() -> None:
    assert answer().head(version="HTTP/1.0").startswith(b"HTTP/1.0 200 OK\r\n")
