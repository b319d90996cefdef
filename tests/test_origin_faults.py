"""What each fault does on the wire, byte for byte.

Rules that hold here:

- the file has ten bytes and, where versions do not matter, no validators, so that whole replies can be read here;
- requests are written as they stand on the wire.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from itertools import islice
from typing import Any, get_args
from urllib.parse import urljoin

import pytest

from trio_dlm.testing.origin import faults as f
from trio_dlm.testing.origin._acts import Act, Close, Hold, Reset, Send, Wait
from trio_dlm.testing.origin._request import Request
from trio_dlm.testing.origin._resource import Resource, Validators
from trio_dlm.testing.origin.faults._redirect import Reference

BODY = b"0123456789"
CHANGED = b"123456789:"
PLAIN: tuple[str, ...] = ()
RANGE = ("Range: bytes=2-5",)
OPEN_RANGE = ("Range: bytes=2-",)
RESUMED = ("Range: bytes=2-", 'If-Range: "v1"')
FILE = ("Accept-Ranges: bytes", "Content-Type: application/octet-stream")


def ask(
    *lines: str,
    method: str = "GET",
    target: str = "/dir/file.bin?q",
    version: str = "HTTP/1.1",
    host: str = "origin.test",
    **facts: Any,
) -> Request:
    return Request.parse("\r\n".join([f"{method} {target} {version}", f"Host: {host}", *lines]).encode(), **facts)


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Date: Wed, 01 Jan 2025 00:00:00 GMT", *lines, "", ""]).encode()


def whole(*lines: str) -> bytes:
    """The header of a reply with the file, *lines* instead of its length."""
    return head(*FILE, *lines)


def part(*lines: str) -> bytes:
    """The header of a reply with a range."""
    return head(*FILE, *lines, status="206 Partial Content")


def words(status: str, *lines: str) -> bytes:
    """A reply with a few words."""
    length = f"Content-Length: {len(status) + 1}"
    return head(*lines, "Content-Type: text/plain", length, status=status) + f"{status}\n".encode()


def acts(
    fault: f.Fault, *lines: str, body: bytes = BODY, validators: Validators = "none", most: int = 1000, **facts: Any
) -> list[Act]:
    """What *fault* does with a request, neighbouring pieces joined."""
    resource = Resource(body, validators=validators)
    return joined(islice(fault.answer(ask(*lines, **facts), resource), most))


def spelled(told: list[Act]) -> list[object]:
    """Show the bytes of a piece, which its repr leaves out."""
    return [act.data if isinstance(act, Send) else act for act in told]


def joined(found: Any) -> list[Act]:
    told: list[Act] = []
    for act in found:
        if isinstance(act, Send) and told and isinstance(told[-1], Send):
            told[-1] = Send(told[-1].data + act.data)
        else:
            told.append(act)
    return told


def sent(fault: f.Fault, *lines: str, **facts: Any) -> bytes:
    """All that *fault* sends."""
    return b"".join(act.data for act in acts(fault, *lines, **facts) if isinstance(act, Send))


def fields(data: bytes) -> dict[str, str]:
    lines = data.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


def content(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]


HONEST = sent(f.Serve())
HONEST_RANGE = sent(f.Serve(), *RANGE)


def test_what_the_others_are_compared_with() -> None:
    assert whole("Content-Length: 10") + BODY == HONEST
    assert part("Content-Range: bytes 2-5/10", "Content-Length: 4") + b"2345" == HONEST_RANGE


@pytest.mark.parametrize(
    ("fault", "lines", "expected"),
    [
        # The body.
        (f.Serve(), PLAIN, [Send(HONEST)]),
        (f.Serve(), ("Connection: close",), [Send(whole("Content-Length: 10", "Connection: close") + BODY), Close()]),
        (f.Stall(), PLAIN, [Send(whole("Content-Length: 10")), Hold()]),
        (f.Stall(byte=3), PLAIN, [Send(whole("Content-Length: 10") + b"012"), Hold()]),
        (f.Stall(byte=10), PLAIN, [Send(HONEST), Hold()]),
        (f.DropAt(), PLAIN, [Send(whole("Content-Length: 10")), Close()]),
        (f.DropAt(byte=-1), PLAIN, [Send(HONEST[:-1]), Close()]),
        (f.DropAt(byte=99), PLAIN, [Send(HONEST), Close()]),
        (f.DropAt(byte=3, reset=True), PLAIN, [Send(whole("Content-Length: 10") + b"012"), Reset()]),
        (f.DropAt(byte=3), RANGE, [Send(HONEST_RANGE[:-1]), Close()]),
        (f.CorruptedBody(), PLAIN, [Send(whole("Content-Length: 10") + b"\xcf123456789")]),
        (f.CorruptedBody(byte=-1), PLAIN, [Send(whole("Content-Length: 10") + b"012345678\xc6")]),
        (f.CorruptedBody(byte=10), PLAIN, [Send(HONEST)]),
        (f.Surplus(), PLAIN, [Send(HONEST + b"surplus")]),
        (f.Surplus(data=b"\r\n"), RANGE, [Send(HONEST_RANGE + b"\r\n")]),
        (
            f.ForgedReply(),
            PLAIN,
            [Send(HONEST + whole("Content-Length: 10") + b"\xcf\xce\xcd\xcc\xcb\xca\xc9\xc8\xc7\xc6")],
        ),
        # Lengths.
        (f.LengthTooLong(), PLAIN, [Send(whole("Content-Length: 11") + BODY), Close()]),
        (
            f.LengthTooLong(by=7),
            RANGE,
            [Send(part("Content-Range: bytes 2-5/10", "Content-Length: 11") + b"2345"), Close()],
        ),
        (f.LengthTooShort(), PLAIN, [Send(whole("Content-Length: 9") + BODY), Close()]),
        (f.LengthTooShort(by=11), PLAIN, [Send(whole("Content-Length: 0") + BODY), Close()]),
        (f.TwoLengths(), PLAIN, [Send(whole("Content-Length: 9", "Content-Length: 10") + BODY), Close()]),
        (f.JunkLength(), PLAIN, [Send(whole("Content-Length: junk") + BODY), Close()]),
        (f.JunkLength(text=""), PLAIN, [Send(whole("Content-Length: ") + BODY), Close()]),
        (f.ServeUntilClose(), PLAIN, [Send(whole("Connection: close") + BODY), Close()]),
        (f.ServeUntilClose(clean=False), PLAIN, [Send(whole("Connection: close") + BODY), Close(clean=False)]),
        (f.CutUntilClose(byte=4), PLAIN, [Send(whole("Connection: close") + b"0123"), Close()]),
        (f.CutUntilClose(clean=False), PLAIN, [Send(whole("Connection: close")), Close(clean=False)]),
        # Chunks.
        (f.ServeChunked(), PLAIN, [Send(whole("Transfer-Encoding: chunked") + b"a\r\n0123456789\r\n0\r\n\r\n")]),
        (
            f.ServeChunked(chunk_bytes=6, extras=True),
            ("Connection: close",),
            [
                Send(
                    whole("Connection: close", "Transfer-Encoding: chunked")
                    + b"6;at=once\r\n012345\r\n4;at=once\r\n6789\r\n0;at=last\r\nServer-Timing: done\r\n\r\n"
                ),
                Close(),
            ],
        ),
        (f.ChunkedCut(), PLAIN, [Send(whole("Transfer-Encoding: chunked")), Close()]),
        (
            f.ChunkedCut(chunks=1, chunk_bytes=6),
            PLAIN,
            [Send(whole("Transfer-Encoding: chunked") + b"6\r\n012345\r\n"), Close()],
        ),
        (f.ChunkedJunk(), PLAIN, [Send(whole("Transfer-Encoding: chunked") + b"junk\r\n0\r\n\r\n"), Close()]),
        (
            f.ChunkedJunk(chunks=1, text=""),
            PLAIN,
            [Send(whole("Transfer-Encoding: chunked") + b"a\r\n0123456789\r\n\r\n0\r\n\r\n"), Close()],
        ),
        (
            f.ChunkSizeWrong(),
            PLAIN,
            [Send(whole("Transfer-Encoding: chunked") + b"b\r\n0123456789\r\n0\r\n\r\n"), Close()],
        ),
        (
            f.ChunkSizeWrong(by=-20),
            PLAIN,
            [Send(whole("Transfer-Encoding: chunked") + b"1\r\n0123456789\r\n0\r\n\r\n"), Close()],
        ),
        (
            f.ChunkSizeWrong(by=2, quarter=1),
            PLAIN,
            [
                Send(whole("Transfer-Encoding: chunked") + b"2\r\n01\r\n4\r\n23\r\n6\r\n456789\r\n0\r\n\r\n"),
                Close(),
            ],
        ),
        (
            f.ChunkedWithLength(by=2),
            PLAIN,
            [
                Send(whole("Transfer-Encoding: chunked", "Content-Length: 8") + b"a\r\n0123456789\r\n0\r\n\r\n"),
                Close(),
            ],
        ),
        # Before the header.
        (f.EarlyHints(), PLAIN, [Send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + HONEST)]),
        (
            f.EarlyHints(count=2, status=100, gap_s=0.5),
            PLAIN,
            [
                Send(b"HTTP/1.1 100 Continue\r\n\r\n"),
                Wait(0.5),
                Send(b"HTTP/1.1 100 Continue\r\n\r\n"),
                Wait(0.5),
                Send(HONEST),
            ],
        ),
        (f.NotHttp(), PLAIN, [Send(b"220 ready\r\n"), Close()]),
        (f.NotHttp(data=b""), PLAIN, [Close()]),
        # The header.
        (f.HeaderStops(), PLAIN, [Hold()]),
        (f.HeaderStops(byte=12), PLAIN, [Send(b"HTTP/1.1 200"), Hold()]),
        (f.DropInHeader(), PLAIN, [Close()]),
        (f.DropInHeader(reset=True), PLAIN, [Reset()]),
        (f.DropInHeader(byte=-1), PLAIN, [Send(whole("Content-Length: 10")[:-1]), Close()]),
        (f.HugeHeader(size_bytes=5), PLAIN, [Send(whole("Content-Length: 10", "X-Padding: xxxxx") + BODY)]),
        (
            f.OddVersion(),
            PLAIN,
            [
                Send(whole("Content-Length: 10", "Connection: close").replace(b"HTTP/1.1", b"HTTP/1.2", 1) + BODY),
                Close(),
            ],
        ),
        # Statuses.
        (f.Busy(), PLAIN, [Send(words("503 Service Unavailable"))]),
        (f.Busy(status=429, retry_after=7), RANGE, [Send(words("429 Too Many Requests", "Retry-After: 7"))]),
        (f.Busy(retry_after="soon"), PLAIN, [Send(words("503 Service Unavailable", "Retry-After: soon"))]),
        (
            f.Busy(retry_after="soon", as_date=True),
            PLAIN,
            [Send(words("503 Service Unavailable", "Retry-After: soon"))],
        ),
        (
            f.Busy(retry_after=30, as_date=True),
            PLAIN,
            [Send(words("503 Service Unavailable", "Retry-After: Wed, 01 Jan 2025 00:00:30 GMT"))],
        ),
        (
            f.Busy(retry_after=-1, as_date=True),
            PLAIN,
            [Send(words("503 Service Unavailable", "Retry-After: Tue, 31 Dec 2024 23:59:59 GMT"))],
        ),
        (f.Refuse(), PLAIN, [Send(words("404 Not Found"))]),
        (f.Refuse(status=401), PLAIN, [Send(words("401 Unauthorized", 'WWW-Authenticate: Basic realm="origin"'))]),
        (f.OddSuccess(), PLAIN, [Send(head("Content-Type: text/plain", status="204 No Content"))]),
        (f.OddSuccess(status=202), PLAIN, [Send(words("202 Accepted"))]),
        (f.Unsatisfiable(), RANGE, [Send(words("416 Range Not Satisfiable", "Content-Range: bytes */10"))]),
        (f.Unsatisfiable(by=-20), PLAIN, [Send(words("416 Range Not Satisfiable", "Content-Range: bytes */0"))]),
        (f.Unsatisfiable(by=None), RANGE, [Send(words("416 Range Not Satisfiable"))]),
        # Ranges.
        (f.RangeIgnored(), RANGE, [Send(HONEST)]),
        (f.PartUnasked(), PLAIN, [Send(part("Content-Range: bytes 0-0/10", "Content-Length: 1") + b"0")]),
        (f.PartUnasked(size_bytes=99), PLAIN, [Send(part("Content-Range: bytes 0-9/10", "Content-Length: 10") + BODY)]),
        (f.PartUnasked(), RANGE, [Send(HONEST_RANGE)]),
        (f.OtherStart(), RANGE, [Send(part("Content-Range: bytes 3-5/10", "Content-Length: 3") + b"345")]),
        (f.OtherStart(by=-2), RANGE, [Send(part("Content-Range: bytes 0-5/10", "Content-Length: 6") + b"012345")]),
        (f.OtherStart(by=-3), RANGE, [Send(HONEST_RANGE)]),
        (f.OtherStart(by=4), RANGE, [Send(HONEST_RANGE)]),
        (f.ShorterRange(), RANGE, [Send(part("Content-Range: bytes 2-4/10", "Content-Length: 3") + b"234")]),
        (f.ShorterRange(by=99), RANGE, [Send(part("Content-Range: bytes 2-2/10", "Content-Length: 1") + b"2")]),
        (f.LongerRange(), RANGE, [Send(part("Content-Range: bytes 2-6/10", "Content-Length: 5") + b"23456")]),
        (f.LongerRange(by=99), RANGE, [Send(part("Content-Range: bytes 2-9/10", "Content-Length: 8") + b"23456789")]),
        (f.OtherBytes(), RANGE, [Send(part("Content-Range: bytes 2-5/10", "Content-Length: 4") + b"3456")]),
        (f.OtherBytes(by=-4), RANGE, [Send(part("Content-Range: bytes 2-5/10", "Content-Length: 4") + b"8901")]),
        (f.Mislabelled(), RANGE, [Send(part("Content-Length: 4", "Content-Range: bytes 3-6/10") + b"2345")]),
        (f.Mislabelled(by=-3), RANGE, [Send(part("Content-Length: 4", "Content-Range: bytes 0-2/10") + b"2345")]),
        (f.OtherTotal(), RANGE, [Send(part("Content-Length: 4", "Content-Range: bytes 2-5/11") + b"2345")]),
        (f.OtherTotal(by=-99), RANGE, [Send(part("Content-Length: 4", "Content-Range: bytes 2-5/0") + b"2345")]),
        (f.UnknownTotal(), RANGE, [Send(part("Content-Length: 4", "Content-Range: bytes 2-5/*") + b"2345")]),
        (f.OtherUnit(), RANGE, [Send(part("Content-Length: 4", "Content-Range: items 2-5/10") + b"2345")]),
        (f.NoContentRange(), RANGE, [Send(part("Content-Length: 4") + b"2345")]),
        (f.JunkContentRange(), RANGE, [Send(part("Content-Length: 4", "Content-Range: junk") + b"2345")]),
        (
            f.TwoContentRanges(by=-1),
            RANGE,
            [Send(part("Content-Length: 4", "Content-Range: bytes 1-4/10", "Content-Range: bytes 2-5/10") + b"2345")],
        ),
        (
            f.MultipartRange(),
            RANGE,
            [
                Send(
                    head(
                        "Accept-Ranges: bytes",
                        "Content-Type: multipart/byteranges; boundary=next-part",
                        "Content-Length: 105",
                        status="206 Partial Content",
                    )
                    + b"--next-part\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 2-5/10\r\n\r\n"
                    + b"2345\r\n--next-part--\r\n"
                )
            ],
        ),
        (
            f.WholeWithContentRange(first=2),
            RANGE,
            [Send(whole("Content-Length: 10", "Content-Range: bytes 2-9/10") + BODY)],
        ),
        (f.WholeWithContentRange(), PLAIN, [Send(whole("Content-Length: 10", "Content-Range: bytes 0-9/10") + BODY)]),
    ],
    ids=repr,
)
def test_a_fault_does_exactly_this(fault: f.Fault, lines: tuple[str, ...], expected: list[Act]) -> None:
    assert spelled(acts(fault, *lines)) == spelled(expected)


# How the body comes.


def test_a_file_may_come_in_the_smallest_pieces() -> None:
    found = list(f.Serve(chunk_bytes=1).answer(ask(), Resource(BODY)))
    assert found[1:] == [Send(b"%d" % digit) for digit in range(10)]


def test_a_trickle_keeps_its_rate() -> None:
    found = acts(f.Trickle(bytes_per_s=8.0, chunk_bytes=4))
    assert found == [
        Send(whole("Content-Length: 10")),
        Wait(0.5),
        Send(b"0123"),
        Wait(0.5),
        Send(b"4567"),
        Wait(0.5),
        Send(b"89"),
    ]


def test_a_slow_header_comes_byte_by_byte_and_its_body_at_once() -> None:
    found = acts(f.SlowHeader(gap_s=0.5), "Connection: close")
    header = whole("Content-Length: 10", "Connection: close")
    assert found[:4] == [Wait(0.5), Send(b"H"), Wait(0.5), Send(b"T")]
    assert found[-2:] == [Send(header[-1:] + BODY), Close()]
    assert found.count(Wait(0.5)) == len(header)


def test_a_header_in_pieces_need_not_be_slow() -> None:
    assert acts(f.SlowHeader(gap_s=0.0)) == [Send(HONEST)]
    assert acts(f.SlowHeader(gap_s=0.0), method="HEAD") == [Send(whole("Content-Length: 10"))]


def test_hints_without_end_have_silences_between() -> None:
    hint = Send(b"HTTP/1.1 102 Processing\r\n\r\n")
    assert acts(f.EndlessHints(status=102, gap_s=3.0), most=5) == [hint, Wait(3.0), hint, Wait(3.0), hint]


def test_a_header_without_end_never_comes_to_the_empty_line() -> None:
    found = acts(f.EndlessHeader(gap_s=2.0), most=5)
    more = Send(b"X-More: to come\r\n")
    assert found == [Send(whole("Content-Length: 10").removesuffix(b"\r\n")), Wait(2.0), more, Wait(2.0), more]


# Old clients, and those that want the header only.


def test_an_old_client_gets_neither_chunks_nor_hints() -> None:
    for fault in (f.ServeChunked(), f.EarlyHints()):
        expected = [Send(whole("Content-Length: 10", "Connection: close") + BODY), Close()]
        assert acts(fault, version="HTTP/1.0") == expected


# Those that send on purpose what is neither header nor body.
NEITHER = {f.EndlessHeader, f.EndlessHints, f.NotHttp, f.Surplus}


@pytest.mark.parametrize("kind", [kind for kind in f.FAULTS if kind not in NEITHER], ids=lambda kind: kind.__name__)
def test_head_gets_no_body_from_any_fault(kind: type[Any]) -> None:
    data = sent(kind(), method="HEAD", validators="strong")
    headers = [each for each in data.split(b"\r\n\r\n") if each]
    assert all(each.startswith(b"HTTP/") for each in headers)


# Versions.


def test_a_file_that_has_changed_comes_whole_in_its_new_version() -> None:
    data = sent(f.Changed(), *RESUMED, validators="strong")
    assert data.startswith(b"HTTP/1.1 200")
    assert (fields(data)["ETag"], content(data)) == ('"v2"', CHANGED)


def test_a_secret_change_shows_the_old_validators() -> None:
    data = sent(f.ChangedSecretly(), *RESUMED, validators="strong")
    assert data.startswith(b"HTTP/1.1 206")
    assert (fields(data)["ETag"], content(data)) == ('"v1"', CHANGED[2:])


def test_a_touched_file_has_other_validators_and_the_same_bytes() -> None:
    resource = Resource(BODY)
    data = b"".join(act.data for act in f.Touched().answer(ask(*RESUMED), resource) if isinstance(act, Send))
    assert data.startswith(b"HTTP/1.1 200")
    assert (fields(data)["ETag"], content(data)) == ('"v2"', BODY)
    assert resource.versions == [BODY]


def test_an_ignored_condition_gets_a_range_of_the_new_version_under_its_own_validators() -> None:
    data = sent(f.IfRangeIgnored(), *RESUMED, validators="strong")
    assert data.startswith(b"HTTP/1.1 206")
    assert (fields(data)["ETag"], fields(data)["Content-Range"]) == ('"v2"', "bytes 2-9/10")
    assert content(data) == CHANGED[2:]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(PLAIN, b"012" + CHANGED[3:]), (RANGE, b"234" + CHANGED[5:6]), (OPEN_RANGE, b"234" + CHANGED[5:])],
)
def test_a_change_midway_joins_two_versions_in_place(lines: tuple[str, ...], expected: bytes) -> None:
    data = sent(f.ChangesMidway(byte=3), *lines)
    assert content(data) == expected
    assert fields(data)["Content-Length"] == str(len(expected))


def test_a_change_midway_is_told_to_those_that_ask_later() -> None:
    resource = Resource(BODY)
    list(f.ChangesMidway().answer(ask(), resource))
    assert (resource.etag, resource.body) == ('"v2"', CHANGED)


def test_without_a_body_nothing_changes_midway() -> None:
    resource = Resource(BODY)
    list(f.ChangesMidway().answer(ask('If-Match: "v9"'), resource))
    assert resource.versions == [BODY]


def test_nothing_changes_before_the_first_act_is_asked_for() -> None:
    resource = Resource(BODY)
    for fault in (f.Changed(), f.ChangedSecretly(), f.Touched(), f.IfRangeIgnored(), f.ChangesMidway()):
        fault.answer(ask(), resource)
    assert (resource.etag, resource.body) == ('"v1"', BODY)


@pytest.mark.parametrize("by", [2, -2])
def test_a_changed_file_may_have_another_length(by: int) -> None:
    data = sent(f.Changed(by=by), validators="strong")
    assert fields(data)["Content-Length"] == str(len(BODY) + by) == str(len(content(data)))
    assert repr(f.Changed(by=by)) == f"Changed(by={by})"


def test_a_new_version_may_break_off_like_an_old_one() -> None:
    data = sent(f.Changed(drop_at=4), validators="strong")
    assert data == sent(f.Changed(), validators="strong")[:-6]


# Names.


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("file.bin.part", 'filename="file.bin.part"'),
        ("../evil.bin", 'filename="../evil.bin"'),
        ("..\\evil.bin", 'filename="..\\\\evil.bin"'),
        ('"', 'filename="\\""'),
        ("", 'filename=""'),
        ("evil\0.bin", "filename*=UTF-8''evil%00.bin"),
        ("\u202e/ä", "filename*=UTF-8''%E2%80%AE%2F%C3%A4"),
    ],
)
def test_a_name_is_said_in_a_sound_header_and_the_rest_is_right(name: str, says: str) -> None:
    data = sent(f.Named(name), validators="strong")
    assert fields(data)["Content-Disposition"] == f"attachment; {says}"
    assert content(data) == BODY
    assert content(sent(f.Named(name), *RESUMED, validators="strong")) == BODY[2:]


def test_a_range_may_forget_its_validators() -> None:
    assert {"ETag", "Last-Modified"} <= fields(sent(f.Serve(), *RESUMED, validators="strong")).keys()
    data = sent(f.ForgetfulRange(), *RESUMED, validators="strong")
    assert not {"ETag", "Last-Modified"} & fields(data).keys()
    assert content(data) == BODY[2:]
    assert fields(sent(f.ForgetfulRange(), validators="strong"))["ETag"] == '"v1"'


# Faults of ranges leave other requests alone.


@pytest.mark.parametrize(
    "fault",
    [
        f.OtherStart(),
        f.ShorterRange(),
        f.LongerRange(),
        f.OtherBytes(),
        f.Mislabelled(),
        f.OtherTotal(),
        f.UnknownTotal(),
        f.OtherUnit(),
        f.NoContentRange(),
        f.JunkContentRange(),
        f.TwoContentRanges(),
        f.MultipartRange(),
        f.ForgetfulRange(),
    ],
    ids=repr,
)
def test_a_fault_of_ranges_leaves_other_requests_alone(fault: f.Fault) -> None:
    for lines in (PLAIN, ("Range: bytes=99-",), ("If-Match: none", *RANGE)):
        assert spelled(acts(fault, *lines)) == spelled(acts(f.Serve(), *lines))


def test_only_a_file_claims_to_be_whole_and_a_part() -> None:
    assert acts(f.WholeWithContentRange(), "If-Match: none", *RANGE) == acts(f.Serve(), "If-Match: none")


def test_no_part_of_an_empty_file_is_sent_unasked() -> None:
    assert acts(f.PartUnasked(), body=b"") == acts(f.Serve(), body=b"")


# Redirects.


@pytest.mark.parametrize(
    ("fault", "status", "locations"),
    [
        (f.Redirect(), "302 Found", ["/hop/5/file.bin"]),
        (f.Redirect(status=308, reference="relative"), "308 Permanent Redirect", ["./file.bin?hop=5"]),
        (f.Redirect(status=301, reference="network"), "301 Moved Permanently", ["//origin.test:81/hop/5/file.bin"]),
        (
            f.Redirect(status=307, reference="absolute"),
            "307 Temporary Redirect",
            ["http://origin.test:81/hop/5/file.bin"],
        ),
        (f.RedirectToItself(status=303), "303 See Other", ["/dir/file.bin?q"]),
        (f.RedirectToHost(), "302 Found", ["http://elsewhere.test:81/hop/5/file.bin"]),
        (f.RedirectToScheme(), "302 Found", ["ftp://origin.test:81/hop/5/file.bin"]),
        (f.RedirectTo(), "302 Found", ["file:///etc/passwd"]),
        (f.RedirectNowhere(), "302 Found", []),
        (f.RedirectBothWays(), "302 Found", ["/hop/5/file.bin", "/other/hop/5/file.bin"]),
    ],
    ids=repr,
)
def test_a_redirect_leads_there(fault: f.Fault, status: str, locations: list[str]) -> None:
    expected = words(status, *(f"Location: {location}" for location in locations))
    assert acts(fault, host="origin.test:81", number=4) == [Send(expected)]


def test_every_reference_of_a_redirect_leads_to_this_origin() -> None:
    for reference in get_args(Reference):
        for url in ("https://origin.test:81/dir/file.bin?q", "https://origin.test/file.bin", "https://[::1]:81/d/"):
            _, _, host, path = url.split("/", 3)
            data = sent(f.Redirect(reference=reference), host=host, target=f"/{path}", is_secure=True)
            there = urljoin(url, fields(data)["Location"])
            assert there.startswith(f"https://{host}/")
            assert there.partition("?")[0].rpartition("/")[2] == url.partition("?")[0].rpartition("/")[2]
            assert there != url


@pytest.mark.parametrize(
    ("host", "expected"),
    [("a.test", "https://b.test/"), ("a.test:81", "https://b.test:81/"), ("[::1]:81", "https://b.test:81/")],
)
def test_another_host_keeps_scheme_and_port(host: str, expected: str) -> None:
    data = sent(f.RedirectToHost(host="b.test"), host=host, is_secure=True)
    assert fields(data)["Location"].startswith(f"{expected}hop/")


def test_a_client_that_names_no_host_is_sent_to_a_name_all_the_same() -> None:
    request = Request("GET", "/a", ())
    told = joined(f.RedirectToScheme(scheme="http").answer(request, Resource(BODY)))
    assert told == [Send(words("302 Found", "Location: http://origin.test/hop/1/a"))]


# Codings.


def test_a_compressed_file_can_be_had_from_its_bytes() -> None:
    data = sent(f.Gzipped(), *RANGE, validators="strong")
    assert data.startswith(b"HTTP/1.1 200")
    assert gzip.decompress(content(data)) == BODY
    assert (fields(data)["Content-Encoding"], fields(data)["ETag"]) == ("gzip", '"v1-gzip"')
    assert fields(data)["Content-Length"] == str(len(content(data)))


def test_a_compressed_file_need_not_have_a_tag() -> None:
    assert "ETag" not in fields(sent(f.Gzipped()))
    assert fields(sent(f.Gzipped(), validators="weak"))["ETag"] == 'W/"v1-gzip"'


@pytest.mark.parametrize("by", [1, 8, 9, 1000])
def test_a_compressed_file_that_is_cut_says_so_only_when_it_is_decoded(by: int) -> None:
    data = sent(f.GzipCut(by=by))
    assert fields(data)["Content-Length"] == str(len(content(data)))
    decoder = zlib.decompressobj(wbits=31)
    decoder.decompress(content(data))
    assert not decoder.eof


@pytest.mark.parametrize("byte", [-8, -1, 0, 11])
def test_a_compressed_file_that_is_damaged_cannot_be_decoded(byte: int) -> None:
    with pytest.raises((zlib.error, gzip.BadGzipFile, EOFError)):
        gzip.decompress(content(sent(f.GzipCorrupt(byte=byte))))


def test_an_unknown_coding_is_named_and_its_bytes_are_others() -> None:
    data = sent(f.UnknownCoding(), *RANGE)
    assert fields(data)["Content-Encoding"] == "turned"
    assert bytes(byte ^ 0xFF for byte in content(data)) == BODY


def test_only_a_file_is_coded() -> None:
    for fault in (f.Gzipped(), f.GzipCut(), f.GzipCorrupt(), f.UnknownCoding()):
        assert acts(fault, "If-Match: none") == acts(f.Serve(), "If-Match: none")


# Digests.


def b64(name: str, data: bytes) -> str:
    return base64.b64encode(hashlib.new(name, data).digest()).decode()


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("Repr-Digest", f"sha-256=:{b64('sha256', BODY)}:"),
        ("Digest", f"SHA-256={b64('sha256', BODY)}"),
        ("Content-Digest", f"sha-256=:{b64('sha256', BODY[2:6])}:"),
        ("Content-MD5", b64("md5", BODY[2:6])),
    ],
)
def test_a_digest_is_of_the_file_or_of_this_reply(field: Any, expected: str) -> None:
    right = fields(sent(f.RightDigest(field=field), *RANGE))[field]
    wrong = fields(sent(f.WrongDigest(field=field), *RANGE))[field]
    assert right == expected
    assert (wrong != right, len(wrong)) == (True, len(right))
    assert fields(sent(f.JunkDigest(field=field, text="?")))[field] == "?"
    assert content(sent(f.WrongDigest(field=field), *RANGE)) == BODY[2:6]


def test_only_a_file_has_a_digest() -> None:
    for fault in (f.RightDigest(), f.WrongDigest(), f.JunkDigest()):
        assert acts(fault, "If-Match: none") == acts(f.Serve(), "If-Match: none")


# Patience.


@pytest.mark.parametrize(("retry_after", "expected"), [(None, 0), (30, 30), (-30, 0), ("30", 0), ("junk", 0), (0, 0)])
def test_a_busy_origin_says_for_how_long(retry_after: int | str | None, expected: int) -> None:
    assert f.Busy(retry_after=retry_after).wait_s == expected


# As values.


def test_faults_are_spelled_as_python_without_what_is_as_by_default() -> None:
    assert repr(f.DropAt()) == "DropAt()"
    assert repr(f.DropAt(byte=3, reset=True)) == "DropAt(byte=3, reset=True)"
    assert repr(f.Surplus(data=b"\r\n")) == r"Surplus(data=b'\r\n')"


@pytest.mark.parametrize("kind", f.FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_is_a_value_and_can_be_made_without_arguments(kind: type[Any]) -> None:
    assert kind() == kind()
    assert hash(kind()) == hash(kind())
    assert repr(kind()) == f"{kind.__name__}()"
    with pytest.raises((AttributeError, TypeError)):
        kind().byte = 1


@pytest.mark.parametrize("kind", f.FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_gives_the_same_reply_every_time(kind: type[Any]) -> None:
    fault = kind()
    for lines in (PLAIN, RANGE, RESUMED):
        assert acts(fault, *lines, validators="strong", most=50) == acts(fault, *lines, validators="strong", most=50)


# The tables.


def test_every_fault_has_its_name_in_one_place() -> None:
    assert len(set(f.FAULTS)) == len(f.FAULTS)
    assert {kind.__name__ for kind in f.FAULTS} <= set(f.__all__)
    public = {name for name in vars(f) if name[0].isupper() and isinstance(getattr(f, name), type)}
    assert public - {"Final", "Fault"} == {kind.__name__ for kind in f.FAULTS}


def test_the_tables_agree() -> None:
    everything = set(f.FAULTS)
    assert f.HONEST < f.RECOVERABLE < everything
    assert everything > f.UNDETECTABLE
    assert not f.UNDETECTABLE & f.RECOVERABLE
    assert everything > f.CHANGING


def test_what_is_said_to_be_honest_sends_the_file() -> None:
    for kind in f.HONEST:
        reply = content(sent(kind(), validators="strong").removeprefix(b"HTTP/1.1 103 Early Hints\r\n\r\n"))
        assert BODY in reply


def test_what_is_said_to_change_the_file_does_and_nothing_else() -> None:
    for kind in f.FAULTS:
        resource = Resource(BODY)
        list(islice(kind().answer(ask(), resource), 100))
        assert (resource.versions != [BODY]) == (kind in f.CHANGING), kind
