"""The node's ways to other nodes, put together: dials and calls, relays, TCP, and what keeps their paths alive.

Decides which of them a node has, by its configuration and by where it stands. Refuses to know how any of them works.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from dht.contact import Address
from dht.events import Mode
from dht.identity import IdentityKey, PublicKey, is_exempt
from node.config import NodeConfig
from node.config_values import GatewayAddress
from node.driver import Datagrams, Driver
from node.node_attempt import import_webrtc
from node.node_events import EventLog, PortMapped, TunnelChanged
from node.node_gateway import Gateway
from node.node_joining import Joining
from node.node_ladder import HeadStarts, Ladder
from node.node_links import Links
from node.node_lookups import Lookups
from node.node_meeting import Meeting
from node.node_mesh import Mesh, MeshInfo
from node.node_parts import NodeParts, make_session
from node.node_paths import Paths
from node.node_rhythm import Rhythm
from node.node_tunnel import Tunnel, TunnelledDatagrams
from node.node_whereabouts import Whereabouts
from node.ports import Answerless, Link, LinkEnd, LinkError, LinkFault, PeerSource
from node.protocols.circuit_relays import RelayContact
from node.protocols.signaling import Signaling

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.adapters.interfaces import Interfaces
    from node.adapters.port_mapping import Mapping
    from node.adapters.websocket_carrier import WebSockets

log = logging.getLogger("rookery.outside")

MAPPED_REST: Final = 1.0
"""Seconds after a port was mapped until the network is asked to try it. UNSOURCED: routers take a moment."""

LEARN_PAUSES: Final = (0.2, 0.2, 0.4, 0.8, 1.5, 3.0, 5.0)
"""Seconds between tries to find a gateway's record: the first are made while its tunnel is only joining. UNSOURCED"""

_ELSEWHERE: Final = "192.0.2.1"
"""An address that is nobody's (RFC 5737): the way to it is the way out."""


class Outside:
    """What lies between a node's links and other machines."""

    def __init__(
        self,
        identity: IdentityKey,
        config: NodeConfig,
        parts: NodeParts,
        driver: Driver[DhtEngine],
        datagrams: Datagrams,
        links: Links,
        lookups: Lookups,
        events: EventLog,
        answerless: Answerless | None,
        whereabouts: Whereabouts,
        rhythm: Rhythm,
    ) -> None:
        self._identity = identity
        self._config = config
        self._parts = parts
        self._driver = driver
        self._datagrams = datagrams
        self._links = links
        self._events = events
        self._answerless = answerless
        self._rhythm = rhythm
        self.mapping: Mapping | None = None
        """The port that the router forwards to us."""
        self.mapping_problem = ""
        self.pinhole: Mapping | None = None
        """Where the router's firewall lets others in over IPv6."""
        self.pinhole_problem = ""
        self.gateway: Gateway | None = None
        self.websockets: WebSockets | None = None
        self._interfaces: Interfaces | None = None
        self.whereabouts = whereabouts
        """Where peers were when they were last linked."""
        self.ladder = Ladder(lookups.find, starts=HeadStarts(config.look_up_head_start, config.call_head_start))
        self.ladder.sources.append(whereabouts)
        self.ladder.on_linked, self.ladder.on_wrong = whereabouts.note, whereabouts.wrong
        self.ladder.heard = lambda: datagrams.counters["received"]
        self.meeting = Meeting(
            identity.public,
            Signaling(identity, parts.rng),
            driver,
            links,
            events,
            self.ladder,
            lambda peer: make_session(parts, driver.engine, config, peer, tunnelled=self.tunnelled),
            answerless=answerless,
            prepare=import_webrtc if parts.new_session is None else None,
        )
        self.mesh = Mesh(
            identity,
            links,
            driver,
            self._reach,
            events,
            parts.rng,
            driver.now,
            driver.clock,
            self.relays,
            contact=self._contact,
            needed=self._needs_relays,
            families=self.families,
            pause=rhythm.pause,
        )
        self.mesh.serve()
        self.meeting.attempts.mesh = self.mesh
        self.meeting.attempts.hidden = config.hide_address
        self.meeting.attempts.families = self.families
        self.paths = Paths(links, self.meeting, driver, events)
        self.paths.relays_wanted = config.hide_address
        self._lookups = lookups
        self._tell_own()

    def _tell_own(self) -> None:
        port = self._datagrams.port
        bound = [address for address in self._datagrams.addresses if address[0] not in ("0.0.0.0", "::")]
        taken = {":" in host for host, _ in self._datagrams.addresses}
        ways = sorted(self._parts.ways_out(), key=lambda ip: ":" in ip)
        own = tuple(bound) or tuple((ip, port) for ip in ways if (":" in ip) in taken)
        self._driver.command(lambda engine, now: engine.set_own_addresses(own, now))

    async def open(self, stack: AsyncExitStack) -> None:
        """Listen over TCP where that is asked for. Raises `LocalError`."""
        config = self._config
        if config.websocket is None and not config.gateways:
            return
        from node.adapters.websocket_carrier import WebSockets

        self.websockets = WebSockets(self._identity, self._parts.rng)
        stack.push_async_callback(self.websockets.close)
        if config.websocket is not None and self._answerless is not None:
            self.websockets.on_opened = self.meeting.take
            fingerprint = self._answerless.fingerprint
            await self.websockets.listen(*config.websocket, config.certificate_file, fingerprint)
            listening = self._datagrams.addresses
            self.gateway = Gateway(self._links, self._driver, self._parts.open_datagrams, lambda: True, listening)
            stack.push_async_callback(self.gateway.close)

    async def close(self) -> None:
        """Give up every attempt."""
        await self.meeting.close()
        await self.mesh.close()

    def work(self, joining: Joining) -> dict[str, Callable[[], Awaitable[None]]]:
        """What runs as long as the node does, by name."""
        config, parts = self._config, self._parts
        work: dict[str, Callable[[], Awaitable[None]]] = {"paths": self.paths.run, "relays": self.mesh.run}
        if parts.watch_interfaces:
            work["this machine's addresses"] = self._watch
        if self.maps_ports:
            work["port mapping"] = lambda: self._map(ipv6=False)
            if config.listen == "::":
                work["the pinhole for IPv6"] = lambda: self._map(ipv6=True)
        if config.gateways and isinstance(self._datagrams, TunnelledDatagrams):
            tunnel = Tunnel(
                self._datagrams,
                self._driver,
                config.gateways,
                self._open_gateway,
                lambda gateway: self._on_tunnel(gateway, joining),
                parts.rng,
            )
            work["the tunnel"] = tunnel.run
        return work

    # What there is to know

    @property
    def sources(self) -> list[PeerSource]:
        """Where peers are looked for before the DHT is asked: append to it."""
        return self.ladder.sources

    @property
    def maps_ports(self) -> bool:
        """Whether the router is asked for a port."""
        config = self._config
        asks = config.port_mapping and config.scope == "any" and self._parts.map_ports
        return asks and config.listen in ("0.0.0.0", "::") and config.mode != "client"

    def own_address(self) -> str | None:
        """This machine's IPv4 address on the way out, where it has one. Sends nothing."""
        if not self._parts.map_ports:
            return None
        from node.adapters.port_mapping import own_address_towards

        return own_address_towards(_ELSEWHERE)

    @property
    def tunnelled(self) -> bool:
        """Whether DHT datagrams go through a gateway: then no UDP gets through."""
        return isinstance(self._datagrams, TunnelledDatagrams) and self._datagrams.tunnelled

    def relays(self) -> bool:
        """Whether this node carries others' links just now."""
        setting = self._config.relay
        return setting == "always" or (setting == "auto" and self._driver.engine.mode is Mode.SERVER)

    def families(self) -> frozenset[int]:
        """The families of addresses from which this machine gets out by UDP: 4, 6, or both."""
        if self.tunnelled:
            return frozenset()
        ways = self._parts.ways_out()
        return frozenset(6 if ":" in ip else 4 for ip in ways) or frozenset({4, 6})

    def info(self) -> MeshInfo:
        """What there is to know of relaying."""
        return self.mesh.info()

    # Relays

    def _contact(self) -> RelayContact | None:
        """Where others reach this node."""
        engine = self._driver.engine
        addresses = engine.public_addresses or tuple(
            address for address in self._datagrams.addresses if address[0] not in ("0.0.0.0", "::")
        )
        if not addresses:
            return None
        fingerprint = b"" if self._answerless is None else self._answerless.fingerprint
        return RelayContact(self._identity.public, addresses, engine.own_key, fingerprint)

    def _needs_relays(self) -> bool:
        return self.tunnelled or (
            self._config.keep_relays and not self._driver.engine.nat_report(self._driver.now()).predictable
        )

    async def _reach(self, relay: RelayContact, timeout: float) -> Link:
        """A direct link with a relay: the one there is, a dial with no answer, or an ordinary attempt."""
        link = self._links.get(relay.identity)
        if link is not None and link.stats.path.direct and not self._links.suspended(relay.identity):
            return link
        families = self.families()
        reachable = [address for address in relay.addresses if (6 if ":" in address[0] else 4) in families]
        if not reachable:
            raise LinkError(LinkEnd(LinkFault.RELAY_FAILED, "no address of it is of a family that gets out here"))
        if self._answerless is not None and relay.fingerprint:
            opened = await self._answerless.dial(relay.identity, reachable[0], relay.fingerprint, timeout=timeout)
            return await self._links.join(relay.identity, opened, initiated=True)
        dialling = self.meeting.dial(relay.identity, relayed=False)
        await asyncio.wait([dialling], timeout=timeout)
        if not dialling.done() or not (outcome := dialling.result()).connected:
            raise LinkError(LinkEnd(LinkFault.RELAY_FAILED, "it was not reached"))
        return outcome.link

    # This machine's place in the network

    async def _watch(self) -> None:
        from node.adapters.interfaces import Interfaces

        watching = Interfaces(
            self._on_interfaces,
            clock=self._driver.clock,
            now=self._driver.now,
            interval=self._config.network_watch,
            addresses=self._parts.own_addresses,
            routes=self._parts.ways_out,
            rest=self._rhythm.rest,
        )
        await watching.run()

    def _on_interfaces(self, old: frozenset[str], new: frozenset[str]) -> None:
        self._tell_own()
        self.paths.network_changed(new)

    async def _map(self, *, ipv6: bool) -> None:
        from node.adapters.port_mapping import PortMapper

        def told(mapping: Mapping | None, why: str) -> None:
            self._on_mapping(mapping, why, ipv6=ipv6)

        mapper = PortMapper(self._datagrams.port, self._parts.rng, self._driver.clock, told, ipv6=ipv6)
        await mapper.run()

    def _on_mapping(self, mapping: Mapping | None, why: str, *, ipv6: bool) -> None:
        if ipv6:
            self.pinhole, self.pinhole_problem = mapping, why
        else:
            self.mapping, self.mapping_problem = mapping, why
        where = None if mapping is None else mapping.address
        protocol = "" if mapping is None else mapping.protocol
        self._events.add(PortMapped(self._driver.now(), where, protocol, why))
        if mapping is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(MAPPED_REST, self._driver.command, lambda engine, now: engine.try_reachability(now))

    # TCP

    async def _open_gateway(self, gateway: GatewayAddress, timeout: float) -> Link:
        link = self._links.get(gateway.peer)
        if link is not None and not self._links.suspended(gateway.peer):
            return link
        assert self.websockets is not None
        opened = await self.websockets.dial(gateway.peer, (gateway.host, gateway.port), timeout=timeout)
        return await self._links.join(gateway.peer, opened, initiated=True)

    def _on_tunnel(self, gateway: PublicKey | None, joining: Joining) -> None:
        self._events.add(TunnelChanged(self._driver.now(), gateway))
        self._driver.command(lambda engine, now: engine.network_changed(now))
        joining.soon()
        if gateway is not None:
            task = asyncio.get_running_loop().create_task(self._learn(gateway))
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    async def _learn(self, gateway: PublicKey) -> None:
        """A gateway is a relay that is linked already: others reach it at its record's address."""
        for wait in LEARN_PAUSES:
            found = await self._lookups.find(gateway)
            if found.found and found.direct:
                addresses: tuple[Address, ...] = tuple(contact.address for contact in found.direct)
                if not all(is_exempt(host) for host, _ in addresses):
                    self.mesh.book.learn(RelayContact(gateway, addresses, found.direct[0].key, found.fingerprint))
                    return
            await asyncio.sleep(wait)
