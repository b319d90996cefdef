"""The pure rooms of the transport: what is sent, and how a reply is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.downloaders.http.transport import _reply_head
from trio_dlm.downloaders.http.transport._connection import Connection
from trio_dlm.downloaders.http.transport._problems import LocalProtocolError, MalformedReplyError
from trio_dlm.downloaders.http.transport._reply_head import Framing, ReplyParser
from trio_dlm.downloaders.http.transport._request_head import Origin, WireRequest, encode_head, framing_of

ORIGIN = Origin(False, "a.example", 80)


def request(*fields: tuple[bytes, bytes], method: bytes = b"GET", target: bytes = b"/", **more: object) -> WireRequest:
    return WireRequest(ORIGIN, method, target, fields, **more)  # type: ignore[arg-type]


# What is sent.


def test_a_request_is_its_line_its_header_and_an_empty_line() -> None:
    sent = encode_head(request((b"Host", b"a.example"), (b"X", b""), target=b"/a?b"))
    assert sent == b"GET /a?b HTTP/1.1\r\nHost: a.example\r\nX: \r\n\r\n"


@pytest.mark.parametrize(
    "wrong",
    [
        request(method=b"GET /"),
        request(method=b""),
        request(target=b"/a b"),
        request(target=b""),
        request((b"X Y", b"")),
        request((b"", b"")),
        request((b"X", b"a\r\nY: b")),
        request((b"X", b"\0")),
    ],
)
def test_what_could_be_two_requests_is_not_sent(wrong: WireRequest) -> None:
    with pytest.raises(LocalProtocolError):
        encode_head(wrong)


def test_a_tunnel_is_not_asked_for() -> None:
    with pytest.raises(LocalProtocolError, match="CONNECT"):
        encode_head(WireRequest(Origin(False, "a.example", 80, ""), b"CONNECT", b"a.example:80", []))


class Breaking:
    """A link that breaks under the second write, and has an answer all the same."""

    can_move = True
    is_secure = True

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.writes = 0

    async def write(self, data: bytes) -> None:
        self.writes += 1
        if self.writes == 2:
            raise BrokenPipeError

    async def read(self, into: memoryview) -> int:
        into[: len(self.answer)] = self.answer
        return len(self.answer)


async def untold(event: str, info: Mapping[str, object]) -> None:
    pass


@pytest.mark.parametrize("breaks", [False, True])
async def test_a_connection_is_kept_only_if_the_whole_request_was_sent(breaks: bool) -> None:
    link = Breaking(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    connection = Connection(link)  # type: ignore[arg-type]
    # The body in chunks is a write of its own, and so is its end.
    fields, body = ([(b"Transfer-Encoding", b"chunked")], [b"abc"]) if breaks else ([], [])
    head = await connection.request(request(*fields, method=b"PUT", body=body), untold)
    assert head.status == 413
    assert connection.has_ended
    assert connection.is_reusable is not breaks


async def test_a_body_that_is_generated_does_not_outlive_its_request() -> None:
    ended = list[str]()

    async def generate() -> AsyncIterator[bytes]:
        try:
            yield b"abc"
            yield b"never"
        finally:
            ended.append("closed")

    connection = Connection(Breaking(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"))  # type: ignore[arg-type]
    fields = [(b"Transfer-Encoding", b"chunked")]
    await connection.request(request(*fields, method=b"PUT", body=generate()), untold)
    assert ended == ["closed"]


def test_a_status_has_three_digits_that_mean_something() -> None:
    parser = ReplyParser()
    with pytest.raises(MalformedReplyError, match="099"):
        parser.feed(b"HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n")


def test_what_is_no_reply_is_shown_by_its_beginning() -> None:
    parser = ReplyParser()
    with pytest.raises(MalformedReplyError, match=r"220 mail\.example ESMTP"):
        parser.feed(b"220 mail.example ESMTP ready\r\n")


def test_the_header_frames_the_body() -> None:
    assert framing_of([]) == 0
    assert framing_of([(b"Content-Length", b"5")]) == 5
    assert framing_of([(b"transfer-encoding", b"chunked")]) is None


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Content-Length", b"5"), (b"content-length", b"6")],
        [(b"Content-Length", b"-5")],
        [(b"Transfer-Encoding", b"gzip")],
        [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5")],
    ],
)
def test_a_body_that_is_framed_twice_is_not_sent(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(LocalProtocolError):
        framing_of(fields)


def test_what_may_be_sent_again() -> None:
    async def pieces() -> object:
        yield b""

    assert request().is_repeatable
    assert request(method=b"PUT", body=(b"x",)).is_repeatable
    assert not request(method=b"POST").is_repeatable
    assert not request(method=b"PUT", body=pieces()).is_repeatable


# How a reply is read.


def parsed(*pieces: bytes, is_head: bool = False) -> ReplyParser:
    parser = ReplyParser(is_head=is_head)
    for piece in pieces:
        parser.feed(piece)
    return parser


def test_a_header_is_read_wherever_it_is_cut() -> None:
    said = b"HTTP/1.1 200 Fine, thanks\r\nA: b\r\nContent-Length: 3\r\n\r\nabc"
    for cut in range(len(said)):
        parser = parsed(said[:cut], said[cut:])
        assert parser.head is not None
        assert (parser.head.status, parser.head.phrase, parser.head.version) == (200, b"Fine, thanks", "1.1")
        assert parser.head.fields == ((b"A", b"b"), (b"Content-Length", b"3"))
        assert (parser.head.framing, parser.head.length) == (Framing.LENGTH, 3)
        assert parser.head.keep_alive
        assert b"".join(parser.pieces) == b"abc"
        assert parser.is_done
        assert not parser.has_surplus


@pytest.mark.parametrize(
    ("said", "framing", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Framing.CLOSE, False),
        (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", Framing.NONE, True),
        (b"HTTP/1.1 304 No\r\n\r\n", Framing.NONE, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Framing.NONE, True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", Framing.LENGTH, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", Framing.LENGTH, False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", Framing.LENGTH, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked \r\n\r\n", Framing.CHUNKED, True),
        (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n", Framing.LENGTH, True),
        (b"HTTP/1.1 200 OK\nContent-Length: 1\n\n", Framing.LENGTH, True),
    ],
)
def test_the_header_says_where_the_body_ends(said: bytes, framing: Framing, keep_alive: bool) -> None:
    head = parsed(said).head
    assert head is not None
    assert (head.framing, head.keep_alive) == (framing, keep_alive)


def test_a_reply_to_head_has_no_body() -> None:
    parser = parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", is_head=True)
    assert parser.is_done
    assert not parser.has_surplus
    parser = parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", is_head=True)
    assert parser.has_surplus
    assert parser.pieces == []


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), st.integers(min_value=1, max_value=9))
def test_chunks_are_joined_and_trailers_are_kept_apart(chunks: list[bytes], step: int) -> None:
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    said += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nDigest: x\r\n\r\n"
    parser = parsed(*(said[at : at + step] for at in range(0, len(said), step)))
    assert b"".join(parser.pieces) == b"".join(chunks)
    assert parser.trailers == [(b"Digest", b"x")]
    assert parser.is_done
    parser.check()


def test_what_follows_is_noticed() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    assert parsed(whole + b"x").has_surplus
    assert parsed(whole, b"x").has_surplus
    assert parsed(whole + whole).has_surplus
    assert not parsed(whole, b"").has_surplus
    assert b"".join(parsed(whole + b"x").pieces) == b"abc"
    closing = whole.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert parsed(closing + b"x").has_surplus


def test_informational_replies_come_before_it() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    parser = parsed(early + early, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert parser.head is not None
    assert parser.head.fields == ((b"Content-Length", b"0"),)
    with pytest.raises(MalformedReplyError, match="more than 20 informational"):
        parsed(early * 21)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "."),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n", "."),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "."),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "not just 'chunked'"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "not just 'chunked'"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "not just 'chunked'"),
        (b"HTTP/1.1 101 Now\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "another protocol"),
        (b"HTTP/1.1 101 Now\r\n\r\n", "another protocol"),
        (b"HTTP/0.9 200 OK\r\n\r\n", "version"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "version"),
        (b"ICY 200 OK\r\n\r\n", "expected HTTP"),
        (b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", "."),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "."),
        (b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", "."),
    ],
)
def test_what_could_mean_two_things_is_refused(said: bytes, words: str) -> None:
    with pytest.raises(MalformedReplyError, match=words) as caught:
        parsed(said)
    assert str(caught.value)
    assert not caught.value.is_oversized


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
    ],
)
def test_a_header_has_an_end(said: bytes) -> None:
    with pytest.raises(MalformedReplyError) as caught:
        parsed(said)
    assert caught.value.is_oversized


@pytest.mark.parametrize("body", [b"xyz", b"4\r\nabc\r\n0\r\n\r\n", b"3\nabc\n0\n\n", b"3\r\nabc0\r\n\r\n"])
def test_wrong_chunks_are_told_when_what_is_right_was_taken(body: bytes) -> None:
    parser = parsed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert parser.head is not None
    with pytest.raises(MalformedReplyError):
        parser.check()
    assert not parser.is_done


def test_errors_of_the_parser_have_words() -> None:
    assert _reply_head._words_of(Exception()) == "it cannot be read"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")], "a Content-Length and a Transfer-Encoding"),
        ([(b"Content-Length", b"3"), (b"Content-Length", b"4")], "not one number"),
        ([(b"Content-Length", b"0x3")], "not one number"),
    ],
)
def test_a_parser_that_is_less_strict_changes_nothing(fields: list[tuple[bytes, bytes]], words: str) -> None:
    class Lenient:
        def feed_data(self, _: bytes) -> None:
            for field in fields:
                parser.on_header(*field)
            parser.on_headers_complete()

        def get_status_code(self) -> int:
            return 200

        def get_http_version(self) -> str:
            return "1.1"

        def should_keep_alive(self) -> bool:
            return True

        def set_dangerous_leniencies(self, **_: bool) -> None:
            pass

    parser = ReplyParser()
    parser._parser = Lenient()
    with pytest.raises(MalformedReplyError, match=words):
        parser.feed(b"x")
