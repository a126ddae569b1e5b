"""Clock and randomness for third-party code that takes both from Python itself.

The kademlia package stamps buckets and values with `time.monotonic()`, draws ids from `random` and, in rpcudp,
message ids from `os.urandom`. On the virtual loop that code runs unchanged, but its hourly refresh would wait for
a real hour and no two runs would agree. `domesticated` lends named modules stand-ins for the length of a block.
Nothing of ours needs this: our code is handed time and randomness.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from types import ModuleType
from typing import Any

from simulations.errors import BadScenario
from simulations.events import EventQueue

KADEMLIA_MODULES = ("kademlia.network", "kademlia.protocol", "kademlia.routing", "kademlia.storage", "rpcudp.protocol")
"""Where kademlia 2.2.3 and rpcudp 5.0 read clock or randomness."""


class _Time:
    """Stand-in for the `time` module: virtual clocks, everything else the real one's."""

    def __init__(self, real: ModuleType, queue: EventQueue) -> None:
        self._real = real
        self._queue = queue

    def time(self) -> float:
        return self._queue.now

    def monotonic(self) -> float:
        return self._queue.now

    perf_counter = monotonic

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Os:
    """Stand-in for the `os` module: seeded `urandom`, everything else the real one's."""

    def __init__(self, real: ModuleType, rng: Random) -> None:
        self._real = real
        self._rng = rng

    def urandom(self, size: int) -> bytes:
        return self._rng.randbytes(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextmanager
def domesticated(queue: EventQueue, rng: Random, modules: tuple[str, ...] = KADEMLIA_MODULES) -> Iterator[None]:
    """Let the modules see virtual time and seeded randomness under their names `time`, `random` and `os`."""
    with ExitStack() as restored:
        for name in modules:
            module = importlib.import_module(name)
            found = False
            for attribute in ("time", "random", "os"):
                real = getattr(module, attribute, None)
                if not isinstance(real, ModuleType):
                    continue
                found = True
                stand_in: Any = rng
                if attribute == "time":
                    stand_in = _Time(real, queue)
                elif attribute == "os":
                    stand_in = _Os(real, rng)
                restored.callback(setattr, module, attribute, real)
                setattr(module, attribute, stand_in)
            if not found:
                raise BadScenario(f"module {name} holds neither time nor random nor os: nothing in it to replace")
        yield
