"""The public names of the harness that need Hypothesis.

Rules that hold here:

- whoever imports this module has Hypothesis, or gets its ``ImportError``; ``trio_dlm.testing`` imports it when one of
  these names is first asked for.
"""

from __future__ import annotations

from ._profiles import register_profiles
from .checks._command import check_download_command, check_download_function
from .checks._downloader import check_downloader
from .machine._check import ManagerReport, check_manager
from .machine._manager import DownloadManagerMachine
from .machine._programs import PROGRAM_FEATURES, Program, ProgramFeature, interpret, programs
from .machine._runner import Bundle, TrioStateMachine, consumes, initialize, invariant, multiple, precondition, rule
from .origin._strategies import fault_plans, faults

__all__ = [
    "PROGRAM_FEATURES",
    "Bundle",
    "DownloadManagerMachine",
    "ManagerReport",
    "Program",
    "ProgramFeature",
    "TrioStateMachine",
    "check_download_command",
    "check_download_function",
    "check_downloader",
    "check_manager",
    "consumes",
    "fault_plans",
    "faults",
    "initialize",
    "interpret",
    "invariant",
    "multiple",
    "precondition",
    "programs",
    "register_profiles",
    "rule",
]
