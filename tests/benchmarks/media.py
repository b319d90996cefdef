"""How fast a cancel of the media downloader is, and what its processes cost whoever runs them.

::

    nox -s bench -- media [--rounds N] [--write docs/benchmarks_media.inc]

Rules that hold here:

- a cancel is over when ``cancel()`` has returned and no process of the group runs, which is looked at besides;
- the site is a process of its own, with media that ffmpeg has made;
- targets are printed beside the figures and never asserted: a shared machine would make a test of them a lottery.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from tests.media import MediaSite, open_site
from trio_dlm import DownloadManager, DownloadPhase, DownloadTask, YtDlpDownloader, YtDlpOptions, open_manager
from trio_dlm.downloaders.ytdlp._group import is_running

from ._tables import make_table, publish, tell_machine

CANCEL_TARGET_MS: Final = 250.0
LOOP_TARGET_MS: Final = 10.0
WORKERS: Final = 5

# Works until it is ended, where the real one would be done in a moment.
_ENDLESS: Final = """#!/bin/sh
case "$*" in
*media*) exec {ffmpeg} -nostdin -v quiet -f lavfi -i testsrc=size=1280x720 -f null - ;;
*) exec {ffmpeg} "$@" ;;
esac
"""


@dataclass(frozen=True)
class Moment:
    """When a download is cancelled."""

    path: str
    modifiers: Mapping[str, object] = field(default_factory=dict[str, object])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    phases: frozenset[DownloadPhase] = frozenset({DownloadPhase.TRANSFERRING})
    least_bytes: int = 1


_FOUR: Final = {"concurrent_fragments": 4}

MOMENTS: Final = {
    "extraction, the site is silent": Moment(
        "direct.mp4", {"delay": True}, phases=frozenset({DownloadPhase.EXTRACTING}), least_bytes=0
    ),
    "one file, 300 kB/s": Moment("direct.mp4", {"rate": 300_000}),
    "one file, stalled": Moment("direct.mp4", {"stall": 300_000}),
    "four fragments at once": Moment("hls/index.m3u8", {"rate": 50_000}, _FOUR),
    "four fragments, stalled": Moment("hls/index.m3u8", {"stall": 100_000, "only": "index[3-9]"}, _FOUR),
    "waiting to retry": Moment(
        "503.mp4", options={"retries": 0}, phases=frozenset({DownloadPhase.RETRYING}), least_bytes=0
    ),
    "ffmpeg at work": Moment("direct.mp4", options={"audio_only": "mp3"}, phases=frozenset({DownloadPhase.PROCESSING})),
}


async def reached(task: DownloadTask[Any], moment: Moment, manager: DownloadManager) -> None:
    """Wait until a download is where it is to be cancelled."""
    async with manager.events(tasks=[task]) as events:
        async for snapshot in events:
            progress = snapshot.progress
            if progress.phase in moment.phases and progress.received_bytes >= moment.least_bytes:
                break
    if moment.least_bytes == 0 and DownloadPhase.EXTRACTING in moment.phases:
        # Until it has asked; importing yt-dlp takes most of the time.
        await trio.sleep(1.0)


async def time_cancel(site: MediaSite, moment: Moment, ffmpeg: Path, directory: Path) -> float:
    """Return how many milliseconds one cancel takes."""
    fields: dict[str, Any] = dict(moment.options)
    if DownloadPhase.PROCESSING in moment.phases:
        fields["ffmpeg"] = ffmpeg
    downloader = YtDlpDownloader(YtDlpOptions(**fields))
    async with open_manager(downloader=downloader, directory=directory, failures="keep") as manager:
        task = await manager.submit(site.url(moment.path, **moment.modifiers), resume=False, retries=100)
        await reached(task, moment, manager)
        groups = workers()
        began = time.perf_counter()
        await task.cancel()
        took = (time.perf_counter() - began) * 1000
        if left := [group for group in groups if is_running(group)]:
            raise RuntimeError(f"still running: {left}")
    return took


def workers() -> list[int]:
    """The workers of this process: their numbers, which are those of their groups as well."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX" and int(parent) == os.getpid() and b"import worker" in _command_of(folder):
                found.append(int(folder.name))
    return found


def _command_of(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def pss_mib(pid: int) -> float:
    """Return the memory that is a process's own, and its share of what it shares."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found is not None else 0.0


async def hold_loop(site: MediaSite, directory: Path) -> tuple[float, list[float]]:
    """Return how late, at worst, another task got its turn while five workers ran (ms), and their memory (MiB)."""
    late = 0.0
    memory: list[float] = []
    downloader = YtDlpDownloader(YtDlpOptions(retries=0, concurrent_fragments=4))
    urls = [site.url("bigpage.html", n=n) for n in range(2)]
    urls += [site.url("hls/index.m3u8", rate=200_000, n=n) for n in range(3)]
    async with trio.open_nursery() as nursery:

        async def tick() -> None:
            nonlocal late
            while True:
                before = time.perf_counter()
                await trio.sleep(0.001)
                late = max(late, (time.perf_counter() - before - 0.001) * 1000)

        nursery.start_soon(tick)
        async with open_manager(WORKERS, downloader=downloader, directory=directory, failures="keep") as manager:
            batch = await manager.submit_many(urls)
            with trio.move_on_after(4):
                await batch.wait()
            memory = await trio.to_thread.run_sync(lambda: [pss_mib(pid) for pid in workers()])
            await batch.cancel()
        nursery.cancel_scope.cancel()
    return late, memory


def main() -> None:
    """Run what the command line asks for, print it, and write it down."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- media", description="What a cancel of yt-dlp takes.")
    parser.add_argument("--rounds", type=int, default=10, help="cancels in every moment (default: 10)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables there, as reStructuredText")
    chosen = parser.parse_args()
    real = shutil.which("ffmpeg")
    if real is None:
        parser.error("there is no ffmpeg to make media with: install it")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        endless = place / "bin" / "ffmpeg"
        endless.parent.mkdir()
        endless.write_text(_ENDLESS.format(ffmpeg=real))
        endless.chmod(0o755)
        (endless.parent / "ffprobe").symlink_to(shutil.which("ffprobe") or real)
        with open_site(place / "media") as site:
            rows: list[list[str]] = []
            for title, moment in MOMENTS.items():
                print(title, file=sys.stderr)
                taken = sorted(
                    trio.run(time_cancel, site, moment, endless, place / f"d{number}")
                    for number in range(chosen.rounds)
                )
                rows.append([title, f"{taken[len(taken) // 2]:.0f}", f"{taken[-1]:.0f}", f"≤ {CANCEL_TARGET_MS:.0f}"])
            late, memory = trio.run(hold_loop, site, place / "held")
    held = (
        f"While {WORKERS} workers ran for four seconds, another task of the program got its turn {late:.1f} ms late at "
        f"worst (target: {LOOP_TARGET_MS:.0f} ms).  A worker took {min(memory):.0f} to {max(memory):.0f} MiB of memory."
    )
    report = "\n\n".join(
        [
            tell_machine("trio", "anyio", "yt-dlp"),
            f"From ``cancel()`` to its return, when nothing of the group runs, {chosen.rounds} times each:",
            make_table(["cancelled in", "median, ms", "worst, ms", "target"], rows),
            held,
        ]
    )
    publish(report, chosen.write)


if __name__ == "__main__":
    main()
