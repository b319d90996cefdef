"""anyio's own pytest plugin, whose async fixture holds a manager, in a run of its own without pytest-trio."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import trio_dlm
from tests.embedding.process import PATIENCE_S, PROGRAMS

SETTINGS: Final = """
[pytest]
python_files = with_*.py
filterwarnings = error
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop for Windows")
def test_a_manager_can_be_held_by_an_async_fixture_of_the_plugin_of_anyio(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(SETTINGS, "utf-8")
    test = tmp_path / "with_anyio_plugin.py"
    test.write_bytes((PROGRAMS / test.name).read_bytes())
    places = [Path(trio_dlm.__file__).parents[1], Path(__file__).parents[2]]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "pytest", "-q", "-p", "no:trio", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Each of them on trio, asyncio and uvloop.
    assert "15 passed" in done.stdout
    assert "warning" not in done.stdout
    assert done.stderr == ""
