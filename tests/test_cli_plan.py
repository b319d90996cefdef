"""From what was typed to requests, or to a list of mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from trio_dlm import DownloadRequest
from trio_dlm.cli._input_file import Entry
from trio_dlm.cli._plan import PlanError, Settings, host_lane, make_requests
from trio_dlm.downloaders.http import HttpDownloader


def plan(entries: Iterable[Entry], **settings: Any) -> list[DownloadRequest]:
    return make_requests(entries, Settings(**settings), HttpDownloader())


def test_what_is_said_of_one_url_goes_before_what_is_said_for_all() -> None:
    both = plan(
        [Entry("http://a/1", fields={"timeout_s": 1.0}, headers=[("x-a", "own")]), Entry("http://a/2")],
        fields={"timeout_s": 9.0, "max_bytes": 7},
        headers={"X-A": "all", "X-B": "all"},
    )
    assert [each.options.timeout_s for each in both] == [1.0, 9.0]
    assert [each.options.max_bytes for each in both] == [7, 7]
    assert [dict(each.options.headers) for each in both] == [
        {"x-a": "own", "X-B": "all"},
        {"X-A": "all", "X-B": "all"},
    ]


def test_credentials_go_where_the_url_and_its_headers_bring_none() -> None:
    requests = plan(
        [Entry("http://a/"), Entry("http://me:pw@a/"), Entry("http://a/", headers=[("authorization", "own")])],
        authorization="Basic xyz",
    )
    assert [each.options.headers.get("Authorization") for each in requests] == ["Basic xyz", None, None]


def test_all_mistakes_are_found_at_once_and_named() -> None:
    entries = [
        Entry("ftp://a/"),
        Entry("http://fine/"),
        Entry("http://[half/", "list:7"),
        Entry("http://a/", "list:9", {"filename": "a/b"}),
        Entry("", "list:11"),
    ]
    with pytest.raises(PlanError) as caught:
        plan(entries)
    ftp, half, name, empty = str(caught.value).split("\n")
    assert "'ftp://a/'" in ftp
    assert half.startswith("list:7: ")
    assert name.startswith("list:9: ")
    assert name.endswith("the directory goes into -d (dir= in an input file)")
    assert empty.startswith("list:11: ")


def test_a_list_of_mistakes_has_an_end() -> None:
    with pytest.raises(PlanError) as caught:
        plan(Entry(f"ftp://a/{number}") for number in range(100))
    assert str(caught.value).count("\n") == 20
    assert str(caught.value).endswith("… and 80 more")


def test_no_url_at_all_is_a_mistake() -> None:
    with pytest.raises(PlanError, match="no URL"):
        plan([])


@pytest.mark.parametrize("directory", [None, "here"])
def test_two_downloads_into_one_file_are_a_mistake(directory: str | None) -> None:
    fields = {"filename": "x"} if directory is None else {"filename": "x", "directory": directory}
    with pytest.raises(PlanError, match="so would http://a/1"):
        plan([Entry("http://a/1", fields=fields), Entry("http://a/2", fields=fields)])


def test_two_of_one_name_are_none_in_two_directories_or_if_numbered() -> None:
    entries = [Entry(f"http://a/{name}", fields={"filename": "x", "directory": name}) for name in "pq"]
    assert len(plan(entries)) == 2
    assert len(plan([Entry("http://a/1", fields={"filename": "x"})] * 2, fields={"overwrite": "unique"})) == 2


def test_secrets_are_not_repeated_in_mistakes() -> None:
    with pytest.raises(PlanError) as caught:
        plan([Entry("http://me:secret@a:99999/?token=secret")])
    assert "secret" not in str(caught.value)


def test_a_lane_is_a_host() -> None:
    assert host_lane(DownloadRequest("http://Example.ORG:80/x")) == "example.org"


def test_a_directory_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (request,) = plan([Entry("http://a/", fields={"directory": "sub"})])
    assert request.options.directory == tmp_path / "sub"
