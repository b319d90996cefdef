"""A worker from its request to its last word, played by small programs: crashes, floods, silence, a toll."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from trio_dlm._errors import DownloadTimeoutError, StalledError
from trio_dlm._options import DownloadOptions
from trio_dlm.downloaders.ytdlp import MediaError, ProcessLeakError, YtDlpOptions, _group
from trio_dlm.downloaders.ytdlp._conversation import LastWord, Limits, Toll, open_conversation
from trio_dlm.downloaders.ytdlp._environment import Launch, find_yt_dlp, launch_of
from trio_dlm.downloaders.ytdlp._group import ProcessGroup
from trio_dlm.downloaders.ytdlp._setting import Setting
from trio_dlm.downloaders.ytdlp._wire import Failure, FileProgress, Found, Plan, Record, Request
from trio_dlm.downloaders.ytdlp._workers import Workers

# What every program begins with: `say(...)` writes a record, `heard()` reads a line.
SPEAKING: Final = """
import json, os, sys, time
def say(t, **fields): print(json.dumps({"t": t, **fields}), flush=True)
def heard(): return json.loads(sys.stdin.readline() or "null")
"""
PATIENT: Final = Limits(url="u", extract_s=60.0, stall_s=60.0)


def starting(program: str, directory: Path) -> Callable[[], Awaitable[ProcessGroup]]:
    return lambda: ProcessGroup.start([sys.executable, "-I", "-c", SPEAKING + program], {}, directory)


async def follow(
    program: str, directory: Path, limits: Limits = PATIENT, toll: Toll | None = None
) -> tuple[LastWord, list[Record], str]:
    told: list[Record] = []

    async def hear(record: Record) -> None:
        told.append(record)

    with trio.fail_after(30):
        async with open_conversation(starting(program, directory)) as talk:
            await talk.ask(Request(mode="extract", url="u"))
            word = await talk.follow(limits, hear, toll)
    return word, told, talk.log_tail


async def test_the_request_arrives_and_the_last_word_comes_back(tmp_path: Path) -> None:
    program = "asked = heard(); say('ready'); say('log', message='x'); say('result', info={'id': asked['mode']})"
    word, told, _ = await follow(program, tmp_path)
    assert isinstance(word, Found)
    assert word.info.id == "extract"
    assert [type(each).__name__ for each in told] == ["Ready"]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("sys.stderr.write('Segmentation'); sys.stderr.flush(); os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("os._exit(3)", "ended with code 3"),
        ("", "ended with code 0"),
    ],
)
async def test_an_end_without_a_last_word_is_a_crash(tmp_path: Path, program: str, words: str) -> None:
    word, _, tail = await follow(f"heard(); {program}", tmp_path)
    assert isinstance(word, Failure)
    assert word.kind == "worker_crashed"
    assert words in word.message
    assert tail == ("Segmentation" if "stderr" in program else "")


async def test_a_flood_of_errors_holds_up_nobody_and_its_end_is_kept(tmp_path: Path) -> None:
    program = "heard(); sys.stderr.write('x' * 3_000_000 + 'the end'); sys.stderr.flush(); say('error', kind='drm')"
    word, _, tail = await follow(program, tmp_path)
    assert word == Failure(kind="drm", message="")
    assert tail.endswith("xthe end")
    assert len(tail) == 8192


async def test_garbage_and_lines_without_end_are_a_failure(tmp_path: Path) -> None:
    for program in ("print('hello', flush=True)", "[sys.stdout.write('x' * 1_000_000) for _ in range(20)]"):
        word, _, _ = await follow(f"heard(); {program}; time.sleep(600)", tmp_path)
        assert isinstance(word, Failure)
        assert word.kind == "protocol"


async def test_what_is_not_known_is_passed_over(tmp_path: Path) -> None:
    word, told, _ = await follow("heard(); say('news'); say('result', info={})", tmp_path)
    assert isinstance(word, Found)
    assert told == []


async def test_no_plan_in_time(tmp_path: Path) -> None:
    with pytest.raises(DownloadTimeoutError, match="plan of what to download"):
        await follow("heard(); time.sleep(600)", tmp_path, Limits(url="u", extract_s=0.2))


PLAN: Final = "heard(); say('plan', formats=[]);"


async def test_no_growth_in_time(tmp_path: Path) -> None:
    program = f"{PLAN} [say('progress', file='a', downloaded_bytes=1) for _ in range(9)]; time.sleep(600)"
    with pytest.raises(StalledError):
        await follow(program, tmp_path, Limits(url="u", extract_s=60.0, stall_s=0.3))


async def test_files_that_grow_are_growth_too(tmp_path: Path) -> None:
    sizes = iter([100, 200, 200])
    looked: list[int] = []

    async def size_bytes() -> int:
        looked.append(next(sizes))
        return looked[-1]

    limits = Limits(url="u", extract_s=60.0, stall_s=0.1, size_bytes=size_bytes)
    with pytest.raises(StalledError):
        await follow(f"{PLAN} time.sleep(600)", tmp_path, limits)
    assert looked == [100, 200, 200]


async def test_work_on_whole_files_has_no_limit(tmp_path: Path) -> None:
    program = f"{PLAN} say('pp', name='Merger', status='started'); time.sleep(0.5); say('result', info={{}})"
    word, told, _ = await follow(program, tmp_path, Limits(url="u", extract_s=60.0, stall_s=0.1))
    assert isinstance(word, Found)
    assert isinstance(told[0], Plan)


async def test_a_toll_is_paid_before_the_worker_goes_on_and_takes_no_patience(tmp_path: Path) -> None:
    paid: list[int] = []

    async def pay(size_bytes: int) -> None:
        # Longer than nothing may arrive.
        await trio.sleep(0.4)
        paid.append(size_bytes)

    program = (
        PLAN
        + """
say('progress', file='a', status='downloading', downloaded_bytes=1)
assert heard() == {'toll': True}
for n in (5, 7):
    say('progress', file='a', status='downloading', downloaded_bytes=n, new_bytes=n)
    assert heard() == {'go': True}
say('result', info={})
"""
    )
    toll = Toll(lambda: True, pay)
    word, told, _ = await follow(program, tmp_path, Limits(url="u", extract_s=60.0, stall_s=0.3), toll)
    assert isinstance(word, Found)
    assert paid == [5, 7]
    assert sum(isinstance(each, FileProgress) for each in told) == 3


async def test_a_listener_that_raises_ends_the_worker(tmp_path: Path) -> None:
    async def hear(record: Record) -> None:
        raise ZeroDivisionError from KeyError()

    with pytest.raises(ZeroDivisionError) as raised:
        async with open_conversation(starting(f"{PLAN} time.sleep(600)", tmp_path)) as talk:
            await talk.ask(Request(mode="extract", url="u"))
            await talk.follow(PATIENT, hear)
    assert isinstance(raised.value.__cause__, KeyError)


async def test_a_cancel_does_not_wait_for_more_of_the_standard_error(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_conversation(starting("say('ready'); time.sleep(600)", tmp_path)) as talk:
            await talk.next_record()
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert talk.is_silent


# How a worker is started.


def test_its_environment_has_what_is_listed_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    launch = launch_of("python", None, tmp_path, plugins=False)
    assert "secret" not in str(launch.environment)
    assert launch.environment["https_proxy"] == "http://127.0.0.1:3128"
    assert launch.environment["HOME"] == str(tmp_path)
    assert launch.environment["YTDLP_NO_PLUGINS"] == "1"
    assert "YTDLP_NO_PLUGINS" not in launch_of("python", tmp_path, tmp_path, plugins=True).environment
    assert launch.command[0] == "python"
    assert launch.warm() == (*launch.command, "--warm")


def test_where_yt_dlp_is_and_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_yt_dlp()
    assert found is None or (found / "yt_dlp").is_dir()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_yt_dlp() is None

    def refuse(name: str) -> None:
        raise ValueError(name)

    monkeypatch.setattr("importlib.util.find_spec", refuse)
    assert find_yt_dlp() is None


def launching(program: str) -> Callable[[Path], Launch]:
    return lambda home: Launch((sys.executable, "-I", "-c", SPEAKING + program), {}, home)


async def test_workers_that_are_ready_are_taken_first_and_ended_with_the_rest(tmp_path: Path) -> None:
    homes: list[Path] = []

    def make_launch(home: Path) -> Launch:
        homes.append(home)
        return launching("say('ready', version=sys.argv[-1]); heard()")(home)

    workers = Workers(make_launch, warm=2)
    await workers.open()
    (home,) = homes
    assert home.is_dir()
    async with open_conversation(workers.take) as talk:
        record = await talk.next_record()
    assert json.dumps(str(record)).count("--warm") == 1
    await workers.aclose()
    assert not workers.is_open
    assert not home.exists()


async def test_what_cannot_be_kept_ready_is_said_at_once(tmp_path: Path) -> None:
    workers = Workers(lambda home: Launch((str(tmp_path / "nothing"),), {}, home), warm=1)
    with pytest.raises(OSError, match="could not be started"):
        await workers.open()
    assert not workers.is_open


def setting_of(program: str) -> Setting:
    workers = Workers(launching(program), warm=0)
    fields: dict[str, Any] = {"options": YtDlpOptions(), "workers": workers, "ffmpeg": None, "deny_private": False}
    return Setting(**fields, extract_timeout_s=60.0, stall_timeout_s=60.0)


async def _hear(record: Record) -> None:
    pass


async def test_a_failure_is_raised_with_what_the_worker_printed() -> None:
    setting = setting_of(
        "heard(); sys.stderr.write('details'); sys.stderr.flush(); say('error', kind='drm', message='no')"
    )
    await setting.workers.open()
    with pytest.raises(MediaError, match="protected by DRM") as raised:
        await setting.ask(Request(mode="extract"), "http://user:secret@example.org/", hear=_hear)
    assert raised.value.log_tail == "details"
    assert "secret" not in str(raised.value)
    await setting.workers.aclose()


async def test_what_may_still_write_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = setting_of("heard(); say('result', info={})")
    await setting.workers.open()
    monkeypatch.setattr(_group, "KILL_LIMIT_S", 0.05)
    monkeypatch.setattr(_group, "is_running", lambda group: True)
    monkeypatch.setattr("os.killpg", lambda group, number: None)
    with pytest.raises(ProcessLeakError):
        await setting.ask(Request(mode="extract"), "u", hear=_hear)
    monkeypatch.undo()
    await setting.workers.aclose()


def test_a_guard_knows_the_proxy_that_was_named() -> None:
    private = DownloadOptions(allow_private_addresses=False)
    for proxy, allowed in (
        (None, ()),
        ("", ()),
        ("http://127.0.0.1:3128", (("127.0.0.1", 3128),)),
        ("socks5://proxy.internal", (("proxy.internal", 1080),)),
        ("what://proxy.internal", ()),
    ):
        fields: dict[str, Any] = {"workers": Workers(launching(""), warm=0), "ffmpeg": None, "deny_private": False}
        setting = Setting(**fields, options=YtDlpOptions(proxy=proxy), extract_timeout_s=1.0, stall_timeout_s=1.0)
        assert setting.guard(DownloadOptions()) is None
        guard = setting.guard(private)
        assert guard is not None
        assert guard.allowed == allowed
        assert "127.0.0.0/8" in guard.denied
