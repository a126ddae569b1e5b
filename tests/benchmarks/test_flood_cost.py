"""What one datagram of a flood costs a node, by kind: 20,000 of them at 10,000 a second of virtual time, no sockets.

The mean counts those that are answered within the rates with those that are dropped, as a flooded node has both.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from dht.config import DhtConfig
from dht.contact import Address
from dht.engine import DhtEngine
from dht.events import Mode
from dht.identity import NodeKey
from tests.benchmarks.flood_process import MADE, made

PER_SECOND = 10_000.0
DRAIN = 20
"""Datagrams that arrive together and are answered together."""

SOURCES: dict[str, Callable[[random.Random, int], Address]] = {
    "one address": lambda rng, number: ("20.1.2.3", 4000),
    "512 addresses": lambda rng, number: (f"20.1.{number % 512 // 250}.{number % 250}", 4000),
    "one IPv6 /64": lambda rng, number: (f"2a00:1:2:3::{rng.getrandbits(16):x}:{number:x}", 4000),
    "any IPv6 /64": lambda rng, number: (f"2a00:{rng.getrandbits(16):x}:{number:x}:3::1", 4000),
}


@pytest.mark.parametrize(
    "kind, source",
    [
        *((kind, "one address") for kind in ("garbage", "forged", "ping", "fresh-keys")),
        *(("fresh-keys", source) for source in list(SOURCES)[1:]),
    ],
)
def test_flood_cost(benchmark: Any, kind: str, source: str) -> None:
    """Time a round of the flood; microseconds a datagram are in the extra columns."""
    rng = random.Random(1)
    engine = DhtEngine(DhtConfig(), NodeKey.from_secret(bytes(31) + b"\7"), rng, 1e9)
    engine.set_mode(Mode.SERVER, 1e9)
    datagrams = made(kind, engine.own_key, rng)
    sources = [SOURCES[source](rng, number) for number in range(MADE)]
    now = 1e9

    def flood() -> None:
        nonlocal now
        for number in range(MADE):
            now += 1 / PER_SECOND
            engine.receive_datagram(datagrams[number % len(datagrams)], sources[number], now)
            if number % DRAIN == 0:
                engine.datagrams_to_send(now)

    benchmark.pedantic(flood, rounds=3, warmup_rounds=1)
    benchmark.extra_info["us_per_datagram"] = round(benchmark.stats["min"] / MADE * 1e6, 2)
    assert sum(engine.counters.values()) > MADE
