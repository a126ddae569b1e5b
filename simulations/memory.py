"""How much memory this process holds, and held at most.

Decides where these figures come from on each system. Nothing in a run may depend on them.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc/self")


def resident_memory() -> int:
    """Bytes of this process that are in memory now; the peak where the system does not tell (macOS, Windows)."""
    return _status("VmRSS") or peak_memory()


def peak_memory() -> int:
    """The most bytes of this process that were in memory at once, since `reset_peak` where that works; 0: unknown."""
    peak = _status("VmHWM")
    if peak:
        return peak
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes, but for macOS, which counts bytes (getrusage(2) of either system).
    return most if sys.platform == "darwin" else most * 1024


def reset_peak() -> None:
    """Count the peak anew from here, where the system can: each seed that a worker plays has a peak of its own."""
    # "5" resets the peak resident set size (proc(5), /proc/pid/clear_refs).
    with suppress(OSError):
        (_PROC / "clear_refs").write_text("5")


def free_memory() -> int:
    """Bytes that new processes could take without others being swapped out; 0: unknown."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _status(field: str) -> int:
    with suppress(OSError, ValueError):
        for line in (_PROC / "status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0
