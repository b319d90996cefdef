"""What one process takes: processor time, the wall clock, and memory at its highest."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ._measuring import LIMIT_S, ROOT, Sample

__all__ = ["spend"]

# Of ru_maxrss: kibibytes, but on macOS.
_RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024


def spend(command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None) -> tuple[Sample, str]:
    """Run *command* to its end, and return ``cpu_s``, ``wall_s``, ``rss_mib`` and what it printed.

    Raises:
        RuntimeError: it failed, or hangs.
    """
    begun = time.perf_counter()
    # Without the `with`, which would wait for it a second time.
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    guard = threading.Timer(LIMIT_S, process.kill)
    guard.start()
    try:
        with process.stdout:
            printed = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        guard.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with status {process.returncode}")
    figures = {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - begun,
        "rss_mib": usage.ru_maxrss * _RSS_UNIT / 1024 / 1024,
    }
    return figures, printed
