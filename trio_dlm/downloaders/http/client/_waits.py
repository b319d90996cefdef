"""The limits of what an exchange waits for before its body.

Rules that hold here:

- there is one cancel scope, and its deadline moves from stage to stage as the transport reports them: one limit for
  name look-up, connection and TLS handshake together, one for the whole header block however slowly it trickles;
- the reports come through httpx's ``trace`` request extension; a transport that makes none (a mock, an ASGI app) has
  both limits for all of it;
- when a limit is reached, the error says what was waited for, how long, and which option sets it;
- where a request must go to one address and to nobody else, a report of anything else ends it, before a byte of it is
  sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, final

import trio

from ...._errors import ConnectionFailedError, DownloadTimeoutError, TransferError
from ..rules._address import Address
from ..rules._destinations import AnyAddress
from ._faults import Stage, before_body

__all__ = ["Route", "Waits"]


@final
@dataclass(frozen=True, slots=True)
class Route:
    """The one address that a request may be sent to, and how long the way there may take.

    Attributes:
        ip: the address, which was checked.
        connect_by: when the connection must be made, on trio's clock: before it is the next address's turn.
        ready_by: when the TLS handshake must have ended as well.
    """

    ip: AnyAddress
    connect_by: float
    ready_by: float


@final
class Waits:
    """The scope of one exchange up to its header, and what the transport reported in it.

    Attributes:
        scope: for the call that sends the request; its deadline is ours.
        route: the only way that the request may take, or None for any.
        stage: how far the exchange is.
        is_fresh: a connection was to be made for it; otherwise a kept one was used, or there were no reports.
        has_connected: and it was made.
        unowned: a connection that the library forgets when it is stopped now, such as one in its TLS handshake.
    """

    __slots__ = (
        "_address",
        "_connect_timeout_s",
        "_connection",
        "_has_own",
        "_limit_s",
        "_option",
        "_place",
        "_since",
        "_timeout_s",
        "_waited_for",
        "has_connected",
        "is_fresh",
        "route",
        "scope",
        "stage",
        "unowned",
    )

    def __init__(
        self, address: Address, *, connect_timeout_s: float, timeout_s: float, route: Route | None = None
    ) -> None:
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self.scope = trio.CancelScope()
        self.stage: Stage = "connecting"
        self.is_fresh = False
        self.has_connected = False
        self.unowned: Any = None
        self._connection: Any = None
        self.route = route
        self._has_own = False
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

    def begin_look_up(self) -> None:
        """Wait for the host's addresses from now on: the first part of what ``connect_timeout_s`` is for."""
        self._begin(f"address of {self._address.origin.host}", self._connect_timeout_s, "connect_timeout_s")

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take a report of the transport, such as ``"connection.connect_tcp.started"``.

        Raises:
            ConnectionFailedError: the request is about to go another way than it may.
        """
        what = event.partition(".")[2]
        if what in ("connect_tcp.started", "connect_unix_socket.started"):
            self._connect_started(info)
        elif what in ("connect_tcp.complete", "connect_unix_socket.complete"):
            self._connect_complete(info)
        elif what == "start_tls.started":
            self.unowned = self._connection
            # Connection and handshake share a limit, unless a proxy has answered in between.
            if self.stage != "connecting":
                self.stage = "connecting"
                self._place = f"{self._address.origin.host} port {self._address.origin.port}"
                self._begin("", self._connect_timeout_s, "connect_timeout_s")
            self._waited_for = f"end of the TLS handshake with {self._place}"
        elif what == "start_tls.complete":
            self._check_protocol(info)
            self.unowned = None
        elif what == "send_request_headers.started":
            self._check_own()
            self.stage = "sent"
            self._begin("complete reply header", self._timeout_s, "timeout_s")
        elif what == "receive_response_headers.complete":
            self.stage = "answered"

    def _connect_started(self, info: Mapping[str, Any]) -> None:
        route = self.route
        _, host, port = self._address.origin
        if (info.get("host"), info.get("port")) != (host if route is None else str(route.ip), port):
            place = f"the proxy {info['host']} port {info['port']}" if "host" in info else "a socket of this machine"
            if route is not None:
                raise self._stray(f"the client goes by {place}, from where others decide whom to connect to")
            self._place = place
        self.is_fresh = True
        self._begin(f"connection to {self._place}", self._connect_timeout_s, "connect_timeout_s")
        if route is not None:
            self.scope.deadline = route.connect_by

    def _connect_complete(self, info: Mapping[str, Any]) -> None:
        self._connection = info.get("return_value")
        self.has_connected = True
        route = self.route
        if route is None:
            return
        self.scope.deadline = route.ready_by
        self.unowned = self._connection
        peer = None if self._connection is None else self._connection.get_extra_info("server_addr")
        if peer is None or ip_address(peer[0].partition("%")[0]) != route.ip:
            raise self._stray(f"the client did not connect to {route.ip}, as it was told")
        self.unowned = None
        self._has_own = True

    def _check_protocol(self, info: Mapping[str, Any]) -> None:
        # A client finds its connections by address, which is a number here: with HTTP/2, requests for several names
        # would share one, whose server has proved the first.
        if self.route is not None:
            tls = info["return_value"].get_extra_info("ssl_object")
            if tls is not None and tls.selected_alpn_protocol() == "h2":
                self.unowned = info["return_value"]
                raise self._stray("the client speaks HTTP/2, over connections that it shares between names")

    def _check_own(self) -> None:
        # A kept one, which may have been made for another name.  Raising here closes it.
        if self.route is not None and not self._has_own:
            raise self._stray("the client had a connection there already, made for something else", may_pass=True)
        self._has_own = False

    def unreported(self) -> ConnectionFailedError:
        """Say that the transport made no reports, so that nobody knows whom it asked."""
        return self._refusal("the client's transport does not say whom it connects to, so its reply was thrown away")

    def _stray(self, problem: str, *, may_pass: bool = False) -> ConnectionFailedError:
        return self._refusal(f"{problem}, so nothing was sent", may_pass=may_pass)

    def _refusal(self, problem: str, *, may_pass: bool = False) -> ConnectionFailedError:
        return ConnectionFailedError(
            url=self._address.shown,
            problem=problem,
            advice="allow_private_addresses=False needs a client without proxies, HTTP/2 and connections of others",
            may_pass=may_pass,
        )

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
