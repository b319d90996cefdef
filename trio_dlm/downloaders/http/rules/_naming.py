"""Who names a downloaded file: its user, else its server, else its URL.

Rules that hold here:

- text goes in and text comes out; whether a file of that name exists is for others to find out;
- what a name has to look like is decided by :mod:`trio_dlm.downloaders.disk._names`.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from ...disk._names import base_name, check_filename, plain_name, safe_name
from ._disposition import filename_from_disposition

__all__ = ["choose_name", "filename_from_url"]


def choose_name(*, filename: str | None, disposition: str | None, url: str, final_url: str) -> str:
    """Return what the file is called: by the user, else by the server, else by a URL, else ``"download"``.

    Args:
        filename: the user's choice, taken as it is.
        disposition: the Content-Disposition of the reply, its bytes decoded as Latin-1.
        url: what the user asked for; behind a redirect there is often only a key or a script.
        final_url: where the redirects ended.

    Raises:
        InvalidNameError: the user's choice cannot be a file name.
    """
    if filename is not None:
        return check_filename(filename)
    said = None if disposition is None else filename_from_disposition(disposition)
    for name in (said, filename_from_url(url), filename_from_url(final_url)):
        if name and (safe := plain_name(name)):
            return safe
    return safe_name("")


def filename_from_url(url: str) -> str | None:
    """Return the last segment of the path of *url*, or None if it has none.

    Percent-encoded bytes are read as UTF-8; a segment for which that fails stays as it is written, as in Chromium.
    The name is not made safe yet.
    """
    try:
        segment = urlsplit(url).path.rpartition("/")[2]
    except ValueError:
        return None
    try:
        return base_name(unquote(segment, errors="strict")) or None
    except UnicodeDecodeError:
        return base_name(segment) or None
