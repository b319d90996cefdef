"""From what was typed to the requests of a manager, everything checked before anything is fetched.

Rules that hold here:

- what is said of one URL goes before what is said for all;
- all mistakes are found at once, each named by its URL, or by its line in the input file;
- nothing is opened, written or asked.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final
from urllib.parse import urlsplit

from .._errors import InvalidNameError, TrioDlmError
from .._options import DownloadOptions
from .._records import DownloadRequest
from .._urls import check_url, host_of
from ..downloaders._protocol import RequestChecker
from ._input_file import Entry
from ._options import join_headers
from ._report import as_options, one_line

__all__ = ["PlanError", "Settings", "host_lane", "make_requests"]

# More mistakes than this say nothing new.
SHOWN_PROBLEMS: Final = 20


@final
class PlanError(ValueError):
    """What was typed cannot be done; the message has one line for each mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        lines = list(problems[:SHOWN_PROBLEMS])
        if len(problems) > SHOWN_PROBLEMS:
            lines.append(f"… and {len(problems) - SHOWN_PROBLEMS} more")
        super().__init__("\n".join(lines))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is said for all URLs.

    Attributes:
        fields: download options, by their names in the library.
        headers: sent with every request.
        authorization: the value of that header, for URLs that bring no user info of their own.
    """

    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    authorization: str | None = None


def make_requests(entries: Iterable[Entry], settings: Settings, checker: RequestChecker) -> list[DownloadRequest]:
    """Return one request for each of *entries*.

    Args:
        entries: what to download.
        settings: how, unless an entry says otherwise.
        checker: the downloader that will be asked, which knows what it can fetch.

    Raises:
        PlanError: some of it cannot be done.
    """
    requests: list[DownloadRequest] = []
    problems: list[str] = []
    targets: dict[Path, str] = {}
    for entry in entries:
        try:
            request = _make_request(entry, settings)
            checker.check_request(request)
            _check_target(request, targets, settings)
        except (TrioDlmError, ValueError) as exc:
            problems.append(_in_words(entry, exc))
        else:
            requests.append(request)
    if problems:
        raise PlanError(problems)
    if not requests:
        raise PlanError(["there is no URL; give at least one, or a file of them with -i FILE"])
    return requests


def host_lane(request: DownloadRequest) -> Hashable:
    """Return the lane of *request* where every host has one of its own."""
    return host_of(request.url)


def _make_request(entry: Entry, settings: Settings) -> DownloadRequest:
    url = check_url(entry.url)
    headers = join_headers(entry.headers, settings.headers)
    names = {name.lower() for name in headers}
    if settings.authorization is not None and "authorization" not in names and not _has_user_info(url):
        headers["Authorization"] = settings.authorization
    fields = {**settings.fields, **entry.fields}
    if headers:
        fields["headers"] = headers
    return DownloadRequest(url, DownloadOptions(**fields))


def _has_user_info(url: str) -> bool:
    try:
        return "@" in urlsplit(url).netloc
    except ValueError:
        return False


def _check_target(request: DownloadRequest, targets: dict[Path, str], settings: Settings) -> None:
    """Refuse two downloads into one file, as far as their names are known by now."""
    options = request.options
    if options.filename is None or options.overwrite == "unique":
        return
    path = (options.directory or settings.fields.get("directory") or Path()) / options.filename
    if path in targets:
        raise ValueError(
            f"it would be saved as {options.filename}, and so would {targets[path]}; give another name (out=)"
        )
    targets[path] = one_line(request.url)


def _in_words(entry: Entry, error: Exception) -> str:
    text = as_options(one_line(str(error)))
    if isinstance(error, InvalidNameError):
        text += "; the directory goes into -d (dir= in an input file)"
    if entry.where:
        return f"{entry.where}: {text}"
    return text
