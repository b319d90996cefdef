"""What is done with a body that came compressed, and what the decoders make of it.

Rules that hold here:

- the coded bytes come from the standard library's other side, and from the RFCs' own layout where that side would not
  write them;
- a decoder is always driven as :func:`decoded` does it: fed, emptied, ended.
"""

from __future__ import annotations

import bz2
import gzip
import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm._errors import UnusableReplyError
from trio_dlm.downloaders.http.rules._address import parse_address
from trio_dlm.downloaders.http.rules._coding import KEPT, Coding, CodingError, Decoder, coding_of
from trio_dlm.downloaders.http.rules._head import ReplyHead

MUCH: Final = 1 << 30


def said(*fields: tuple[str, str]) -> ReplyHead:
    return ReplyHead(parse_address("http://example.org/file"), 200, "OK", "HTTP/1.1", fields)


def coding_said(coding: str, *, name: str = "file", media_type: str = "application/octet-stream") -> Coding:
    return coding_of(said(("content-encoding", coding), ("content-type", media_type)), names=[name])


# What to do.


@pytest.mark.parametrize(
    "lines",
    [[], [""], [","], ["identity"], ["Identity, identity"], ["none"], ["aws-chunked"], ["identity", "AWS-Chunked"]],
)
@pytest.mark.parametrize("name", ["file", "file.gz", "file.br"])
def test_a_body_without_a_coding_is_kept(lines: Sequence[str], name: str) -> None:
    assert coding_of(said(*(("content-encoding", line) for line in lines)), names=[name]) is KEPT


@pytest.mark.parametrize(
    ("coding", "name"),
    [
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "x-gzip"),
        ("deflate", "deflate"),
        ("gzip,aws-chunked", "gzip"),
        ("identity, gzip,", "gzip"),
    ],
)
def test_a_coding_that_can_be_undone_is_undone(coding: str, name: str) -> None:
    chosen = coding_said(coding, name="file.tar")
    assert chosen.name == name
    assert chosen.new_decoder is not None
    data = zlib.compress(b"abc") if name == "deflate" else gzip.compress(b"abc")
    assert decoded(chosen.new_decoder(), [data]) == b"abc"


@pytest.mark.parametrize(
    ("coding", "name"),
    [
        ("gzip", "file.tar.gz"),
        ("x-gzip", "FILE.GZ"),
        ("gzip", "file.tgz"),
        ("gzip", "drawing.svgz"),
        ("br", "file.js.br"),
        ("zstd", "file.tar.zst"),
        ("zstd", "file.tzst"),
        ("deflate", "file.zz"),
        ("x-bzip2", "file.bz2"),
        ("xz", "file.tar.xz"),
        ("x-compress", "file.tar.Z"),
    ],
)
def test_a_file_that_has_the_coding_by_its_name_is_kept(coding: str, name: str) -> None:
    assert coding_said(coding, name=name) is KEPT
    assert coding_of(said(("content-encoding", coding)), names=["file", name]) is KEPT


@pytest.mark.parametrize(
    ("coding", "media_type"),
    [
        ("gzip", "application/gzip"),
        ("x-gzip", "application/x-gzip"),
        ("gzip", " Application/X-GZip ; charset=binary"),
        ("gzip", "application/x-gtar-compressed"),
        ("gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        ("zstd", "application/zstd"),
        ("zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("deflate", "application/zlib"),
        ("br", "application/x-brotli"),
    ],
)
def test_a_file_that_has_the_coding_by_its_media_type_is_kept(coding: str, media_type: str) -> None:
    assert coding_said(coding, media_type=media_type) is KEPT


@pytest.mark.parametrize(
    ("coding", "name", "media_type"),
    [
        ("gzip", "file.gz.txt", "text/plain"),
        ("gzip", "file.zst", "application/zstd"),
        ("gzip", "gz", "text/plain; a=application/gzip"),
        ("deflate", "file.gz", "application/gzip"),
        ("gzip", "file.svg", "image/svg+xml"),
        ("gzip", "file.zip", "application/zip"),
        ("gzip", "file", ""),
    ],
)
def test_a_file_of_another_kind_is_decoded(coding: str, name: str, media_type: str) -> None:
    assert coding_said(coding, name=name, media_type=media_type).new_decoder is not None


@pytest.mark.parametrize(
    ("coding", "name"),
    [
        ("turned", "file"),
        ("turned", "file.turned"),
        ("br", "file"),
        ("br", "file.gz"),
        ("zstd", "file.json"),
        ("compress", "file"),
        ("xz", "file"),
        ("gzip, gzip", "file"),
        ("gzip, gzip", "file.gz"),
        ("gzip, br", "file"),
        ("turned, gzip", "file.gz"),
        ("utf-8", "file"),
    ],
)
def test_what_cannot_be_undone_is_refused_with_its_name_and_what_could_be(coding: str, name: str) -> None:
    with pytest.raises(UnusableReplyError) as caught:
        coding_said(coding, name=name)
    assert f"Content-Encoding '{coding}'" in caught.value.problem
    assert "gzip or deflate" in str(caught.value)
    assert "http://example.org/file" in str(caught.value)


def test_a_coding_in_a_message_is_printable_and_short() -> None:
    with pytest.raises(UnusableReplyError) as caught:
        coding_said("\x1b[31m" + "x" * 10_000)
    assert caught.value.problem.isprintable()
    assert len(caught.value.problem) < 1000


# Decoding.


def gzip_members(*contents: bytes) -> bytes:
    return b"".join(gzip.compress(content, mtime=0) for content in contents)


def gzip_with_every_field(content: bytes) -> bytes:
    """Write a member with all that its header may have (RFC 1952 section 2.3), which gzip.compress does not."""
    header = b"\x1f\x8b\x08\x1f" + struct.pack("<IBB", 1, 0, 255)
    header += struct.pack("<H", 3) + b"abc" + b"name.txt\0" + b"a comment\0"
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = raw.compress(content) + raw.flush()
    return header + body + struct.pack("<II", zlib.crc32(content), len(content))


def new_decoder(coding: str) -> Decoder:
    new = coding_said(coding).new_decoder
    assert new is not None
    return new()


def decoded(decoder: Decoder, pieces: Sequence[bytes], most: int = MUCH) -> bytes:
    output = list[bytes]()
    for piece in pieces:
        output.append(decoder.feed(piece, most))
        while decoder.is_pending:
            output.append(decoder.feed(b"", most))
    decoder.end()
    assert all(len(each) <= most for each in output)
    return b"".join(output)


CODERS: Final[dict[str, Callable[[bytes], bytes]]] = {"gzip": gzip_members, "deflate": zlib.compress}

CONTENT: Final = st.binary(max_size=300) | st.builds(
    lambda unit, times: unit * times, st.binary(max_size=5), st.integers(0, 20_000)
)


@st.composite
def coded(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """Return a coding, what was coded, and how it looks."""
    content = draw(CONTENT)
    match draw(st.sampled_from(["gzip", "several members", "every field", "deflate"])):
        case "gzip":
            return "gzip", content, gzip_members(content)
        case "several members":
            more = draw(st.lists(CONTENT, max_size=3))
            return "gzip", b"".join([content, *more]), gzip_members(content, *more)
        case "every field":
            return "gzip", content, gzip_with_every_field(content)
        case _:
            return "deflate", content, zlib.compress(content, draw(st.integers(0, 9)))


@given(coded(), st.lists(st.integers(0, 1000)), st.sampled_from([1, 7, 1000, 40_000, MUCH]))
def test_any_split_of_the_input_and_of_the_output_gives_the_same(
    case: tuple[str, bytes, bytes], cuts: list[int], most: int
) -> None:
    coding, content, data = case
    ends = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(ends)]
    # At most a thousand pieces come out, for time.
    most = max(most, len(content) // 1000)
    assert decoded(new_decoder(coding), pieces, most) == content


@given(coded(), st.data())
def test_a_truncated_body_never_ends_but_between_members(case: tuple[str, bytes, bytes], data: st.DataObject) -> None:
    coding, content, coded_bytes = case
    cut = data.draw(st.integers(0, len(coded_bytes) - 1))
    decoder = new_decoder(coding)
    got = list[bytes]()
    try:
        got.append(decoded(decoder, [coded_bytes[:cut]]))
    except CodingError:
        return
    # Whole members are a whole file (RFC 1952 section 2.2): what was left out cannot be seen by the coding.
    assert coding == "gzip"
    assert gzip.decompress(coded_bytes[:cut]) == got[0]
    assert gzip.decompress(coded_bytes[cut:]) == content[len(got[0]) :]


@pytest.mark.parametrize("coding", CODERS)
@pytest.mark.parametrize("content", [b"", b"a", b"abc" * 1000, bytes(range(256)) * 3])
def test_no_cut_of_a_single_member_ends(coding: str, content: bytes) -> None:
    data = CODERS[coding](content)
    for cut in range(len(data)):
        with pytest.raises(CodingError, match=f"the {coding} coding has not ended"):
            decoded(new_decoder(coding), [data[:cut]])


def test_an_empty_body_is_no_coding_that_has_ended() -> None:
    for coding in CODERS:
        with pytest.raises(CodingError):
            new_decoder(coding).end()


@given(coded(), st.binary(min_size=1, max_size=20), st.booleans())
def test_what_comes_after_the_end_is_refused(case: tuple[str, bytes, bytes], junk: bytes, is_apart: bool) -> None:
    coding, _, data = case
    with pytest.raises(CodingError):
        decoded(new_decoder(coding), [data, junk] if is_apart else [data + junk])


@pytest.mark.parametrize("coding", CODERS)
def test_every_single_byte_after_the_end_is_refused(coding: str) -> None:
    data = CODERS[coding](b"abc")
    for byte in range(256):
        with pytest.raises(CodingError, match="after the end"):
            decoded(new_decoder(coding), [data + bytes([byte])])


@given(coded(), st.data())
def test_a_flipped_bit_is_an_error_or_changes_nothing(case: tuple[str, bytes, bytes], data: st.DataObject) -> None:
    coding, content, coded_bytes = case
    at = data.draw(st.integers(0, len(coded_bytes) - 1))
    damaged = bytearray(coded_bytes)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(CodingError):
        # A time, a name and other words of the header are not of the content.
        assert decoded(new_decoder(coding), [bytes(damaged)]) == content


@pytest.mark.parametrize("coding", CODERS)
def test_a_damaged_check_sum_is_an_error_that_names_the_coding(coding: str) -> None:
    data = bytearray(CODERS[coding](b"abc" * 100))
    data[-5 if coding == "gzip" else -1] ^= 1
    with pytest.raises(CodingError, match=f"the bytes are no {coding}: incorrect data check"):
        decoded(new_decoder(coding), [bytes(data)])


def test_a_wrong_length_in_a_gzip_trailer_is_an_error() -> None:
    data = bytearray(gzip_members(b"abc"))
    data[-1] ^= 1
    with pytest.raises(CodingError, match="incorrect length check"):
        decoded(new_decoder("gzip"), [bytes(data)])


def test_a_damaged_second_member_is_an_error_that_says_where() -> None:
    data = bytearray(gzip_members(b"abc", b"def"))
    data[-5] ^= 1
    with pytest.raises(CodingError, match=re.escape("no gzip after the end of a member: incorrect data check")):
        decoded(new_decoder("gzip"), [bytes(data)])


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", b"<!doctype html>"),
        ("gzip", zlib.compress(b"abc")),
        ("gzip", bz2.compress(b"abc")),
        ("gzip", b"\x1f\x8b\x09" + gzip_members(b"abc")[3:]),
        ("gzip", b"\x1f\x8b\x08\xe0" + gzip_members(b"abc")[4:]),
        ("deflate", gzip_members(b"abc")),
        # What some servers call deflate: without the frame of zlib, and so without a check sum.
        ("deflate", zlib.compress(b"abc")[2:-4]),
        # A dictionary that nobody has told.
        ("deflate", zlib.compressobj(zdict=b"abc").flush()),
    ],
)
def test_what_is_something_else_is_refused(coding: str, data: bytes) -> None:
    decoder = new_decoder(coding)
    with pytest.raises(CodingError, match=f"the bytes are no {coding}"):
        decoded(decoder, [data])
    with pytest.raises(CodingError):
        decoder.end()


def test_bytes_after_the_end_stay_an_error() -> None:
    decoder = new_decoder("deflate")
    with pytest.raises(CodingError):
        decoder.feed(zlib.compress(b"abc") + b"x", MUCH)
    with pytest.raises(CodingError):
        decoder.end()


def test_there_is_no_end_while_output_is_pending() -> None:
    decoder = new_decoder("gzip")
    assert decoder.feed(gzip_members(b"abcdef"), 5) == b"abcde"
    assert decoder.is_pending
    with pytest.raises(CodingError, match="has not ended"):
        decoder.end()
    assert decoder.feed(b"", 5) == b"f"
    assert not decoder.is_pending
    decoder.end()


def test_an_unread_member_is_no_end() -> None:
    decoder = new_decoder("gzip")
    assert decoder.feed(gzip_members(b"abc", b"def"), 3) == b"abc"
    assert decoder.is_pending
    with pytest.raises(CodingError):
        decoder.end()
    assert decoder.feed(b"", MUCH) == b"def"
    decoder.end()


def test_a_member_that_was_fetched_in_pieces_leaves_the_next_one_whole() -> None:
    assert (
        decoded(new_decoder("gzip"), [gzip_members(b"abc" * 1000, b"def" * 1000)], 100) == b"abc" * 1000 + b"def" * 1000
    )


@pytest.mark.parametrize("most", [0, -1])
def test_no_room_is_no_way_to_ask_for_everything(most: int) -> None:
    with pytest.raises(ValueError, match="from 1 up"):
        new_decoder("gzip").feed(gzip_members(b"abc"), most)


def test_input_that_comes_before_the_output_was_fetched_is_not_lost() -> None:
    decoder = new_decoder("gzip")
    data = gzip_members(b"abc" * 1000)
    output = [decoder.feed(data[at : at + 1], 7) for at in range(len(data))]
    while decoder.is_pending:
        output.append(decoder.feed(b"", 7))
    decoder.end()
    assert b"".join(output) == b"abc" * 1000


MEBIBYTE: Final = 1024 * 1024


@pytest.mark.parametrize("coding", CODERS)
def test_a_bomb_is_decoded_a_piece_at_a_time(coding: str) -> None:
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | (16 if coding == "gzip" else 0))
    zeros = bytes(MEBIBYTE)
    bomb = b"".join([*(packer.compress(zeros) for _ in range(1000)), packer.flush()])
    assert len(bomb) < 2 * MEBIBYTE

    decoder = new_decoder(coding)
    most = MEBIBYTE
    tracemalloc.start()
    try:
        size = len(decoder.feed(bomb, most))
        while decoder.is_pending:
            piece = decoder.feed(b"", most)
            assert len(piece) <= most
            size += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    decoder.end()
    assert size == 1000 * MEBIBYTE
    assert peak < 8 * MEBIBYTE


def test_very_many_empty_members_are_one_empty_file() -> None:
    assert decoded(new_decoder("gzip"), [gzip_members(b"") * 20_000]) == b""
