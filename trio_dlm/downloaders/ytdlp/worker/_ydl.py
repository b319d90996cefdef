"""The ``YoutubeDL`` of a worker: yt-dlp's own, with its requests looked at.

Rules that hold here:

- this is one of the few rooms that import yt-dlp, and every type of its is ``Any`` here: it has none to rely on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yt_dlp

from ._fragments import forget, is_other_list, note
from ._guard import RefusedAddressError
from ._hooks import Hooks
from ._say import Logger
from ._versions import Versions

__all__ = ["make_ydl", "version", "warm_up"]

# It has no types, and what is used of it is in it once it is imported.
_library: Any = yt_dlp
_networking: Any = _library.networking
_PostProcessor: Any = _library.postprocessor.common.PostProcessor
_YoutubeDL: Any = _library.YoutubeDL


class _Ydl(_YoutubeDL):  # type: ignore[misc]
    """``YoutubeDL`` whose requests are told of versions."""

    def __init__(self, params: Mapping[str, Any], versions: Versions) -> None:
        self._versions = versions
        parent: Any = super()
        parent.__init__(dict(params))

    def urlopen(self, req: Any) -> Any:
        """Send a request."""
        request: Any = _networking.Request(req) if isinstance(req, str) else req
        url: str = request.url
        request.headers = self._versions.before(url, request.headers)
        parent: Any = super()
        response: Any = parent.urlopen(request)
        problem = self._versions.after(url, response.status, response.headers)
        if problem is not None:
            response.close()
            raise _networking.exceptions.TransportError(problem)
        return response


class _PlanPP(_PostProcessor):  # type: ignore[misc]
    """Is run when the formats are chosen and nothing was downloaded yet."""

    PP_NAME = "Plan"

    def __init__(self, tell: Callable[[Mapping[str, Any]], None]) -> None:
        parent: Any = super()
        parent.__init__()
        self._tell = tell

    def run(self, information: Any) -> Any:
        """Tell."""
        self._tell(information)
        return [], information


def make_ydl(
    request: Mapping[str, Any],
    *,
    logger: Logger,
    hooks: Hooks,
    versions: Versions,
    tell: Callable[[Mapping[str, Any]], None],
) -> Any:
    """Return the ``YoutubeDL`` for a *request*, to be used as a context manager.

    Args:
        request: the parent's.
        logger: hears what it would print.
        hooks: hear how far it is.
        versions: what is known of the files.
        tell: is called with an item whose formats are chosen, before it is downloaded.
    """
    params: dict[str, Any] = {
        **request["params"],
        "logger": logger,
        "progress_hooks": [hooks.progress],
        "postprocessor_hooks": [hooks.postprocessor],
    }
    if request.get("postprocessors"):
        params["postprocessors"] = request["postprocessors"]
    if request.get("allowed_extractors") is not None:
        params["allowed_extractors"] = request["allowed_extractors"]
    if request.get("impersonate"):
        params["impersonate"] = _networking.impersonate.ImpersonateTarget.from_str(request["impersonate"])
    if request.get("guard") is not None:
        # It dials in C, where nobody looks.
        handlers: Any = _networking.common._REQUEST_HANDLERS
        handlers.pop("CurlCFFI", None)
        # A broadcast is left to ffmpeg whatever the parameters say.
        _library.downloader.external.ExternalFD.real_download = _refuse
    ydl = _Ydl(params, versions)
    ydl.add_post_processor(_PlanPP(tell), when="before_dl")
    return ydl


def _refuse(downloader: Any, *_: object) -> None:
    raise RefusedAddressError(13, f"egress refused: {type(downloader).__name__} would fetch it by itself")


def _noting(write: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Return *write*, which notes how many fragments there are, with a note of how long the file is before it."""

    def note_and_write(self: Any, context: Any) -> None:
        note(
            Path(self.ytdl_filename(context["filename"])), Path(context["tmpfilename"]), int(context["fragment_index"])
        )
        write(self, context)

    return note_and_write


def _comparing(download: Callable[..., Any]) -> Callable[..., Any]:
    """Return *download*, which fetches fragments, with a look whether they are of the list that was begun."""

    def compare_and_download(self: Any, context: Any, fragments: Any, info: Any, *rest: Any, **more: Any) -> Any:
        # Those of a broadcast are drawn from a list that grows.
        if not context["live"]:
            fragments = list(fragments)
            ytdl, done = Path(self.ytdl_filename(context["filename"])), int(context["fragment_index"])
            if is_other_list(ytdl, fragments, done=done):
                context["dest_stream"].close()
                forget(ytdl, Path(context["tmpfilename"]))
                raise _networking.exceptions.TransportError("the site has another list of fragments than before")
        return download(self, context, fragments, info, *rest, **more)

    return compare_and_download


# yt-dlp has no hook for it.
_fragments: Any = _library.downloader.fragment.FragmentFD
_fragments._write_ytdl_file = _noting(_fragments._write_ytdl_file)
_fragments.download_and_append_fragments = _comparing(_fragments.download_and_append_fragments)


def version() -> str:
    """Return yt-dlp's version."""
    return str(_library.version.__version__)


def warm_up() -> None:
    """Do what the first item would otherwise wait for: most of it is compiling the patterns of all sites."""
    with _YoutubeDL({"quiet": True, "cachedir": False, "logger": _Silence()}) as ydl:
        for extractor in ydl._ies.values():
            extractor.suitable("https://example.invalid/x.mp4")
        for name in ("Generic", "Youtube"):
            if name in ydl._ies:
                ydl.get_info_extractor(name)


class _Silence:
    """A logger that hears nothing."""

    def _hear(self, message: str) -> None:
        pass

    debug = info = warning = error = _hear
