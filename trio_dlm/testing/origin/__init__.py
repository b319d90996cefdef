"""A server that misbehaves as it is told, in memory or on a socket.

A plan is Python that one can paste: ``from trio_dlm.testing.origin import *`` has every name that one prints.
"""

from __future__ import annotations

from . import faults
from ._acts import Act, Close, Hold, Reset, Send, Wait
from ._connection import Connection
from ._fault import Fault
from ._memory import open_memory_origin
from ._plan import FaultPlan
from ._raw import head, reply
from ._reply import Reply, honest_reply
from ._request import Request
from ._resource import DEFAULT_BODY, Resource, Validators
from ._server import Origin, Plan, Script
from ._sockets import open_origin
from .faults import *  # noqa: F403  (the table of their names is there)

__all__ = [
    "DEFAULT_BODY",
    "Act",
    "Close",
    "Connection",
    "Fault",
    "FaultPlan",
    "Hold",
    "Origin",
    "Plan",
    "Reply",
    "Request",
    "Reset",
    "Resource",
    "Script",
    "Send",
    "Validators",
    "Wait",
    "head",
    "honest_reply",
    "open_memory_origin",
    "open_origin",
    "reply",
]

__all__ += faults.__all__
