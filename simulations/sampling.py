"""The series every run has, and the rows of nodes at its end.

Decides which quantities are sampled and how often. Draws nothing at random and sends nothing, so that a run with
and one without it are the same run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from dht.engine import DhtEngine
from dht.events import Mode
from simulations.ground import Ground
from simulations.latency import Latency
from simulations.latency_models import place_of


class Sampler:
    """Takes the standard series every `WorldSettings.sample_every` virtual seconds."""

    def __init__(self, world: Ground, every: float) -> None:
        self._world = world
        self._every = every
        self._before = (0, 0)
        world.queue.after(0.0, self._take)

    def _take(self) -> None:
        world = self._world
        metrics = world.metrics
        hosts = world.network.hosts.values()
        datagrams = sum(host.sent for host in hosts)
        sent = sum(host.bytes_sent for host in hosts)
        metrics.sample("alive", len(world.living))
        metrics.sample("servers", sum(_role(peer.engine) == Mode.SERVER.value for peer in world.living))
        metrics.sample("datagrams/s", (datagrams - self._before[0]) / self._every)
        if world.living:
            metrics.sample("bytes/s per node", (sent - self._before[1]) / self._every / len(world.living))
        self._before = (datagrams, sent)
        world.queue.after(self._every, self._take)


def node_rows(world: Ground, latency: Latency) -> Iterator[tuple[Any, ...]]:
    """A row of the table of nodes for each peer."""
    for peer in world.peers:
        x, y = place_of(latency, peer.public_ip) or (math.nan, math.nan)
        host = world.network.host(peer.address[0])
        engine = peer.engine if peer.alive else None
        real = engine if isinstance(engine, DhtEngine) else None
        yield (
            peer.index,
            peer.profile.name,
            peer.nat,
            x,
            y,
            peer.alive,
            _role(engine) if engine is not None else "",
            len(real.contacts()) if real else 0,
            real.held_records() if real else 0,
            host.sent,
            host.received,
            host.bytes_sent,
            host.bytes_received,
        )


def _role(engine: Any) -> str:
    mode = getattr(engine, "mode", None)
    return mode.value if isinstance(mode, Mode) else type(engine).__name__
