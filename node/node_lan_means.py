"""Where the local network meets the world: sockets for beacons, mDNS, and the list of this machine's networks.

Decides the real ones; tests hand in others. Refuses to know what is sent.
"""

from __future__ import annotations

import asyncio
import importlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from node.protocols.lan_segment import Segment


class Sockets(Protocol):
    """What carries beacons: `LanSockets`."""

    def attach(self, receive: Callable[[list[Any]], object]) -> None:
        """Call `receive(batch)` whenever datagrams have come in."""

    def set_segments(self, segments: Sequence[Segment]) -> None:
        """Hear what is said on these interfaces, and send there."""

    def send(self, data: bytes, index: int) -> None:
        """Send to everybody on one interface's network."""

    def close(self) -> None:
        """Free everything."""


class MdnsNode(Protocol):
    """What speaks mDNS for us: `Mdns`."""

    async def publish(self, properties: Mapping[str, bytes], port: int, segments: Sequence[Segment]) -> None:
        """Announce ourselves with this TXT record. Raises `OSError`."""

    async def close(self) -> None:
        """Say goodbye, and free everything."""


OpenMdns = Callable[
    [
        Sequence[Segment],
        random.Random,
        Callable[[str, Mapping[bytes, bytes | None]], object],
        Callable[[str], object],
    ],
    Awaitable[MdnsNode],
]


def open_sockets() -> Sockets:
    """Real ones. Raises `OSError`."""
    from node.adapters.lan_broadcast import LanSockets

    return LanSockets.open()


async def open_mdns(
    segments: Sequence[Segment],
    rng: random.Random,
    on_txt: Callable[[str, Mapping[bytes, bytes | None]], object],
    on_gone: Callable[[str], object],
) -> MdnsNode:
    """Real mDNS. Raises `OSError`."""
    # 75 ms, in which the loop must go on answering others.
    module = await asyncio.to_thread(importlib.import_module, "node.adapters.mdns")
    opened: MdnsNode = await module.Mdns.open(segments, rng, on_txt, on_gone)
    return opened


def list_segments(only: Sequence[str]) -> tuple[Segment, ...]:
    """This machine's networks."""
    from node.adapters.lan_interfaces import local_segments

    return local_segments(only)


@dataclass(frozen=True, slots=True)
class LanMeans:
    """Where the local network meets the world; tests hand in others."""

    segments: Callable[[Sequence[str]], tuple[Segment, ...]] = list_segments
    open_sockets: Callable[[], Sockets] = open_sockets
    open_mdns: OpenMdns = open_mdns
