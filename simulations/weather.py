"""Bad weather on single links: loss that comes in bursts, reordering, copies.

Decides what one host's line does to its packets. Loss and copies everywhere at once are settings of the network;
who is cut off from whom is a fault. Every hop draws from a generator handed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from simulations.errors import BadScenario
from simulations.hops import Drop, Hop, Packet
from simulations.network import Network

_LOST = Drop("link-loss")


class Loss:
    """Loses each packet with one probability, whatever became of the one before."""

    __slots__ = ("_random", "share")

    def __init__(self, share: float, rng: Random) -> None:
        self.share = _probability("share", share)
        self._random = rng.random

    def forward(self, packet: Packet, now: float) -> float | Drop:
        """Lose it or let it pass at once."""
        return _LOST if self._random() < self.share else 0.0


class GilbertElliott:
    """Bursts counted in packets: a good and a bad state, which may change before each packet.

    Gilbert 1960 and Elliott 1963, in the notation of Hasslinger and Hohlfeld, "The Gilbert-Elliott Model for Packet
    Loss in Real Time Services on the Internet" (MMB 2008): p into the bad state, r out of it.
    """

    __slots__ = ("_random", "bad", "bad_loss", "good_loss", "p", "r")

    def __init__(self, p: float, r: float, rng: Random, *, good_loss: float = 0.0, bad_loss: float = 1.0) -> None:
        self.p = _probability("p", p)
        self.r = _probability("r", r)
        self.good_loss = _probability("good_loss", good_loss)
        self.bad_loss = _probability("bad_loss", bad_loss)
        if not p + r:
            raise BadScenario("p = r = 0 of burst loss: expected one of them above 0, or its state never changes")
        self._random = rng.random
        self.bad = rng.random() < self.p / (self.p + self.r)

    @classmethod
    def of(cls, loss: float, burst: float, rng: Random) -> GilbertElliott:
        """Make one that loses the share `loss` of all packets, in bursts of `burst` packets on average."""
        if not 0 <= loss < 1:
            raise BadScenario(f"loss = {loss!r} of burst loss: expected 0 to below 1")
        if not 1 <= burst < math.inf:
            raise BadScenario(f"burst = {burst!r} packets of burst loss: expected 1 or more")
        r = 1 / burst
        p = loss * r / (1 - loss)
        if p > 1:
            raise BadScenario(f"loss = {loss!r} in bursts of {burst!r} packets cannot be: expected longer bursts")
        return cls(p, r, rng)

    @property
    def loss(self) -> float:
        """Share of packets lost in the long run."""
        return (self.p * self.bad_loss + self.r * self.good_loss) / (self.p + self.r)

    def forward(self, packet: Packet, now: float) -> float | Drop:
        """Move to the next state, then lose the packet or let it pass at once."""
        chance = self._random
        if chance() < (self.r if self.bad else self.p):
            self.bad = not self.bad
        share = self.bad_loss if self.bad else self.good_loss
        return _LOST if share and chance() < share else 0.0


class Spells:
    """Bursts counted in seconds: good and bad spells of exponential length, however many packets fall into them.

    A node of a DHT sends too rarely for bursts counted in packets to mean bad minutes; these do.
    """

    __slots__ = ("_asked", "_away", "_random", "_usual", "bad", "bad_loss")

    def __init__(self, good: float, bad: float, rng: Random, *, bad_loss: float = 1.0) -> None:
        """Take the mean seconds of good and of bad spells."""
        for name, span in (("good", good), ("bad", bad)):
            if not 0 < span < math.inf:
                raise BadScenario(f"{name} = {span!r} seconds of a spell: expected a finite number above 0")
        self.bad_loss = _probability("bad_loss", bad_loss)
        self._usual = bad / (good + bad)
        self._away = 1 / good + 1 / bad
        self._random = rng.random
        self._asked = -math.inf
        self.bad = False

    def forward(self, packet: Packet, now: float) -> float | Drop:
        """Draw the state at this moment given that at the last packet, then lose the packet or let it pass."""
        # The two-state chain solved for the time between: nothing need happen while no packet comes.
        kept = math.exp(-self._away * max(0.0, now - self._asked))
        self.bad = self._random() < self._usual + ((1.0 if self.bad else 0.0) - self._usual) * kept
        self._asked = now
        return _LOST if self.bad and self._random() < self.bad_loss else 0.0


class Reordering:
    """Holds back some packets, so that later ones overtake them."""

    __slots__ = ("_random", "most", "share")

    def __init__(self, share: float, most: float, rng: Random) -> None:
        """Hold back this share, each for up to `most` seconds."""
        self.share = _probability("share", share)
        if not 0 < most < math.inf:
            raise BadScenario(f"most = {most!r} seconds of reordering: expected a finite number above 0")
        self.most = most
        self._random = rng.random

    def forward(self, packet: Packet, now: float) -> float:
        """Let it pass now or later."""
        return self._random() * self.most if self._random() < self.share else 0.0


class Copies:
    """Delivers some packets a second time; a downlink hop, and the last one, since the copy passes no other."""

    __slots__ = ("_network", "_random", "most", "share")

    def __init__(self, network: Network, share: float, most: float, rng: Random) -> None:
        """Copy this share; the copy comes up to `most` seconds after the packet."""
        self.share = _probability("share", share)
        if not 0 <= most < math.inf:
            raise BadScenario(f"most = {most!r} seconds until a copy: expected a finite number from 0 up")
        self.most = most
        self._network = network
        self._random = rng.random

    def forward(self, packet: Packet, now: float) -> float:
        """Let it pass at once, perhaps followed by its copy."""
        if self._random() < self.share:
            self._network.hand_over_at(now + self._random() * self.most, packet.data, packet.src, packet.dst)
        return 0.0


def attach(network: Network, ip: str, *, leaving: Sequence[Hop] = (), entering: Sequence[Hop] = ()) -> None:
    """Add hops to a host's line, after those it has; what hosts behind one box send one another is not `leaving`."""
    host = network.host(ip)
    host.uplink = (*host.uplink, *leaving)
    host.downlink = (*host.downlink, *entering)


def _probability(name: str, share: float) -> float:
    if not 0 <= share <= 1:
        raise BadScenario(f"{name} = {share!r} is no probability: expected 0 to 1")
    return share
