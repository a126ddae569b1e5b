"""The simulator's boxes and the laboratory's are held to one table: who meets whom directly, and who does not."""

from typing import cast

from simulations import World, run
from simulations.conditions import Surroundings
from simulations.nat import place_behind
from simulations.nat_kinds import kind_named
from simulations.shell import FullNodes
from tests.natlab.kinds import EXPECTED, KINDS, Expected

SIMULATED = tuple(name for name, kind in KINDS.items() if kind.v4)
"""All kinds but those without IPv4: the simulator has one family."""

UPGRADE = 20
"""Seconds that takes at most. UNSOURCED"""


class Placed:
    """Places each peer behind a box of the kind that its group names; a group `KIND/…` is of that kind."""

    def __init__(self, world):
        self._network = world.network
        self._ports = world.streams.stream("parity/ports")

    def place(self, peer):
        kind = peer.group.partition("/")[0]
        if kind not in KINDS or kind == "none":
            return
        public_ip, port = peer.address
        box = KINDS[kind].box
        if kind_named(box).translates:
            peer.address = ("10" + public_ip[2:], port)
        place_behind(self._network, box, [peer.address[0]], public_ip, self._ports)


async def settled(world, link, wanted):
    """How a link runs, if need be after the while in which a relayed one may become direct."""
    for _ in range(UPGRADE):
        path = link.stats.path
        if path.direct and path.local_type != "websocket":
            return "direct"
        if wanted is Expected.RELAYED:
            break
        await world.run(seconds=1)
    return "relayed"


async def outcomes(kinds):
    """By ordered pair of kinds: direct, or what came instead."""
    world = World(seed=7, latency="lognormal:30ms,0.3", seal="cheap")
    world.surroundings = cast(Surroundings, Placed(world))
    world.add(12)
    shells = FullNodes(world)
    try:
        nodes = {
            (kind, side): shells.add(1, "home", group=f"{kind}/{side}")[0]
            for kind in kinds
            for side in ("left", "right")
        }
        # Who is behind a box that takes no datagram never joins: nothing to settle, therefore.
        await world.run(seconds=60)
        found = {}
        for left in kinds:
            for right in kinds:
                dialler, listener = nodes[left, "left"].node, nodes[right, "right"].node
                outcome = await dialler.connect(listener.identity, timeout=20.0)
                found[left, right] = "failed"
                if outcome.connected:
                    found[left, right] = await settled(world, outcome.link, EXPECTED[left, right])
                    await outcome.link.close()
                await world.run(seconds=1)
        return found
    finally:
        shells.close()


def test_a_few_pairs_meet_in_the_simulator_as_in_the_laboratory():
    kinds = ("none", "port-restricted", "cgnat")
    found = run(lambda: outcomes(kinds))
    assert found == {pair: EXPECTED[pair].value for pair in found}


def test_every_pair_meets_directly_in_the_simulator_if_it_must_in_the_laboratory():
    found = run(lambda: outcomes(SIMULATED))
    wrong = {pair: got for pair, got in found.items() if (got == "direct") is not (EXPECTED[pair] is Expected.DIRECT)}
    assert not wrong
