"""Requests for one file: to whom they go, where they are led, and what a source is known for meanwhile.

Rules that hold here:

- redirects are followed one hop at a time, and every hop is asked with what it may know;
- what was found behind redirects is asked straight away the next time; if it says that it is gone, or that one may not,
  the way from the beginning is taken once more, since such addresses expire.

Source:
    RFC 9110 section 15.4.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Final, final

from ..._options import DownloadOptions
from ..._rate import RateLimit
from .client._client import AnyClient
from .client._exchange import Exchange
from .rules._address import Address, Origin
from .rules._asking import Ask, request_headers
from .rules._redirects import next_hop
from .rules._version import Version

__all__ = ["Asker", "Source"]

# What an address says that led to the file only for a while; 400 is how large stores call a signature that is too old.
_NO_MORE: Final = frozenset({400, 401, 403, 404, 410})


@final
class Source:
    """One address of the file, and what one run has learned of it.

    Attributes:
        address: as the user gave it.
        final: where its redirects ended, or None before the first reply.
        version: the version that bytes of it are held of, or None.
        redirects: the addresses that they led through, the final one last.
    """

    __slots__ = ("address", "final", "redirects", "version")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.final: Address | None = None
        self.version: Version | None = None
        self.redirects: tuple[Address, ...] = ()

    def __repr__(self) -> str:
        return f"<Source {self.address.shown}>"


@final
class Asker:
    """Sends the requests of one run.

    Args:
        client: what to ask with.
        options: the user's.
        named: the origins that the user named, with their credentials.
        rate_limit: how fast to read.
    """

    def __init__(
        self, client: AnyClient, options: DownloadOptions, named: Mapping[Origin, str | None], rate_limit: RateLimit
    ) -> None:
        self._client = client
        self._options = options
        self._named = named
        self._rate_limit = rate_limit

    @contextlib.asynccontextmanager
    async def ask(
        self, source: Source, ask: Ask, *, min_rate_bytes_per_s: float | None
    ) -> AsyncGenerator[Exchange, None]:
        """Send a request for *ask* to *source*, go where it redirects to, and give the last reply, body unread.

        Leaving the block closes the connection, or gives it back to the client's pool.

        Args:
            source: who is asked.
            ask: for what.
            min_rate_bytes_per_s: the least rate at which the body of the last reply has to come, or None.

        Raises:
            TransferError: no reply; the class says why.
        """
        options = self._options
        starts = [source.address] if source.final in (None, source.address) else [source.final, source.address]
        for start in filter(None, starts):
            hops = [start]
            while True:
                to = hops[-1]
                async with self._client.exchange(
                    to,
                    headers=request_headers(to, named=self._named, headers=options.headers, ask=ask),
                    is_named=to.origin in self._named,
                    connect_timeout_s=options.connect_timeout_s,
                    timeout_s=options.timeout_s,
                    min_rate_bytes_per_s=min_rate_bytes_per_s,
                    limiter=self._rate_limit,
                    allow_private=options.allow_private_addresses,
                ) as exchange:
                    head = exchange.head
                    following = next_hop(head, hops=hops, allow_http_downgrade=options.allow_http_downgrade)
                    if following is None:
                        if start is not source.address and head.status in _NO_MORE:
                            break
                        if head.status // 100 == 2:
                            source.final = head.address
                            if start is source.address:
                                source.redirects = tuple(hops[1:])
                        yield exchange
                        return
                hops.append(following)
