"""What a download would be, from one request whose body is not read.

Rules that hold here:

- the request is the one with which a download begins, and the reply is judged as a download would judge it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import final

from ..._errors import HttpStatusError, UnusableReplyError
from ..._options import DownloadOptions
from ..._rate import RateLimit
from ._asker import Asker, Source
from .client._client import AnyClient
from .client._exchange import Exchange
from .rules._address import Address
from .rules._asking import FROM_THE_START, WHOLE
from .rules._believing import REFUSED_FOR_THE_RANGE, believe, whole_digests
from .rules._digests import representation_digests
from .rules._naming import choose_name

__all__ = ["RemoteFile", "probe"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """What a server says of a file, before any of it is fetched.

    Attributes:
        final_url: where redirects ended, without secrets.
        redirects: the addresses on the way there, without secrets, the last one left out.
        name: what the file would be called.
        size_bytes: how long it is, or None if the server does not say.
        media_type: what kind of file the server says that it is, or None.
        etag: its ETag as it came, or None.
        last_modified: its Last-Modified as it came, or None.
        is_resumable: a download that ends early could go on from what it has.
        takes_ranges: whether the server serves ranges; None if it was not asked for one.
        digests: what the server says the digests of the whole file are, each as ``"sha256:…"``.
        http_version: such as ``"HTTP/1.1"``.
    """

    final_url: str
    redirects: tuple[str, ...]
    name: str
    size_bytes: int | None
    media_type: str | None
    etag: str | None
    last_modified: str | None
    is_resumable: bool
    takes_ranges: bool | None
    digests: tuple[str, ...]
    http_version: str


async def probe(address: Address, *, url: str, options: DownloadOptions, client: AnyClient) -> RemoteFile:
    """Ask for *address* and say what is there.

    Raises:
        TransferError: it could not be had; the class says why.
    """
    source = Source(address)
    asker = Asker(client, options, {address.origin: address.basic}, RateLimit())
    ask = FROM_THE_START if options.connections > 1 else WHOLE
    try:
        async with asker.ask(source, ask, min_rate_bytes_per_s=None) as exchange:
            return _described(exchange, source, is_ranged=ask.is_ranged, url=url, options=options)
    except (HttpStatusError, UnusableReplyError) as exc:
        refused = isinstance(exc, HttpStatusError) and exc.status in REFUSED_FOR_THE_RANGE
        if not ask.is_ranged or not (refused or (isinstance(exc, UnusableReplyError) and exc.is_disagreement)):
            raise
    # As a download would, which asks plainly when a range is refused.
    async with asker.ask(source, WHOLE, min_rate_bytes_per_s=None) as exchange:
        return _described(exchange, source, is_ranged=False, url=url, options=options)


def _described(
    exchange: Exchange, source: Source, *, is_ranged: bool, url: str, options: DownloadOptions
) -> RemoteFile:
    head = exchange.head
    name = choose_name(
        filename=options.filename,
        disposition=head.first("content-disposition"),
        url=url,
        final_url=head.address.url,
    )
    delivery = believe(
        head,
        FROM_THE_START if is_ranged else WHOLE,
        pinned=None,
        names=[name],
        has_checksum=options.checksum is not None,
        now=datetime.now(UTC),
    )
    digests = whole_digests(head) if delivery.is_whole else representation_digests(head)
    return RemoteFile(
        final_url=head.address.shown,
        redirects=tuple(each.shown for each in (source.address, *source.redirects)[:-1]) if source.redirects else (),
        name=name,
        size_bytes=delivery.version.total,
        media_type=head.first("content-type"),
        etag=head.first("etag"),
        last_modified=head.first("last-modified"),
        is_resumable=delivery.version.validator is not None and (delivery.in_ranges or not is_ranged),
        takes_ranges=delivery.in_ranges if is_ranged else None,
        digests=tuple(dict.fromkeys(map(str, digests))),
        http_version=head.version,
    )
