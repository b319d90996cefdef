"""Reads the file name out of a Content-Disposition header.

Rules that hold here:

- a header that cannot be read gives no name and never an error: the caller asks the next source;
- what the grammar forbids is read where browsers read it and it can mean one thing only;
- the time is linear in the length of the header: each character is read once, and there is no backtracking;
- what comes out is what the server says, without a path; making it safe is for :mod:`._naming`.

Source:
    RFC 6266 (Content-Disposition in HTTP), RFC 8187 and its forerunner RFC 5987 (``filename*``), RFC 9110 section 5.6
    (tokens, quoted strings, parameters), RFC 2047 (encoded words).
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterator
from string import ascii_letters, digits, hexdigits
from typing import Final, NamedTuple, final

from ...disk._names import base_name

__all__ = ["filename_from_disposition"]

_TOKEN_CHARACTERS: Final = frozenset(ascii_letters + digits + "!#$%&'*+-.^_`|~")
_HEX_DIGITS: Final = frozenset(hexdigits)
# Not str.isspace(): in Latin-1 two bytes of UTF-8 letters would be white space.
_WHITE_SPACE: Final = " \t"

# In an unquoted value these hint at broken quoting, at a missing semicolon, and at two headers joined into one.
_AMBIGUOUS_UNQUOTED: Final = ('"', "=", ", ")

# Labels without hyphens and underscores, to Python's codecs.  A table, since a server must not reach the codecs that
# are no charsets ("unicode_escape", "punycode").  RFC 8187 asks for UTF-8, RFC 5987 for ISO-8859-1 as well; the others
# are what servers write that still use encoded words.
_CHARSETS: Final = {
    "utf8": "utf-8",
    "usascii": "ascii",
    **{f"iso8859{part}": f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))},
    **{f"windows{page}": f"cp{page}" for page in range(1250, 1259)},
    "koi8r": "koi8-r",
    "koi8u": "koi8-u",
    "shiftjis": "cp932",
    "eucjp": "euc-jp",
    "iso2022jp": "iso2022-jp",
    "euckr": "cp949",
    "ksc5601": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5",
}


def filename_from_disposition(value: str) -> str | None:
    """Return the file name that a Content-Disposition header gives, without a path, or None if it gives none.

    ``filename*`` goes before ``filename``, and the first of either before later ones.  Beyond the grammar:

    - the disposition may be missing, and a parameter that cannot be read is skipped; but a bare word among the
      parameters ends the reading, as the header may be saying two things;
    - an unquoted name may hold spaces, brackets and letters of any script;
    - bytes beyond ASCII are UTF-8 if they can be, else Latin-1;
    - encoded words are decoded, and so are percent signs that give letters beyond ASCII in UTF-8, since nobody means
      those as they stand.  A name with only ``%20`` or ``%41`` in it may be meant so, and stays.

    The name is not made safe yet.

    Args:
        value: the header's value, its bytes decoded as Latin-1.
    """
    found: dict[str, _Parameter] = {}
    for parameter in _parameters(value):
        found.setdefault(parameter.name, parameter)
    for name, decode in (("filename*", _extended_text), ("filename", _plain_text)):
        if name in found and (text := decode(found[name])) and (base := base_name(text)):
            return base
    return None


class _Parameter(NamedTuple):
    """A parameter of a header: its name in lower case, and its value without the quotes that it may have had."""

    name: str
    text: str
    is_quoted: bool


def _parameters(header: str) -> Iterator[_Parameter]:
    scanner = _Scanner(header)
    is_first = True
    while not scanner.is_at_end:
        name = scanner.until("=;").lower()
        if scanner.take("="):
            if value := scanner.value():
                yield _Parameter(name, *value)
        elif name and not (is_first and _TOKEN_CHARACTERS.issuperset(name)):
            return
        is_first = False
        scanner.take(";")


@final
class _Scanner:
    """Reads a header from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at >= len(self._text)

    def take(self, char: str) -> bool:
        """Step over *char* if it is next."""
        is_next = self._text.startswith(char, self._at)
        self._at += is_next
        return is_next

    def until(self, stops: str) -> str:
        """Return what comes before the first of *stops*, or before the end, without the white space around it."""
        start = self._at
        while not self.is_at_end and self._text[self._at] not in stops:
            self._at += 1
        return self._text[start : self._at].strip(_WHITE_SPACE)

    def value(self) -> tuple[str, bool] | None:
        """Return the value up to the next semicolon, and whether it was quoted; None if its quotes are broken."""
        while not self.is_at_end and self._text[self._at] in _WHITE_SPACE:
            self._at += 1
        if not self.take('"'):
            return self.until(";"), False
        text = self._rest_of_quoted_string()
        junk = self.until(";")
        return None if text is None or junk else (text, True)

    def _rest_of_quoted_string(self) -> str | None:
        characters: list[str] = []
        while not self.is_at_end:
            if self.take('"'):
                return "".join(characters)
            self.take("\\")
            characters.append(self._text[self._at : self._at + 1])
            self._at += 1
        return None


def _plain_text(parameter: _Parameter) -> str | None:
    """Decode the value of ``filename``."""
    text = parameter.text
    if any(word.startswith("=?") for word in text.split()):
        return _decoded_words(text)
    if not parameter.is_quoted and any(hint in text for hint in _AMBIGUOUS_UNQUOTED):
        return None
    unescaped = _decoded(_unescaped(text, "%"), "utf-8")
    if unescaped is not None and not unescaped.isascii():
        return unescaped
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _extended_text(parameter: _Parameter) -> str | None:
    """Decode the value of ``filename*``: charset, language and percent-encoded bytes, with single quotes between."""
    # The grammar has no double quotes here, and of the browsers only Firefox overlooks them.
    if parameter.is_quoted:
        return None
    charset, _, rest = parameter.text.partition("'")
    _language, _, encoded = rest.partition("'")
    text = _decoded(_unescaped(encoded, "%"), charset)
    # Latin-1 never fails; that the bytes were of another charset shows in the control characters.
    return None if text is None or any(unicodedata.category(c) == "Cc" for c in text) else text


def _decoded_words(text: str) -> str | None:
    """Decode each ``=?charset?Q?text?=`` of a text; None if one of them is broken.

    White space after an encoded word only separates it, also from plain text, as in Chromium.
    """
    pieces: list[str] = []
    separator = ""
    for word in text.split():
        if word.startswith("=?"):
            decoded = _decoded_word(word)
            if decoded is None:
                return None
            pieces += separator, decoded
            separator = ""
        else:
            pieces += separator, word
            separator = " "
    return "".join(pieces)


def _decoded_word(word: str) -> str | None:
    match word.split("?"):
        case ["=", charset, "Q" | "q", encoded, "="]:
            return _decoded(_unescaped(encoded.replace("_", " "), "="), charset)
        case ["=", charset, "B" | "b", encoded, "="]:
            try:
                return _decoded(base64.b64decode(encoded, validate=True), charset)
            except ValueError:
                return None
        case _:
            return None


def _unescaped(text: str, escape: str) -> bytes | None:
    """Return the bytes that *text* stands for; None if it is not ASCII, or an *escape* stands before no hex digits."""
    if not text.isascii():
        return None
    first, *others = text.split(escape)
    pieces = [first.encode()]
    for each in others:
        code = each[:2]
        if len(code) < 2 or not _HEX_DIGITS.issuperset(code):
            return None
        pieces += bytes.fromhex(code), each[2:].encode()
    return b"".join(pieces)


def _decoded(encoded: bytes | None, charset: str) -> str | None:
    codec = _CHARSETS.get(charset.lower().replace("-", "").replace("_", ""))
    if encoded is None or codec is None:
        return None
    try:
        return encoded.decode(codec)
    except UnicodeDecodeError:
        return None
