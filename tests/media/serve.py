"""The site's process: ``python -m tests.media.serve DIRECTORY``; prints its port, and ends with its standard input.

Modifiers of a path:

- ``rate=N``: N bytes a second; ``stall=N``: N bytes and then silence; ``cut=N``: N bytes and then the end;
- ``delay``: silence before the headers; ``fail=CODExN``: the first N requests of this path get CODE;
- ``noranges``, ``novalidator``: what a simple server does; ``change=N``: after N requests of this path another body,
  or the segments in another order;
- ``only=REGEX``: all of that for paths that match.

``/_log`` tells what was asked, ``/_open`` how many replies are under way; ``/_reset`` forgets.
"""

from __future__ import annotations

import collections
import http.server
import json
import os
import re
import socketserver
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_TYPES: Final = {
    ".mp4": "video/mp4",
    ".m4a": "audio/mp4",
    ".m4s": "video/mp4",
    ".ts": "video/mp2t",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".vtt": "text/vtt",
}

_EVIL_TITLES: Final = ("../../../../evil", "two/../x", "CON", "-rf --exec x", "%(id)s $(touch pwned)", "\u202egpj.exe")

_VTT: Final = "WEBVTT\n\n00:00.000 --> 00:05.000\nHello.\n"


class Site(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """The server, and what it remembers."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.root = root
        self.lock = threading.Lock()
        self.counts: collections.Counter[str] = collections.Counter()
        self.log: list[dict[str, Any]] = []
        self.under_way = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who goes away is no error."""


class Visit(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        site = self.server
        with site.lock:
            site.under_way += not self.path.startswith("/_")
        try:
            self.answer()
        except OSError:
            self.close_connection = True
        finally:
            with site.lock:
                site.under_way -= not self.path.startswith("/_")

    def answer(self) -> None:
        site, path = self.server, self.path.partition("?")[0]
        if path.startswith("/_"):
            self.tell(path)
            return
        modifiers: Mapping[str, str] = {}
        self.prefix = ""
        if found := re.match(r"/m/([^/]*)(/.*)", path):
            self.prefix, path = f"/m/{found[1]}", found[2]
            given = dict(each.partition("=")[::2] for each in found[1].split(","))
            modifiers = given if re.search(given.get("only", ""), path) else {}
        with site.lock:
            site.counts[self.path] += 1
            count = site.counts[self.path]
            site.log.append({"path": self.path, "headers": dict(self.headers.items())})
        if "delay" in modifiers:
            self.be_silent()
            return
        if "fail" in modifiers:
            code, _, times = modifiers["fail"].partition("x")
            if count <= int(times or 10**9):
                self.send(b"no", "text/plain", int(code))
                return
        self.find(path, modifiers, count)

    def tell(self, path: str) -> None:
        site = self.server
        with site.lock:
            if path == "/_reset":
                site.counts.clear()
                site.log.clear()
            known: Any = site.under_way if path == "/_open" else list(site.log)
        self.send(json.dumps(known).encode(), "application/json")

    def find(self, path: str, modifiers: Mapping[str, str], count: int) -> None:
        if (code := re.fullmatch(r"/(\d{3})\.mp4", path)) is not None:
            self.send(b"no", "text/plain", int(code[1]))
        elif path in _PAGES:
            text, kind = _PAGES[path]
            if "change" in modifiers and count > int(modifiers["change"]):
                # The same names in another order.
                text = re.sub(r"index(\d)", lambda found: f"index{9 - int(found[1])}", text)
            host = f"http://127.0.0.1:{self.server.server_port}{self.prefix}"
            self.send(text.replace("{host}", host).encode(), kind)
        elif path.startswith("/show/"):
            self.send(b"<html><title>A player</title></html>", "text/html")
        elif path == "/redirect.mp4":
            self.redirect(f"{self.prefix}/direct.mp4")
        elif path == "/away.mp4":
            self.redirect(self.path.partition("?to=")[2])
        elif path == "/cookie.mp4" and "sid=secret" not in self.headers.get("Cookie", ""):
            self.send(b"no", "text/plain", 403)
        elif path == "/drm.mpd":
            text = (self.server.root / "dash/manifest.mpd").read_text()
            drm = '<ContentProtection schemeIdUri="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"/>'
            self.send(re.sub(r"(<AdaptationSet[^>]*>)", rf"\1{drm}", text).encode(), _TYPES[".mpd"])
        else:
            file = self.server.root / ("direct.mp4" if path == "/cookie.mp4" else path.lstrip("/"))
            if file.is_file():
                self.serve(file, modifiers, count)
            else:
                self.send(b"not found", "text/plain", 404)

    def redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def serve(self, file: Path, modifiers: Mapping[str, str], count: int) -> None:
        data = file.read_bytes()
        version = "one"
        if "change" in modifiers and count > int(modifiers["change"]):
            data, version = data[:4096] + data[4096:].translate(_SHIFTED), "two"
        start, end = self.wanted(len(data), f'"{version}"', modifiers)
        if start >= len(data):
            self.send(b"", "text/plain", 416)
            return
        is_part = (start, end) != (0, len(data) - 1) or ("Range" in self.headers and "noranges" not in modifiers)
        self.send_response(206 if is_part and start is not None else 200)
        self.send_header("Content-Type", _TYPES.get(file.suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(end - start + 1))
        if "novalidator" not in modifiers:
            self.send_header("ETag", f'"{version}"')
        if is_part:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.end_headers()
        if self.command != "HEAD":
            self.pour(memoryview(data)[start : end + 1], modifiers)

    def wanted(self, size: int, etag: str, modifiers: Mapping[str, str]) -> tuple[int, int]:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if asked is None or "noranges" in modifiers or (condition is not None and condition != etag):
            if "Range" in self.headers:
                del self.headers["Range"]
            return 0, size - 1
        return int(asked[1]), min(int(asked[2] or size), size - 1)

    def pour(self, data: memoryview, modifiers: Mapping[str, str]) -> None:
        rate, stall, cut = (int(modifiers.get(name, -1)) for name in ("rate", "stall", "cut"))
        stops = [each for each in (stall, cut) if each >= 0]
        step = max(1024, rate // 50) if rate > 0 else 1 << 20
        began, sent = time.monotonic(), 0
        while sent < len(data):
            if sent in stops:
                if sent == stall:
                    self.be_silent()
                self.close_connection = True
                return
            end = min([sent + step, len(data), *(stop for stop in stops if stop > sent)])
            self.wfile.write(data[sent:end])
            sent = end
            if rate > 0:
                # Waiting is what a slow line does; nothing is expected of how long it takes.
                time.sleep(max(0.0, sent / rate - (time.monotonic() - began)))

    def be_silent(self) -> None:
        """Say nothing until the other side goes away."""
        self.close_connection = True
        while self.connection.recv(4096):
            pass

    def send(self, body: bytes, kind: str, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


# Another file of the same length.
_SHIFTED: Final = bytes((each + 1) % 256 for each in range(256))


def _page(title: str, body: str) -> tuple[str, str]:
    return f"<html><head><title>{title}</title></head><body>{body}</body></html>", "text/html; charset=utf-8"


def _video(number: int) -> str:
    return f'<video><source src="{{host}}/direct.mp4?n={number}" type="video/mp4"></video>'


def _feed() -> tuple[str, str]:
    items = "".join(
        f"<item><title>{title}</title><link>{{host}}/direct.mp4?item={number}</link><guid>{number}</guid>"
        f'<enclosure url="{{host}}/direct.mp4?item={number}" type="video/mp4" length="1"/></item>'
        for number, title in enumerate(_EVIL_TITLES)
    )
    return (
        f'<?xml version="1.0"?><rss version="2.0"><channel><title>F ../..</title>{items}</channel></rss>',
        "application/rss+xml",
    )


def _m3u8(*lines: str) -> tuple[str, str]:
    return "\n".join(["#EXTM3U", *lines, ""]), _TYPES[".m3u8"]


_PAGES: Final = {
    "/page.html": _page(
        "../../evil page",
        "".join(f'<video><source src="{{host}}/direct.mp4?n={n}" type="video/mp4"></video>' for n in range(3)),
    ),
    "/one.html": _page("One \u202e video/..", '<video><source src="{host}/direct.mp4" type="video/mp4"></video>'),
    "/novideo.html": _page("nothing", "nothing"),
    "/bigpage.html": _page(
        "big", '<p class="q">lorem <a href="x">ipsum</a> <script>var a={b:1};</script></p>\n' * 40_000
    ),
    "/feed.rss": _feed(),
    "/text.txt": ("hello " * 50, "text/plain"),
    "/sub.vtt": (_VTT, "text/vtt"),
    "/drm.m3u8": _m3u8(
        "#EXT-X-VERSION:5",
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"',
        "#EXTINF:2,",
        "index0.ts",
        "#EXT-X-ENDLIST",
    ),
    "/file.m3u8": _m3u8(
        "#EXT-X-VERSION:3",
        "#EXT-X-TARGETDURATION:2",
        "#EXTINF:2,",
        "file:///etc/passwd",
        "#EXTINF:2,",
        "file:///etc/hosts",
        "#EXT-X-ENDLIST",
    ),
    "/live.m3u8": _m3u8(
        "#EXT-X-VERSION:3",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-MEDIA-SEQUENCE:5",
        "#EXTINF:2,",
        "{host}/hls/index0.ts",
        "#EXTINF:2,",
        "{host}/hls/index1.ts",
    ),
    "/list.m3u8": _m3u8(
        "#EXT-X-VERSION:3",
        "#EXT-X-TARGETDURATION:2",
        *(line for number in range(10) for line in ("#EXTINF:2,", f"{{host}}/hls/index{number}.ts")),
        "#EXT-X-ENDLIST",
    ),
    "/elsewhere.m3u8": _m3u8(
        "#EXT-X-VERSION:3",
        "#EXT-X-TARGETDURATION:2",
        "#EXTINF:2,",
        "{host}/hls/index0.ts",
        "#EXTINF:2,",
        "http://127.0.0.2:9/hls/index1.ts",
        "#EXT-X-ENDLIST",
    ),
    "/av.m3u8": _m3u8(
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",DEFAULT=YES,URI="{host}/hlsav/a.m3u8"',
        '#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=320x180,CODECS="avc1.42c01e,mp4a.40.2",AUDIO="a"',
        "{host}/hlsav/v.m3u8",
    ),
    "/sub.m3u8": _m3u8(
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="English",LANGUAGE="en",URI="{host}/subs.m3u8"',
        '#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="avc1.42c01e,mp4a.40.2",SUBTITLES="s"',
        "{host}/hls/index.m3u8",
    ),
    "/subs.m3u8": _m3u8(
        "#EXT-X-TARGETDURATION:20",
        "#EXTINF:20,",
        "{host}/sub.vtt",
        "#EXT-X-ENDLIST",
    ),
}


def main() -> None:
    site = Site(Path(sys.argv[1]))
    print(site.server_port, flush=True)  # noqa: T201  (who started it reads that)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
