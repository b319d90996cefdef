"""An application for a server in a process of its own: an endless download, and a stream that tells when it is left."""

from __future__ import annotations

import sys
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from trio_dlm import DownloadJob, DownloadResult
from trio_dlm.asgi import EventStream, manager_lifespan

__all__ = ["app"]


async def endless(_: DownloadJob) -> DownloadResult:
    await trio.sleep_forever()
    raise AssertionError


async def events(request: Request) -> Any:
    manager = request.state.manager
    subscription = manager.events(tasks=await manager.submit("https://example.org/"))
    stream = EventStream(subscription)

    async def tell(scope: Any, receive: Any, send: Any) -> None:
        await stream(scope, receive, send)
        # Only one that was left has ended, although its download goes on.
        assert [snapshot async for snapshot in subscription] == []
        sys.stderr.write("subscription left\n")

    return tell


app = Starlette(routes=[Route("/events", events)], lifespan=manager_lifespan(downloader=endless))
