"""What a downloaded file may be called, whoever says so.

Rules that hold here:

- text goes in and text comes out; whether a file of that name exists is for others to find out;
- what comes from outside goes through one sanitiser, :func:`safe_name`, and comes out as a plain name that every
  common file system takes and that is none of our auxiliary files;
- the user's own choice is checked and never altered;
- the time is linear in the length of what a server sends.
"""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Final

from ..._errors import InvalidNameError

__all__ = [
    "AUXILIARY_SUFFIXES",
    "LOCK",
    "PART",
    "RECORD",
    "SPARE",
    "base_name",
    "check_filename",
    "numbered",
    "plain_name",
    "safe_name",
]

# What stands beside a file while it is made.  No name from outside may end like this, or a server could have its bytes
# taken for the record of another download.
PART: Final = ".part"
RECORD: Final = ".part.json"
LOCK: Final = ".part.lock"
SPARE: Final = ".part.tmp"
AUXILIARY_SUFFIXES: Final = (PART, RECORD, LOCK, SPARE)

# Linux takes 255 bytes (NTFS and APFS count fewer, larger units), and the auxiliary files must fit as well.
_MAX_BYTES: Final = 255 - max(map(len, AUXILIARY_SUFFIXES))

# What a server may choose.  The rest is room for what other programs append to a name (".bak", ".torrent").
_MAX_SAFE_BYTES: Final = 200

# Characters of a long name that are looked at, from each end.  What lies between could not be kept, and Unicode
# normalisation takes quadratic time to sort a run of combining marks (CPython: 0.5 s for 32,000 of them).
_LOOKED_AT: Final = 1024

# "NUL.txt" is the device as well, and superscripts are digits there; the list is that of Python's ntpath.isreserved.
_RESERVED_ON_WINDOWS: Final = frozenset({"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}).union(
    port + digit for port in ("COM", "LPT") for digit in "123456789¹²³"
)
_NOT_ON_WINDOWS: Final = '<>:"|?*'
_ESCAPES: Final = str.maketrans(dict.fromkeys(_NOT_ON_WINDOWS, "_"))
_ON_WINDOWS: Final = os.sep == "\\"

# Controls, surrogates, line and paragraph separators, and format characters.  The last include every bidirectional
# control, which can show "gpj.exe" as "exe.jpg", and the invisible characters that let two names look the same.
_REMOVED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Format characters that spelling needs: in Persian, in scripts of India, and in emoji.
_JOINERS: Final = "\u200c\u200d"
_WITHOUT_JOINERS: Final = str.maketrans("", "", _JOINERS)

# A dot hides a file, a dash makes it an option of the next command, a tilde makes it somebody's home.
_NOT_FIRST: Final = " .-~"
# Windows drops these without a word: "a." and "a" are one file there.
_NOT_LAST: Final = " ."

# Longer than any in use (".properties", ".crdownload"); what follows a full stop in a title is often longer.
_MAX_EXTENSION_BYTES: Final = 16
# Endings that say how what is below them was packed or signed, so that "a.tar.gz.asc" has an extension of three parts.
_WRAPPERS: Final = frozenset({"asc", "br", "bz2", "gz", "lz", "lz4", "lzma", "lzo", "sig", "xz", "z", "zst"})
_MAX_WRAPPERS: Final = 2
# Characters of which none is removed, composed or escaped.
_ORDINARY: Final = re.compile(r"[A-Za-z0-9._-]*+")
# Chromium looks at four characters below a wrapper; this adds ".jsonl" and ".ipynb".
_MAX_WRAPPED_LENGTH: Final = 5


def check_filename(name: str) -> str:
    """Return *name*, which the user chose, unchanged.

    What only looks odd is the user's business: a leading dot or dash, bidirectional text.

    Raises:
        InvalidNameError: it has a directory in it, cannot be stored here, or is that of a device or an auxiliary file.
    """
    if problem := _problem(name):
        raise InvalidNameError(name=name if len(name) <= _MAX_BYTES else f"{name[:60]}…", problem=problem)
    return name


def _problem(name: str) -> str | None:
    if not name:
        return "it is empty"
    if name in (".", ".."):
        return "it is a directory"
    if "/" in name or "\\" in name:
        return "it has a directory in it"
    if bad := next((c for c in name if unicodedata.category(c) in ("Cc", "Cs")), None):
        return f"it holds the character {bad!r}"
    if (size_bytes := len(name.encode())) > _MAX_BYTES:
        return f"it has {size_bytes} bytes in UTF-8, the most is {_MAX_BYTES}"
    if _is_auxiliary(name):
        return f"endings in {', '.join(AUXILIARY_SUFFIXES)} are for downloads that are not complete"
    if _is_reserved_on_windows(name):
        return "it is a device on Windows"
    if _ON_WINDOWS and (any(c in _NOT_ON_WINDOWS for c in name) or name[-1] in _NOT_LAST):
        return f"Windows takes none of {' '.join(_NOT_ON_WINDOWS)} in a name, and no dot or space at its end"
    return None


def base_name(path: str) -> str:
    """Return what follows the last slash of either kind, which may be nothing."""
    return path.replace("\\", "/").rpartition("/")[2]


def safe_name(name: str, *, fallback: str = "download") -> str:
    """Return a plain file name, as near to *name* as is safe everywhere; doing it again changes nothing.

    - Of a path only the last part counts, with either slash.
    - Controls and invisible characters are removed, and so are dots, dashes, tildes and spaces at the start, and dots
      and spaces at the end.
    - What Windows does not take becomes ``_``; the name of a device gets one before it, that of an auxiliary file one
      in place of its last dot.
    - At most 200 bytes of UTF-8 are kept, the extension among them.
    - The name is put into Unicode's form NFC, as Chromium does: composed otherwise it would look the same, but be
      another file on Linux, and one that a keyboard cannot name.

    Args:
        name: from anywhere.
        fallback: taken, and made safe too, if nothing is left of *name*.
    """
    return plain_name(name) or plain_name(fallback) or "download"


def plain_name(name: str) -> str:
    """Return what :func:`safe_name` makes of *name* alone, which may be nothing."""
    name = base_name(name)
    if len(name) > 2 * _LOOKED_AT:
        name = name[:_LOOKED_AT] + name[-_LOOKED_AT:]
    if not _ORDINARY.fullmatch(name):
        # Removing comes before NFC, as it may bring a letter and its accent together; escaping comes after it, as NFC
        # composes "<" and ">" with a stroke.
        name = "".join(c for c in name if c in _JOINERS or unicodedata.category(c) not in _REMOVED_CATEGORIES)
        name = unicodedata.normalize("NFC", name).translate(_ESCAPES)
    name = _shortened(name.lstrip(_NOT_FIRST).rstrip(_NOT_LAST), _MAX_SAFE_BYTES)
    # Last, since what was cut away may have been all that told the name from a device or an auxiliary file.
    if _is_reserved_on_windows(name):
        name = _shortened(f"_{name}", _MAX_SAFE_BYTES)
    if _is_auxiliary(name):
        head, _, tail = name.rpartition(".")
        name = f"{head}_{tail}"
    return name


def numbered(name: str, n: int) -> str:
    """Return *name* with a number before its extension: ``a.tar.gz`` becomes ``a (1).tar.gz``.

    The result has at most 200 bytes of UTF-8, or as many as *name* if the user chose a longer one.

    Args:
        name: what :func:`safe_name` or :func:`check_filename` gave.
        n: from 1 up.
    """
    return _shortened(name, max(_MAX_SAFE_BYTES, len(name.encode())), mark=f" ({n})")


def _shortened(name: str, max_bytes: int, *, mark: str = "") -> str:
    """Return *name* with *mark* before its extension; what is more than *max_bytes* is cut from before the mark."""
    stem, extension = _split_extension(name)
    room = max_bytes - len((mark + extension).encode())
    if len(stem.encode()) > room:
        stem = stem.encode()[:room].decode(errors="ignore").rstrip(_NOT_LAST)
    return f"{stem}{mark}{extension}"


def _split_extension(name: str) -> tuple[str, str]:
    """Return *name* in two parts, the second with its dot, or empty; ``.bashrc`` has no extension."""
    stem, dot, extension = name.rpartition(".")
    if not stem.strip(".") or not extension or " " in extension or len(extension.encode()) > _MAX_EXTENSION_BYTES:
        return name, ""
    outermost, extension = extension, dot + extension
    for _ in range(_MAX_WRAPPERS):
        if outermost.lower() not in _WRAPPERS:
            break
        head, dot, outermost = stem.rpartition(".")
        # What is below is a part of its own if it looks like a type; in "linux-6.1.gz" it is a version.
        if not head.strip(".") or not _is_wrapped_type(outermost):
            break
        stem, extension = head, dot + outermost + extension
    return stem, extension


def _is_wrapped_type(text: str) -> bool:
    return len(text) <= _MAX_WRAPPED_LENGTH and text.isalnum() and not text.isdecimal()


def _is_auxiliary(name: str) -> bool:
    # As the file systems of macOS compare: without regard to case, and HFS+ without regard to joiners.
    return name.translate(_WITHOUT_JOINERS).casefold().endswith(AUXILIARY_SUFFIXES)


def _is_reserved_on_windows(name: str) -> bool:
    return name.partition(".")[0].rstrip(" ").upper() in _RESERVED_ON_WINDOWS
