"""``python -m trio_dlm.testing`` says what was tried or what was found, and never shows a traceback."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trio_dlm.testing
from trio_dlm.testing.__main__ import main

SCRIPT = """
import sys, urllib.request
path, url = sys.argv[1:]
with urllib.request.urlopen(url) as reply, open(path, "wb") as file:
    file.write(reply.read1(1000))
"""


@pytest.fixture(autouse=True)
def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")


def script(path: Path, code: str) -> list[str]:
    path.write_text(code, "utf-8")
    return [sys.executable, str(path)]


def test_what_comes_along_is_checked_and_told_in_a_few_narrow_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--examples", "3"]) == 0
    said = capsys.readouterr().out.splitlines()
    checks = [line.partition(":")[0] for line in said if not line.startswith(" ")]
    assert checks == [
        "the manager, by random programs",
        "the HTTP downloader, by random faults",
        "both, by cancels and failing files",
    ]
    assert all(len(line) <= 60 for line in said)
    words = " ".join(" ".join(said).split())
    for told in ("schedules", "steps: ", "met: Serve", "each of", "checkpoints", "file operations"):
        assert told in words


def test_a_command_that_is_wrong_is_status_1_and_the_smallest_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-n", "1", "--", *script(tmp_path / "fetch.py", SCRIPT), "{path}", "{url}"]) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"{sys.executable}: BROKEN, ")
    assert "EXACT is broken" in said
    assert "FaultPlan()" in said


def test_partial_files_may_be_allowed_and_path_is_directory_and_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = SCRIPT.replace("path, url = sys.argv[1:]", "path, url = '/'.join(sys.argv[1:3]), sys.argv[3]")
    code = code.replace("reply.read1(1000)", "reply.read()").replace(
        "    file.write", "    file.write(b'x'); file.seek(0); file.write"
    )
    command = [*script(tmp_path / "fetch.py", code), "{directory}", "{name}", "{url}"]
    assert main(["-n", "1", "--runs", "1", "--", *command]) == 1
    assert "ABSENT is broken" in capsys.readouterr().out
    main(["-n", "1", "--runs", "1", "--partial-files", "--", *command])
    assert "ABSENT is broken" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--", "curl", "{path}"], "the command has no {url}"),
        (["--", "curl", "{url}"], "no {path}, nor {directory} and {name}"),
        (["--", "curl", "{url}", "{pth}"], "the command has {pth}; known are {directory}, {name}, {path}, {url}"),
        (["--partial-files"], "--partial-files is for a COMMAND"),
        (["--", "no-such-downloader", "{url}", "{path}"], "there is no command no-such-downloader"),
        (["--examples", "many"], "a whole number of at least 1, got many"),
        (["--examples", "0"], "at least 1, got 0"),
        (["--limit", "nan"], "a positive number"),
    ],
)
def test_a_call_that_makes_no_sense_is_status_2_and_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_the_parts_that_need_no_hypothesis_work_without_and_the_others_say_so() -> None:
    code = """
import sys
sys.modules["hypothesis"] = None
import trio_dlm.testing as t
print(t.ScriptedDownloader.__name__, t.torture.__name__, t.open_origin.__name__, t.check_events.__name__)
try:
    t.check_manager
except ImportError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "ScriptedDownloader torture open_origin check_events"
    expected = (
        "trio_dlm.testing.check_manager needs Hypothesis, which is not installed: pip install 'trio-dlm[testing]'"
    )
    assert second == expected


def test_every_public_name_is_there() -> None:
    for module in (trio_dlm.testing, trio_dlm.testing.origin, trio_dlm.testing.world):
        assert [name for name in module.__all__ if not hasattr(module, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(trio_dlm.testing, "nonsense")  # noqa: B009


def test_an_interpreter_runs_it_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trio_dlm.testing", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "60", "PATH": str(Path(shutil.which(sys.executable) or "").parent)},
    )
    assert done.stdout.startswith("usage: python -m trio_dlm.testing")


def test_without_hypothesis_it_says_what_to_install() -> None:
    code = (
        "import runpy, sys; sys.modules['hypothesis'] = None; runpy.run_module('trio_dlm.testing', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "the checks need Hypothesis, which is not installed: pip install 'trio-dlm[testing]'\n"


def test_ctrl_c_is_status_130_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trio_dlm.testing.__main__.check_manager", interrupt)
    assert main([]) == 130
