"""What `node.adapters.webrtc_punch` does with sockets, as times and addresses on the simulated clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random

from dht.identity import is_exempt
from node.protocols.offer import SessionDescription
from node.protocols.punching import HEAD_START, MOST, OPEN_RATE, RATE, Part, Plan, ports_to_try
from simulations.hops import Address


async def punches(
    plan: Plan, remote: SessionDescription, rng: Random, take: Callable[[str, float], bool]
) -> AsyncIterator[Address]:
    """Give the addresses that checks go to, each when it is due; of `Part.OPEN` each from a socket of its own."""
    outside = [(c.host, c.port) for c in remote.candidates if c.kind == "srflx" or not is_exempt(c.host)]
    if plan.part is Part.NOTHING or not outside:
        return
    ip, loop = outside[0][0], asyncio.get_running_loop()
    await asyncio.sleep(HEAD_START)
    if plan.part is Part.OPEN:
        for _ in range(plan.sockets):
            if take(ip, loop.time()):
                yield outside[0]
            await asyncio.sleep(1 / OPEN_RATE)
        return
    ports = ports_to_try([port for host, port in outside if host == ip], plan.step, rng)
    for _ in range(MOST):
        if take(ip, loop.time()):
            yield ip, next(ports)
        await asyncio.sleep(1 / RATE)
