"""A machine of the laboratory that lies on its local network with all it can know: it is a member, and hears all.

Decides the lies. Refuses to know who believes them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dht.identity import IdentityKey, NodeKey, PublicKey
from node.adapters.lan_broadcast import LanSockets
from node.adapters.lan_interfaces import local_segments
from node.protocols.lan_beacon import Announcement, LanKeys, seal_announcement, to_datagram

MAIN: Final = "tests.natlab.liar:main"

PAUSE: Final = 0.2
"""Seconds between two rounds of lies."""


def main(arguments: Sequence[str]) -> int:
    """Lie about the peer in the first argument until killed; the second is its node's key, in hexadecimal."""
    asyncio.run(lie(PublicKey.parse(arguments[0]), bytes.fromhex(arguments[1])))
    return 0


async def lie(victim: PublicKey, victims_key: bytes) -> None:
    """Repeat what the victim says from our own address, speak in its name, and call its node ours."""
    sockets = LanSockets.open()
    segments = local_segments()
    (segment,) = segments
    sockets.set_segments(segments)
    own, node_key = IdentityKey.generate(), NodeKey.generate().public
    rng = random.SystemRandom()
    keys = LanKeys(b"")

    def hear(batch: list[Any]) -> None:
        for data, (ip, _) in batch:
            if ip not in segment.ips:
                sockets.send(data, segment.index)

    sockets.attach(hear)
    rounds = 0
    while True:
        for identity, key in (
            (victim, node_key),
            (victim, victims_key),
            (own.public, victims_key),
            (own.public, node_key),
        ):
            now = int(time.time() * 1000) + rounds
            said = Announcement(identity, key, 7716, segment.ips[:1], bytes(32), now, 60)
            sockets.send(to_datagram(seal_announcement(said, own, keys, rng)), segment.index)
            leaving = Announcement(identity, key, 7716, segment.ips[:1], bytes(32), now + 1, 60, leaving=True)
            sockets.send(to_datagram(seal_announcement(leaving, own, keys, rng)), segment.index)
        rounds += 1
        Path("lied").write_text(str(rounds))
        await asyncio.sleep(PAUSE)
