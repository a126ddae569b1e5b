"""A world's settings turned into what surrounds its peers: latency, routers, access links, clocks, seals.

Decides what stands between a peer and the network. Refuses to know what the peer does there.
"""

from __future__ import annotations

from typing import Final

from simulations.bandwidth import attach
from simulations.errors import BadScenario
from simulations.hops import Hop
from simulations.nat import place_behind
from simulations.nat_kinds import KINDS, kind_named
from simulations.nat_mix import NAMES, draw, mix
from simulations.network import Network
from simulations.peers import Peer
from simulations.randomness import Streams
from simulations.seal import CheapSeals, RealSeals, Seals
from simulations.settings import WorldSettings
from simulations.weather import GilbertElliott, Reordering
from simulations.weather import attach as attach_hops


def nat_shares(nat: str) -> dict[str, float]:
    """The shares of NAT kinds that a setting stands for: one kind alone, or a published mix."""
    if nat in KINDS:
        return {nat: 1.0}
    if nat not in NAMES:
        raise BadScenario(
            f"nat = {nat!r} is neither a kind ({', '.join(KINDS)}) nor a mix of kinds ({', '.join(NAMES)})"
        )
    return mix(nat)


HELD_BACK: Final = 0.1
"""Seconds at most that a reordered datagram is held back. UNSOURCED: a round trip of the median pair, about."""


class Surroundings:
    """Places peers in a world of given settings."""

    def __init__(self, settings: WorldSettings, network: Network, streams: Streams) -> None:
        self._settings = settings
        self._network = network
        self._nat_rng = streams.stream("world/nat")
        self._ports_rng = streams.stream("world/nat ports")
        self._weather_rng = streams.stream("world/weather")
        self._clock_rng = streams.stream("world/clocks")
        self._kinds = nat_shares(settings.nat)

    def place(self, peer: Peer) -> None:
        """Give a new peer its router, its access link and its clock."""
        profile, network = peer.profile, self._network
        if profile.behind and self._settings.nat != "none":
            self._put_behind(peer)
        if self._settings.bandwidth:
            attach(network, peer.address[0], up=profile.up, down=profile.down, queue=profile.queue)
        if hops := self._weather():
            attach_hops(network, peer.address[0], leaving=hops)
        if self._settings.clock_skew:
            peer.clock_offset = self._clock_rng.gauss(0.0, self._settings.clock_skew)

    def _weather(self) -> list[Hop]:
        settings, hops = self._settings, list[Hop]()
        if settings.loss and settings.burst > 1:
            hops.append(GilbertElliott.of(settings.loss, settings.burst, self._weather_rng))
        if settings.reordering:
            hops.append(Reordering(settings.reordering, HELD_BACK, self._weather_rng))
        return hops

    def _put_behind(self, peer: Peer) -> None:
        peer.nat = draw(self._kinds, self._nat_rng)
        public_ip, port = peer.address
        if kind_named(peer.nat).translates:
            # An address of its own inside, so that no two homes have the same: 10/8 has as many as 11/8.
            peer.address = ("10" + public_ip[2:], port)
        place_behind(self._network, peer.nat, [peer.address[0]], public_ip, self._ports_rng)


def seals_of(seal: str, streams: Streams) -> Seals:
    """How the nodes of a world seal."""
    return RealSeals() if seal == "real" else CheapSeals(streams.stream("world/seal").getrandbits(32))
