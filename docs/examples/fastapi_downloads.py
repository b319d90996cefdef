"""A manager in FastAPI, for people whom you trust."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from starlette.routing import Route

import trio_dlm
from trio_dlm import DownloadManager
from trio_dlm.asgi import EventStream, manager_lifespan, snapshot_as_json

app = FastAPI(lifespan=manager_lifespan(5, directory="downloads", max_pending=100))


async def get_manager(request: Request) -> DownloadManager:
    manager: DownloadManager = request.state.manager
    return manager


Manager = Annotated[DownloadManager, Depends(get_manager)]


class Wanted(BaseModel):
    url: str
    checksum: str | None = None


@app.post("/downloads", status_code=202)
async def add(wanted: Wanted, manager: Manager) -> dict[str, Any]:
    try:
        task = manager.submit_nowait(wanted.url, checksum=wanted.checksum)
    except ValueError as exc:  # InvalidUrlError is one, and so is a checksum that is none.
        raise HTTPException(422, str(exc)) from exc
    except trio_dlm.QueueFullError as exc:
        raise HTTPException(503, str(exc), {"Retry-After": "10"}) from exc
    return snapshot_as_json(task.snapshot())


@app.get("/downloads/{task_id}")
async def show(task_id: str, manager: Manager) -> dict[str, Any]:
    try:
        snapshot = manager.get_task(task_id).snapshot()
    except trio_dlm.UnknownTaskError as exc:
        raise HTTPException(404, str(exc)) from exc
    return snapshot_as_json(snapshot) | {"reason": snapshot.reason}


# A route of Starlette, which takes any ASGI application for its response.
async def events(request: Request) -> EventStream:
    manager: DownloadManager = request.state.manager
    try:
        watched = manager.events(tasks=request.path_params["task_id"], min_interval_s=0.5)
    except trio_dlm.UnknownTaskError as exc:
        raise HTTPException(404, str(exc)) from exc
    return EventStream(watched)


app.router.routes.append(Route("/downloads/{task_id}/events", events))
