"""A swarm in a process of its own, so that its memory is its own too, steered over a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from tests.benchmarks.swarm import Load, Ours, Package, Swarm, measure, memory_kib

SYSTEMS: dict[str, type[Swarm]] = {"rookery": Ours, "kademlia": Package}


class SwarmProcess:
    """`with SwarmProcess("rookery", 100) as swarm: swarm.start(); swarm.put(...)`."""

    def __init__(self, system: str, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, system, size), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> SwarmProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(("stop", ()))
        self._process.join(10)
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def start(self) -> tuple[Load, float]:
        """Start and join all nodes; return what joining took, and KiB of memory a node."""
        load, kib = self._call("start")
        return load, kib

    def put(self, first: int, count: int, in_flight: int) -> Load:
        """Store values `first` to `first + count`."""
        return self._load("put", first, count, in_flight)

    def get(self, values: int, count: int, in_flight: int) -> Load:
        """Read `count` times, from the first `values` values in turn."""
        return self._load("get", values, count, in_flight)

    def kill(self, share: float) -> None:
        """Close the sockets of a share of the living, silently."""
        self._call("kill", share)

    def _load(self, name: str, *arguments: int) -> Load:
        load = self._call(name, *arguments)
        assert isinstance(load, Load)
        return load

    def _call(self, name: str, *arguments: float) -> Any:
        self._pipe.send((name, arguments))
        return self._pipe.recv()


def _serve(pipe: Connection, system: str, size: int) -> None:
    logging.getLogger("kademlia").setLevel(logging.CRITICAL)
    loop = new_loop()
    asyncio.set_event_loop(loop)
    gc.collect()
    before = memory_kib()
    swarm = SYSTEMS[system](size)

    async def start() -> tuple[Load, float]:
        load = await swarm.start()
        await asyncio.sleep(1)  # what joining set off in the background
        gc.collect()
        return load, (memory_kib() - before) / size

    async def put(first: int, count: int, in_flight: int) -> Load:
        return await measure(lambda index: swarm.put(first + index), count, in_flight)

    async def get(values: int, count: int, in_flight: int) -> Load:
        return await measure(lambda index: swarm.get(index % values), count, in_flight)

    async def kill(share: float) -> None:
        swarm.kill(share)

    async def stop() -> None:
        await swarm.stop()

    commands: dict[str, Callable[..., Any]] = {"start": start, "put": put, "get": get, "kill": kill, "stop": stop}
    while True:
        name, arguments = pipe.recv()
        result = loop.run_until_complete(commands[name](*arguments))
        if name == "stop":
            return
        pipe.send(result)


def new_loop() -> asyncio.AbstractEventLoop:
    """The loop a node runs on: uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
