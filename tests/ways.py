"""The ways by which a downloader can ask: over connections of our own, or by a client of one of the libraries."""

from __future__ import annotations

from typing import Any, Final

import pytest

from trio_dlm.downloaders.http.client import _client, _own

__all__ = ["LIBRARIES", "WAYS", "take_way"]

LIBRARIES: Final = ("httpx", "httpx2")
WAYS: Final = ("own", *LIBRARIES)


def take_way(way: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have clients that are made from now on go this *way*, and return the library that they would use."""
    if way != "own":
        monkeypatch.setattr(_own, "LIBRARIES", (way,))
        # A proxy is what only a library can ask.
        monkeypatch.setattr(_client, "_has_proxies", lambda: True)
    return _own.load_library()
