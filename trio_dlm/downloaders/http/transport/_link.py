"""Bytes to and from a server: over a wire as it is, or through TLS.

Rules that hold here:

- TLS is between two buffers in memory, filled by large reads: a record costs one call of OpenSSL and none of the
  system;
- whoever waits has tried before: what OpenSSL holds already is announced by nobody;
- an end without close_notify is no end of TLS: whatever was to come may have been cut off;
- a read on the loop goes into a buffer that all links share; one in a thread brings its own.

Source:
    RFC 8446 section 6.1 (close_notify), RFC 9112 section 9.8 (what it means for HTTP).
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any, Final, final

from ._problems import ConnectError, ReadError, TruncatedError
from ._wire import Wire

__all__ = ["RECEIVE_BYTES", "Link"]

RECEIVE_BYTES: Final = 256 * 1024

# No await stands between filling it and emptying it.
_shared_cipher: Final = memoryview(bytearray(RECEIVE_BYTES))


@final
class Link:
    """One connection below HTTP.

    While a thread reads from it, nobody else may use it.
    """

    __slots__ = ("_incoming", "_is_over", "_outgoing", "_tls", "wire")

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._tls: ssl.SSLObject | None = None
        self._incoming: ssl.MemoryBIO
        self._outgoing: ssl.MemoryBIO
        self._is_over = False

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Make the TLS handshake, in which the server proves to be *server_name*.

        Cancelling it leaves the link of no use.

        Raises:
            ssl.SSLError, OSError, ConnectError: there is no TLS.
        """
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        try:
            while not _has_shaken(tls):
                await self._flush()
                size = await self.wire.receive(_shared_cipher)
                if not size:
                    raise ConnectError("the server closed the connection during the TLS handshake")
                self._incoming.write(_shared_cipher[:size])
        except ssl.SSLError:
            # The alert that says why is for the server to read.
            with contextlib.suppress(OSError):
                await self._flush()  # noqa: ASYNC120  (who is cancelled does not ask why)
            raise
        self._tls = tls
        await self._flush()

    @property
    def is_secure(self) -> bool:
        """Whether there is TLS."""
        return self._tls is not None

    @property
    def can_move(self) -> bool:
        """Whether :meth:`try_read` may be called in a thread."""
        return self.wire.can_try

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self.wire.send(data)

    async def write(self, data: bytes) -> None:
        """Send all of *data*.

        Raises:
            OSError: the connection broke.
        """
        if self._tls is None:
            await self.wire.send(data)
            return
        self._tls.write(data)
        await self._flush()

    def try_read(self, into: memoryview, cipher: memoryview = _shared_cipher) -> int | None:
        """Read what is there into *into*, and return how much it is: None if nothing is there yet, 0 at the end.

        May fill less than is there; only None says that waiting is of any use.

        Args:
            into: takes the bytes.
            cipher: room for what is received; in a thread one of its own.

        Raises:
            ReadError: the connection broke.
        """
        try:
            if self._tls is None:
                return self.wire.try_receive(into)
            # First what OpenSSL holds.
            while not (got := self._decrypt(into)):
                if self._is_over:
                    return 0
                size = self.wire.try_receive(cipher)
                if size is None:
                    return None
                self._take(cipher, size)
            return got
        except OSError as exc:
            raise _broken(exc) from exc

    async def read(self, into: memoryview) -> int:
        """Read, waiting if nothing is there; 0 at the end.

        Raises:
            ReadError: the connection broke.
        """
        if self.wire.can_try:
            while (size := self.try_read(into)) is None:
                await self.wire.wait_readable()
            return size
        try:
            if self._tls is None:
                return await self.wire.receive(into)
            while not (got := self._decrypt(into)) and not self._is_over:
                self._take(_shared_cipher, await self.wire.receive(_shared_cipher))
            return got
        except OSError as exc:
            raise _broken(exc) from exc

    def _take(self, cipher: memoryview, size: int) -> None:
        if size:
            self._incoming.write(cipher[:size])
        else:
            self._incoming.write_eof()

    def _decrypt(self, into: memoryview) -> int:
        assert self._tls is not None
        got = 0
        try:
            while got < len(into):
                size: Any = self._tls.read(len(into) - got, into[got:])
                if not size:
                    # close_notify, and the end.
                    self._is_over = True
                    break
                got += size
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._is_over = True
        except ssl.SSLEOFError:
            if not got:
                raise TruncatedError("the connection was closed without TLS's close_notify") from None
        return got

    def is_usable(self) -> bool:
        """Whether nothing has come since the last reply, not even the end.  One call of the system."""
        if not self.wire.can_try:
            return False
        try:
            return self.try_read(_one_byte) is None
        except (ReadError, TruncatedError):
            return False

    def close(self) -> None:
        """Close the connection.  Again, it does nothing."""
        self.wire.close()

    async def aclose(self) -> None:
        """Close the connection, for those who await it."""
        self.close()

    def get_extra_info(self, name: str) -> Any:
        """Return what httpx's users ask a network stream for: addresses, the socket, the TLS object."""
        match name:
            case "server_addr":
                return self.wire.get_address(of_peer=True)
            case "client_addr":
                return self.wire.get_address(of_peer=False)
            case "socket":
                return self.wire.socket
            case "ssl_object":
                return self._tls
            case _:
                return None


_one_byte: Final = memoryview(bytearray(1))


def _has_shaken(tls: ssl.SSLObject) -> bool:
    """Go on with the handshake, and say whether it has ended."""
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _broken(error: OSError) -> ReadError:
    return ReadError(f"the connection broke ({error.strerror or error})")
