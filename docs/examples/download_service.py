"""A service that downloads what strangers ask for, on any event loop that an ASGI server brings."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.config import Config
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import trio_dlm
from trio_dlm import DownloadManager, DownloadTask, HttpDownloader
from trio_dlm.asgi import EventStream, manager_lifespan, snapshot_as_json

# From environment variables, such as DOWNLOADS_DIRECTORY.
settings = Config(env_prefix="DOWNLOADS_")
DIRECTORY = settings("DIRECTORY", default="downloads")
MAX_CONCURRENT = settings("MAX_CONCURRENT", cast=int, default=5)
MAX_PENDING = settings("MAX_PENDING", cast=int, default=100)
# Who may choose the URL may choose one of your own network.  For tests only.
ALLOW_PRIVATE_ADDRESSES = settings("ALLOW_PRIVATE_ADDRESSES", cast=bool, default=False)

# How many ended downloads can still be asked for.
KEEP_ENDED = 1000
# Enough for any URL, and nobody fills the memory.
MAX_BODY_BYTES = 100_000
RETRY_AFTER_S = 10


def describe(task: DownloadTask[Any], status: int = 200) -> JSONResponse:
    headers = {"Cache-Control": "no-store"}
    return JSONResponse(snapshot_as_json(task.snapshot()), status, headers)


def find(request: Request) -> DownloadTask[Any]:
    tasks: dict[str, DownloadTask[Any]] = request.state.tasks
    task = tasks.get(wanted := request.path_params["id"])
    if task is None:
        raise HTTPException(404, f"no download with the id {wanted!r} is known")
    return task


async def read_url(request: Request) -> str:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        match json.loads(body):
            case {"url": str(url)}:
                return url
    except (ValueError, RecursionError) as exc:
        raise HTTPException(400, "the body is no JSON") from exc
    raise HTTPException(422, 'the body is not of the form {"url": "https://…"}')


async def add(request: Request) -> Response:
    url = await read_url(request)
    manager: DownloadManager = request.state.manager
    try:
        task = manager.submit_nowait(url)
    except trio_dlm.InvalidUrlError as exc:
        raise HTTPException(422, str(exc)) from exc
    except (trio_dlm.QueueFullError, trio_dlm.ManagerClosedError) as exc:
        full = isinstance(exc, trio_dlm.QueueFullError)
        why = "the queue is full" if full else "the service is ending"
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        raise HTTPException(503, f"{why}; try again later", headers) from exc
    remember(task, request.state.tasks)
    response = describe(task, 202)
    response.headers["Location"] = request.url_for("show", id=task.correlation_id).path
    return response


def remember(task: DownloadTask[Any], tasks: dict[str, DownloadTask[Any]]) -> None:
    tasks[task.correlation_id] = task
    ended = [key for key, each in tasks.items() if each.status.is_final]
    for key in ended[:-KEEP_ENDED]:
        del tasks[key]


async def list_all(request: Request) -> Response:
    downloads = [snapshot_as_json(task.snapshot()) for task in request.state.tasks.values()]
    return JSONResponse({"downloads": downloads}, headers={"Cache-Control": "no-store"})


async def show(request: Request) -> Response:
    return describe(find(request))


async def cancel(request: Request) -> Response:
    task = find(request)
    # Returns when no code of the download runs any more.
    await task.cancel("cancelled by a client")
    # A second DELETE finds what the first one wanted; for a file that is there already, or a
    # failure, it is too late.
    cancelled = task.status is trio_dlm.DownloadStatus.CANCELLED
    return describe(task, 200 if cancelled else 409)


async def events(request: Request) -> Response | EventStream:
    task = find(request)
    seen = request.headers.get("Last-Event-ID")
    if task.status.is_final and seen == str(task.snapshot().sequence):
        # The browser has seen the end, and this tells it not to ask again.
        return Response(status_code=204)
    manager: DownloadManager = request.state.manager
    return EventStream(manager.events(tasks=task, min_interval_s=0.5))


async def tell_error(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return JSONResponse({"error": exc.detail}, exc.status_code, exc.headers)


@asynccontextmanager
async def open_list(_: Starlette) -> AsyncGenerator[dict[str, Any]]:
    # Handles stay valid when the manager has forgotten a download.
    yield {"tasks": {}}


app = Starlette(
    routes=[
        Route("/downloads", add, methods=["POST"]),
        Route("/downloads", list_all, methods=["GET"]),
        Route("/downloads/{id}", show, methods=["GET"]),
        Route("/downloads/{id}", cancel, methods=["DELETE"]),
        Route("/downloads/{id}/events", events, methods=["GET"]),
    ],
    exception_handlers={HTTPException: tell_error},
    lifespan=manager_lifespan(
        MAX_CONCURRENT,
        directory=DIRECTORY,
        max_pending=MAX_PENDING,
        around=open_list,
        downloader=HttpDownloader(
            allow_private_addresses=ALLOW_PRIVATE_ADDRESSES,
            overwrite="unique",
            max_bytes=2_000_000_000,
            total_timeout_s=3600,
            min_rate_bytes_per_s=1000,
            connections=2,
        ),
    ),
)
