"""Where a node meets the world: sockets, disk, clock, randomness, and the secret that keeps networks apart.

Decides the real ones; tests and simulations hand in others. Refuses to know what a node does with them.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dht.config import DhtConfig
from dht.contact import Address
from dht.engine import DhtEngine
from dht.errors import LocalError
from dht.identity import IdentityKey, NodeKey, PublicKey, is_exempt
from dht.sealing import Sealing
from node.adapters.sqlite import SqliteStorage
from node.adapters.udp import UdpSockets
from node.config import NodeConfig
from node.config_upkeep import dht_tunables
from node.driver import Datagrams
from node.node_keys import FileKeys, Keys
from node.node_lan_means import LanMeans
from node.node_scope import LocalDatagrams
from node.ports import Answerless, Session
from node.protocols.punching import Budget
from node.storage import Storage

if TYPE_CHECKING:
    from node.adapters.webrtc import WebRtcConfig


STUN_SERVERS: Final = 3
"""Nodes of each family asked how our sockets look from outside. UNSOURCED: one may be gone, two may disagree."""


async def open_udp(hosts: list[str], port: int) -> Datagrams:
    """Bind real sockets. Raises `LocalError` that says which port and what to do."""
    return UdpSockets.open(hosts, port)


def real_ways_out() -> frozenset[str]:
    """Our addresses on the way to far places, as the system says; all we have where there is no way to far places."""
    from node.adapters.interfaces import own_addresses, ways_out

    return ways_out() or own_addresses()


def real_own_addresses() -> frozenset[str]:
    """The addresses of this machine that others could use, as the system says."""
    from node.adapters.interfaces import own_addresses

    return own_addresses()


async def open_webrtc_answerless(
    identity: IdentityKey, datagrams: Datagrams, config: NodeConfig, rng: random.Random
) -> Answerless | None:
    """Listen on real sockets, under the certificate that the node keeps. Raises `KeyFileError`."""
    from node.adapters.answerless import WebRtcAnswerless
    from node.adapters.certificate import load_or_create_certificate

    if not isinstance(datagrams.inner if isinstance(datagrams, LocalDatagrams) else datagrams, UdpSockets):
        return None
    only = None if config.listen in ("0.0.0.0", "::") else config.listen
    certificate = load_or_create_certificate(config.certificate_file)
    return await WebRtcAnswerless.open(
        identity, datagrams, certificate, rng=rng, only_address=only, reaches=config.reaches
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """What a node is made of where it meets the world."""

    open_datagrams: Callable[[list[str], int], Awaitable[Datagrams]] = open_udp
    open_storage: Callable[[Path], Awaitable[Storage]] = SqliteStorage.open
    open_keys: Callable[[NodeConfig], Keys] = FileKeys
    open_answerless: Callable[[IdentityKey, Datagrams, NodeConfig, random.Random], Awaitable[Answerless | None]] = (
        open_webrtc_answerless
    )
    """Listens for those who dial with no answer, on the node's own port; gives None where nobody can."""
    watch_interfaces: bool = True
    """Whether this machine's addresses are looked at again and again."""
    own_addresses: Callable[[], frozenset[str]] = real_own_addresses
    """The addresses of this machine."""
    lan: LanMeans | None = field(default_factory=LanMeans)
    """How the local network is reached; None where there is none. Without `watch_interfaces` there is none either."""
    map_ports: bool = True
    """Whether the router of this machine's network may be asked."""
    ways_out: Callable[[], frozenset[str]] = real_ways_out
    """Our addresses on the way to far places."""
    new_session: Callable[[WebRtcConfig], Session] | None = None
    """Makes attempts at links; None for WebRTC."""
    punch_budget: Budget = field(default_factory=Budget)
    """Ports tried at others' routers, by all of the node's attempts together."""
    rng: random.Random = field(default_factory=random.SystemRandom)
    """Keys come from it: outside of simulations it must be `random.SystemRandom`."""
    wall: Callable[[], float] | None = time.time
    """The system clock; None where the event loop's clock is Unix time."""
    dht: DhtConfig | None = None
    """Tunables of the DHT, None for the defaults."""
    sealer: Callable[[NodeKey, random.Random], Sealing] | None = None
    """Who seals for a node key; None for real boxes under the network's key."""


async def datagrams_for(parts: NodeParts, config: NodeConfig) -> Datagrams:
    """Bind where the configuration says; the default port gives way to any free one."""
    hosts = ["0.0.0.0", "::"] if config.listen == "::" else [config.listen]
    try:
        sockets = await parts.open_datagrams(hosts, config.port)
    except LocalError:
        if config.port_is_explicit:
            raise
        sockets = await parts.open_datagrams(hosts, 0)
    return LocalDatagrams(sockets) if config.scope == "lan" else sockets


def engine_for(parts: NodeParts, config: NodeConfig, node_key: NodeKey, now: float) -> DhtEngine:
    """The DHT engine of a node."""
    return DhtEngine(
        replace(parts.dht or DhtConfig(answer_stun=config.stun), **dht_tunables(config)),
        node_key,
        parts.rng,
        now,
        network_key=network_secret(config.network, config.network_key),
        sealer=None if parts.sealer is None else parts.sealer(node_key, parts.rng),
    )


def make_session(
    parts: NodeParts, engine: DhtEngine, settings: NodeConfig, peer: PublicKey, *, tunnelled: bool = False
) -> Session:
    """An attempt at a link that asks neighbours how we look from outside, and nobody else. `tunnelled`: our datagrams
    go through a gateway, so that what others see of us is the gateway."""
    from node.adapters.webrtc import WebRtcConfig, WebRtcSession

    # Only public nodes see us as others do; behind one router, host addresses are enough.
    public = [contact.address for contact in engine.contacts() if not is_exempt(contact.ip)]
    local = settings.scope == "lan"
    observed = () if tunnelled or local else engine.public_addresses
    if settings.hide_address:
        hidden = WebRtcConfig(udp_blocked=True, share_local=False, only_addresses=())
        return WebRtcSession(hidden) if parts.new_session is None else parts.new_session(hidden)
    config = WebRtcConfig(
        stun_servers=() if tunnelled or local else _of_each_family(public),
        observed=observed,
        udp_blocked=tunnelled,
        share_local=settings.tells_local_addresses(peer),
        budget=parts.punch_budget,
        include_loopback=settings.include_loopback,
        reaches=settings.reaches,
        # Whoever names one address to listen on does not want to be reached at others.
        only_addresses=None if settings.listen in ("0.0.0.0", "::") else (settings.listen,),
    )
    return WebRtcSession(config) if parts.new_session is None else parts.new_session(config)


def _of_each_family(addresses: list[Address]) -> tuple[Address, ...]:
    v4 = [address for address in addresses if ":" not in address[0]]
    v6 = [address for address in addresses if ":" in address[0]]
    return (*v4[:STUN_SERVERS], *v6[:STUN_SERVERS])


async def save_within(seconds: float, save: Callable[[], Awaitable[None]]) -> None:
    """Save, but let it not hold up the end of the node. Raises `LocalError` when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            await save()
    except TimeoutError:
        raise LocalError(f"the journal was not saved within {seconds:g} s: its last rows may be missing") from None


def network_secret(name: str, key: bytes | None) -> bytes:
    """What the engine mixes into its tag and boxes: nothing in the open main network, else a hash of name and key.

    A name without a key keeps networks apart and nobody out.
    """
    if key is None and name == "main":
        return b""
    return hashlib.blake2b(name.encode(), digest_size=32, key=key or b"", person=b"rookery/network").digest()
