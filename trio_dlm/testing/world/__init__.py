"""The world that async code is tested in: time that jumps, a network in memory, threads in line, files that fail."""

from __future__ import annotations

from ._clock import use_virtual_time
from ._files import FileOperation, WatchedFiles, failing_files
from ._network import MemoryNetwork, current_network, memory_network
from ._run import run_in_virtual_world
from ._threads import threads_in_line

__all__ = [
    "FileOperation",
    "MemoryNetwork",
    "WatchedFiles",
    "current_network",
    "failing_files",
    "memory_network",
    "run_in_virtual_world",
    "threads_in_line",
    "use_virtual_time",
]
