"""How long a body is, and whether it came to its end."""

from __future__ import annotations

import pytest

from tests.replies import said
from trio_dlm._errors import IncompleteBodyError, TooLargeError, UnusableReplyError
from trio_dlm.downloaders.http.rules._framing import check_received, check_size, promised_length


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
    assert promised_length(said(*fields, url=url), is_proven=False) == length


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
        promised_length(said(*fields), is_proven=True)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/2"])
def test_chunks_are_of_http_1_1_only(version: str) -> None:
    with pytest.raises(UnusableReplyError, match=version):
        promised_length(said(("transfer-encoding", "chunked"), version=version), is_proven=True)


def test_over_https_an_end_must_be_proven() -> None:
    with pytest.raises(UnusableReplyError, match="checksum="):
        promised_length(said(url="https://example.org/"), is_proven=False)
    assert promised_length(said(url="https://example.org/"), is_proven=True) is None
    assert promised_length(said(url="https://example.org/", version="HTTP/2"), is_proven=False) is None
    assert promised_length(said(), is_proven=False) is None


def test_a_file_that_is_announced_as_too_large_is_refused() -> None:
    head = said()
    check_size(head, 5, max_bytes=5)
    check_size(head, None, max_bytes=5)
    check_size(head, 5, max_bytes=None)
    with pytest.raises(TooLargeError, match="announced 6") as caught:
        check_size(head, 6, max_bytes=5)
    assert (caught.value.size_bytes, caught.value.max_bytes) == (6, 5)


def test_a_body_is_exactly_as_long_as_promised() -> None:
    check_received(said(), 4, length=5, has_ended=False)
    check_received(said(), 5, length=5, has_ended=True)
    check_received(said(), 4, length=None, has_ended=True)
    for received, ended, problem in ((4, True, "early"), (6, True, "longer"), (6, False, "longer")):
        with pytest.raises(IncompleteBodyError, match=problem) as caught:
            check_received(said(), received, length=5, has_ended=ended)
        assert (caught.value.received_bytes, caught.value.expected_bytes) == (received, 5)
