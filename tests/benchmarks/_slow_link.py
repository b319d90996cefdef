"""A way to a server that takes time and loses nothing: ``python -m … PORT DELAY_S``, prints its own port.

Every chunk waits for half a round trip in each direction, whatever else is under way, and the first of a connection for
a whole one more, as a handshake would.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

_READ_BYTES: Final = 256 * 1024


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                break
            writer.write(data)
            try:
                await writer.drain()
            except OSError:
                # Who has all that he wants goes, whatever is still on its way.
                break
        writer.close()

    delivering = asyncio.create_task(deliver())
    while data := await reader.read(_READ_BYTES):
        under_way.put_nowait((loop.time() + delay_s, data))
    under_way.put_nowait((loop.time() + delay_s, b""))
    await delivering


async def _main(port: int, delay_s: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay_s)
        there = await asyncio.open_connection("127.0.0.1", port, limit=_READ_BYTES)
        await asyncio.gather(
            _carry(reader, there[1], delay_s), _carry(there[0], writer, delay_s), return_exceptions=True
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_READ_BYTES)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
