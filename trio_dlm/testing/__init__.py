"""A harness for managers and downloaders: random programs, random faults, and what must hold under all of them.

It finds bugs of order, limits and cancelling in a manager (:func:`check_manager`, :class:`DownloadManagerMachine`), and
wrong bytes, hangs and leaks in a downloader, of whatever kind (:func:`check_downloader`,
:func:`check_download_command`, :func:`torture`).  Its parts can be used alone: a server that misbehaves, a downloader
that does what it is told, a world in which time is virtual and the network is in memory.

Rules that hold here:

- everything public is imported from here, or from :mod:`.origin` and :mod:`.world`;
- what needs Hypothesis is imported when it is first asked for: the other parts work without the extra ``testing``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import LawBrokenError, LivelockError, PromiseBrokenError
from ._scripted import Gate, Left, PlannedError, Reaction, ScriptedDownloader
from .checks._attempt import Scenario, Stage
from .checks._exchanges import Exchange
from .checks._promises import Outcome, Promise
from .checks._report import BrokenDownloadError, CheckReport
from .checks._torture import TortureReport, torture
from .machine._driven import ADAPTABLE_FEATURES, ALL_FEATURES, DrivenManager, Feature, ManagerOptions, UnfitManagerError
from .machine._model import Model
from .machine._recorder import Saw
from .machine._replay import check_events, parse_log
from .origin._memory import open_memory_origin
from .origin._plan import FaultPlan
from .origin._server import Origin
from .origin._sockets import open_origin
from .world import run_in_virtual_world, use_virtual_time

if TYPE_CHECKING:
    from ._drawn import (
        PROGRAM_FEATURES,
        Bundle,
        DownloadManagerMachine,
        ManagerReport,
        Program,
        ProgramFeature,
        TrioStateMachine,
        check_download_command,
        check_download_function,
        check_downloader,
        check_manager,
        consumes,
        fault_plans,
        faults,
        initialize,
        interpret,
        invariant,
        multiple,
        precondition,
        programs,
        register_profiles,
        rule,
    )

__all__ = [
    "ADAPTABLE_FEATURES",
    "ALL_FEATURES",
    "PROGRAM_FEATURES",
    "BrokenDownloadError",
    "Bundle",
    "CheckReport",
    "DownloadManagerMachine",
    "DrivenManager",
    "Exchange",
    "FaultPlan",
    "Feature",
    "Gate",
    "LawBrokenError",
    "Left",
    "LivelockError",
    "ManagerOptions",
    "ManagerReport",
    "Model",
    "Origin",
    "Outcome",
    "PlannedError",
    "Program",
    "ProgramFeature",
    "Promise",
    "PromiseBrokenError",
    "Reaction",
    "Saw",
    "Scenario",
    "ScriptedDownloader",
    "Stage",
    "TortureReport",
    "TrioStateMachine",
    "UnfitManagerError",
    "check_download_command",
    "check_download_function",
    "check_downloader",
    "check_events",
    "check_manager",
    "consumes",
    "fault_plans",
    "faults",
    "initialize",
    "interpret",
    "invariant",
    "multiple",
    "open_memory_origin",
    "open_origin",
    "parse_log",
    "precondition",
    "programs",
    "register_profiles",
    "rule",
    "run_in_virtual_world",
    "torture",
    "use_virtual_time",
]


if not TYPE_CHECKING:  # A type checker would take it to mean that every name exists.

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from . import _drawn
        except ModuleNotFoundError as exc:
            if exc.name != "hypothesis":
                raise
            raise ImportError(
                f"{__name__}.{name} needs Hypothesis, which is not installed: pip install 'trio-dlm[testing]'"
            ) from exc
        return getattr(_drawn, name)
