"""The limits of what an exchange waits for before its body.

Rules that hold here:

- there is one cancel scope, and its deadline moves from stage to stage as the transport reports them: one limit for
  name look-up, connection and TLS handshake together, one for the whole header block however slowly it trickles;
- the reports come through httpx's ``trace`` request extension; a transport that makes none (a mock, an ASGI app) has
  both limits for all of it;
- when a limit is reached, the error says what was waited for, how long, and which option sets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import trio

from ..._errors import DownloadTimeoutError, TransferError
from ._address import Address
from ._faults import Stage, before_body

__all__ = ["Waits"]


@final
class Waits:
    """The scope of one exchange up to its header, and what the transport reported in it.

    Attributes:
        scope: for the call that sends the request; its deadline is ours.
        stage: how far the exchange is.
        is_fresh: a connection was made for it; otherwise a kept one was used, or there were no reports.
        handshake: a connection whose TLS handshake has not ended.  httpx forgets it when it is cancelled there.
    """

    __slots__ = (
        "_address",
        "_connect_timeout_s",
        "_connection",
        "_limit_s",
        "_option",
        "_place",
        "_since",
        "_timeout_s",
        "_waited_for",
        "handshake",
        "is_fresh",
        "scope",
        "stage",
    )

    def __init__(self, address: Address, *, connect_timeout_s: float, timeout_s: float) -> None:
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self.scope = trio.CancelScope()
        self.stage: Stage = "connecting"
        self.is_fresh = False
        self.handshake: Any = None
        self._connection: Any = None
        self._place = f"{address.origin.host} port {address.origin.port}"
        self._begin(
            "free connection in the client's pool, or reply header",
            connect_timeout_s + timeout_s,
            "connect_timeout_s or timeout_s",
        )

    def _begin(self, waited_for: str, limit_s: float, option: str) -> None:
        self._waited_for = waited_for
        self._limit_s = limit_s
        self._option = option
        self._since = trio.current_time()
        self.scope.deadline = self._since + limit_s

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take a report of the transport, such as ``"connection.connect_tcp.started"``."""
        what = event.partition(".")[2]
        if what in ("connect_tcp.started", "connect_unix_socket.started"):
            self.is_fresh = True
            if "host" in info and (info["host"], info["port"]) != self._address.origin[1:]:
                self._place = f"the proxy {info['host']} port {info['port']}"
            self._begin(f"connection to {self._place}", self._connect_timeout_s, "connect_timeout_s")
        elif what in ("connect_tcp.complete", "connect_unix_socket.complete"):
            self._connection = info.get("return_value")
        elif what == "start_tls.started":
            self.handshake = self._connection
            # Connection and handshake share a limit, unless a proxy has answered in between.
            if self.stage != "connecting":
                self.stage = "connecting"
                self._place = f"{self._address.origin.host} port {self._address.origin.port}"
                self._begin("", self._connect_timeout_s, "connect_timeout_s")
            self._waited_for = f"end of the TLS handshake with {self._place}"
        elif what == "start_tls.complete":
            self.handshake = None
        elif what == "send_request_headers.started":
            self.stage = "sent"
            self._begin("complete reply header", self._timeout_s, "timeout_s")
        elif what == "receive_response_headers.complete":
            self.stage = "answered"

    def timeout(self) -> DownloadTimeoutError:
        """Say which limit was reached."""
        return DownloadTimeoutError(
            url=self._address.shown, waited_for=self._waited_for, limit_s=self._limit_s, option=self._option
        )

    def describe(self, exc: Exception) -> TransferError:
        """Say what an exception of the library's means now."""
        return before_body(
            exc,
            address=self._address,
            stage=self.stage,
            place=self._place,
            waited_for=self._waited_for,
            waited_s=trio.current_time() - self._since,
        )
