"""What the operating system says about this process: memory and processor time."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

SHORTEST = 1.0
"""Seconds over which processor time is measured at least."""


def resident_bytes() -> int:
    """Return the resident bytes of this process; its peak on systems without ``/proc``."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


class ProcessorTime:
    """The part of a processor core that this process uses, all its threads together."""

    def __init__(self) -> None:
        self._at, self._used = time.monotonic(), time.process_time()
        self._share = 0.0

    def share(self) -> float:
        """Return the part of a core used since an earlier call; 1 is a whole core."""
        now, used = time.monotonic(), time.process_time()
        if now - self._at >= SHORTEST:
            self._share = (used - self._used) / (now - self._at)
            self._at, self._used = now, used
        return self._share
