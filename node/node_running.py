"""Running a node's main function: on uvloop where it is installed, on a loop that can watch sockets everywhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` as `asyncio.run` does, on the fastest loop there is."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None for asyncio's own default."""
    if sys.platform == "win32":
        # The default there cannot watch a socket that is read by hand.
        return asyncio.SelectorEventLoop
    try:
        import uvloop
    except ImportError:  # An extra: not everybody has it.
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
