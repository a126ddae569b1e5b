"""Reflection: strangers send requests under a victim's address, so that the network answers the victim.

No datagram may set more bytes in motion towards an address that has proved nothing than it had itself. One exception
is known and narrow: a STUN answer has 32 bytes for a question's 20, five a second from one node to one address.
"""

from __future__ import annotations

from pydantic import Field

from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.strangers import SENT, Flood, Stranger, stranger_address
from simulations.world import World


class Spoof(Parameters):
    """Bytes and datagrams that reach a victim for those that strangers send in its name, by kind of request."""

    nodes: int = Field(100, ge=10, description="size of the network that is to be the reflector")
    per_second: float = Field(100.0, gt=0, description="spoofed datagrams a second")
    seconds: float = Field(10.0, gt=0, description="how long each kind of request is tried")
    fresh: bool = Field(True, description="whether each bears a node key never seen before")


QUIET = 20.0
"""Seconds after the last datagram in which nodes may still ask back, resend and give up."""


@scenario("spoof", "Reflection and amplification", Spoof)
async def spoof(world: World, p: Spoof) -> None:
    """Try every kind of request, each in a victim's name, and count what the victim gets."""
    world.planned = p.nodes / 50 + 60 + len(SENT) * (p.seconds + QUIET)
    world.add(p.nodes)
    await world.settle()
    await world.run(minutes=1)
    targets = [peer.contact for peer in world.living]

    worst = 0.0
    for number, what in enumerate(SENT):
        victim = Stranger(world, 1000 + number)
        spoofer = Stranger(world, number, claims=stranger_address(1000 + number))
        world.metrics.mark(f"spoofed: {what}")
        flood = Flood(world, [spoofer], targets, what, per_second=p.per_second, fresh=p.fresh)
        await world.run(seconds=p.seconds)
        flood.end()
        await world.run(seconds=QUIET)
        ratio = victim.bytes_received / spoofer.bytes_sent
        world.metrics.value(f"bytes {what}", ratio, "received/sent")
        world.metrics.value(f"datagrams {what}", victim.received / spoofer.sent, "received/sent")
        if what != "stun":
            worst = max(worst, ratio)
    world.metrics.value("amplification", worst, "received/sent")

    world.metrics.expect("amplification", at_most=1.0)
    world.metrics.expect("bytes stun", at_most=32 / 20)
