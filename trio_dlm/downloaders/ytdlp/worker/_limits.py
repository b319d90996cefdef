"""What the system allows this process, and those that it starts."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Mapping
from typing import Final

__all__ = ["set_limits"]

_RESOURCES: Final = {
    "file_bytes": resource.RLIMIT_FSIZE,
    "memory_bytes": resource.RLIMIT_AS,
    "cpu_s": resource.RLIMIT_CPU,
}


def set_limits(limits: Mapping[str, int | None]) -> None:
    """Lower the limits that are given; no core is ever left, which would be as large as the process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, kind in _RESOURCES.items():
        limit = limits.get(name)
        if limit is not None:
            _, most = resource.getrlimit(kind)
            allowed = limit if most == resource.RLIM_INFINITY else min(limit, most)
            # The system may know smaller numbers only.
            with contextlib.suppress(OverflowError, ValueError):
                resource.setrlimit(kind, (allowed, allowed))
