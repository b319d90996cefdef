"""What a client of our own can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trio_dlm.downloaders.http.client._client_settings import DEFAULT_SETTINGS, ClientSettings


def test_left_alone_they_change_nothing() -> None:
    assert ClientSettings() == DEFAULT_SETTINGS
    assert (DEFAULT_SETTINGS.proxy, DEFAULT_SETTINGS.http2, DEFAULT_SETTINGS.ca_file) == (None, False, None)


@pytest.mark.parametrize(
    "proxy",
    ["http://proxy.example:3128", "https://u:p@proxy.example", "socks5://127.0.0.1:1080", "socks5h://[::1]:1080"],
)
def test_a_proxy_is_a_url(proxy: str) -> None:
    assert ClientSettings(proxy=proxy).proxy == proxy


@pytest.mark.parametrize(
    "proxy",
    [
        "",
        "hunter2",
        "user:hunter2@proxy.example:3128",
        "ftp://hunter2@proxy.example",
        "http://hunter2@",
        "http://u:hunter2@proxy.example:0",
        "http://u:hunter2@proxy.example:99999",
        "http://u:hunter2@[::1",
        "//u:hunter2@proxy.example",
    ],
)
def test_what_is_no_proxy_is_refused_without_being_shown(proxy: str) -> None:
    with pytest.raises(ValueError, match=r"proxy is a URL such as http://proxy\.example:3128") as caught:
        ClientSettings(proxy=proxy)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"proxy": b"http://proxy.example"}, "proxy is a URL or None, got bytes"),
        ({"http2": 1}, "http2 is True or False, got 1"),
        ({"ca_file": 3}, "ca_file is a path or None, got 3"),
    ],
)
def test_what_has_the_wrong_type_is_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(TypeError, match=match):
        ClientSettings(**fields)


def test_a_file_may_be_named_by_text() -> None:
    fields: dict[str, Any] = {"ca_file": "ca.pem"}
    assert ClientSettings(**fields).ca_file == Path("ca.pem")


def test_what_is_shown_has_no_proxy_in_it() -> None:
    assert "hunter2" not in repr(ClientSettings(proxy="http://u:hunter2@proxy.example"))
