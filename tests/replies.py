"""The header of a reply, as the tests of the rooms that judge it have it said."""

from __future__ import annotations

from trio_dlm.downloaders.http.rules._address import parse_address
from trio_dlm.downloaders.http.rules._head import ReplyHead

__all__ = ["said"]


def said(
    *fields: tuple[str, str],
    status: int = 200,
    phrase: str = "",
    version: str = "HTTP/1.1",
    url: str = "http://example.org/a/file",
) -> ReplyHead:
    return ReplyHead(parse_address(url), status, phrase, version, fields)
