"""Which version of a media file has been fetched so far, so that no other is joined to it.

Rules that hold here:

- bytes are joined only if a validator proves that they are of one version: a strong ETag, or a Last-Modified that is
  old enough to be one;
- a request for the rest says ``If-Range``, so that a server with another version sends all of it; where there is no
  validator all of it is asked for anew;
- a reply with a part that contradicts what is known is no part of this file.

Source:
    RFC 9110 sections 8.8.2.2, 13.1.5 and 15.3.7.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, final

__all__ = ["Version", "Versions", "validator_of"]

_RANGE: Final = re.compile(r"bytes=(\d+)-\d*")
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")

# How much older than the reply a date has to be before it tells versions apart: clocks differ.
_OLD_ENOUGH_S: Final = 60.0


class Version(NamedTuple):
    """What is known of a file: its validator, or None, and its length, or None."""

    validator: str | None
    total: int | None


def validator_of(headers: Mapping[str, str]) -> str | None:
    """Return the validator that a reply brings, if it is a strong one."""
    etag = headers.get("ETag")
    if etag is not None:
        return None if etag.startswith("W/") else etag
    modified, now = headers.get("Last-Modified"), headers.get("Date")
    if modified is None or now is None:
        return None
    try:
        age = parsedate_to_datetime(now) - parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return None
    return modified if age.total_seconds() >= _OLD_ENOUGH_S else None


@final
class Versions:
    """What is known of every file of one item, over all workers that fetch it.

    Args:
        path: where it is kept; None keeps it for this process.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._names: dict[str, str] = {}
        self._known: dict[str, Version] = {}
        if path is not None and path.exists():
            try:
                kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
                self._known = {name: Version(*version) for name, version in kept.items()}
            except (ValueError, TypeError, AttributeError):
                # What cannot be read proves nothing.
                self._known = {}

    def call(self, url: str, name: str) -> None:
        """*url* is where the file *name* comes from; it may be another one each time."""
        self._names[url] = name

    def forget(self) -> None:
        """Nothing is known any more."""
        self._known.clear()
        self._keep()

    def before(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a request, so that what it brings can be joined to what is there."""
        sent = dict(headers)
        name = self._names.get(url)
        asked = _RANGE.fullmatch(sent.get("Range", ""))
        if name is None or asked is None or not int(asked[1]):
            return sent
        known = self._known.get(name)
        if known is None or known.validator is None:
            del sent["Range"]
        else:
            sent["If-Range"] = known.validator
        return sent

    def after(self, url: str, status: int, headers: Mapping[str, str]) -> str | None:
        """Hear a reply; return what is wrong with it, or None."""
        name = self._names.get(url)
        now = validator_of(headers)
        if status == 206:
            found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
            total = None if found is None else int(found[3])
            known = self._known.get(name or url)
            if known is not None and _contradicts(known, Version(now, total)):
                self._known.pop(name or url)
                self._keep()
                return "the file changed while it was fetched"
            if known is None:
                self._learn(name or url, Version(now, total), is_kept=name is not None)
        elif status == 200 and name is not None:
            length = headers.get("Content-Length", "")
            self._learn(name, Version(now, int(length) if length.isdecimal() else None), is_kept=True)
        return None

    def _learn(self, name: str, version: Version, *, is_kept: bool) -> None:
        self._known[name] = version
        if is_kept:
            self._keep()

    def _keep(self) -> None:
        if self._path is None:
            return
        named = set(self._names.values())
        spare = self._path.with_suffix(".tmp")
        spare.write_text(json.dumps({name: each for name, each in self._known.items() if name in named}), "utf-8")
        spare.replace(self._path)


def _contradicts(known: Version, now: Version) -> bool:
    pairs = ((known.validator, now.validator), (known.total, now.total))
    return any(before is not None and after is not None and before != after for before, after in pairs)
