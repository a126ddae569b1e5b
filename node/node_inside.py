"""The inside of a running node: every part, wired to one configuration.

Decides which parts there are, in what order they start, and that stopping takes less than two seconds whatever hangs.
Refuses to decide anything of theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from dht.engine import DhtEngine
from dht.events import AddressChanged, ClockSuspect, HomesChanged, Mode, ModeChanged, ProbeRequested
from dht.identity import IdentityKey, NodeKey, PublicKey
from node.config import NodeConfig
from node.driver import Datagrams, Driver
from node.node_admission import Admission
from node.node_events import AddressSeen, ClockWrong, EventLog, HomesFound, ModeSet, Started, Stopped
from node.node_files import Files
from node.node_inviting import Inviting
from node.node_joining import Joining
from node.node_journal import Journal, open_journal, restore, restored_contacts
from node.node_kept_network import NetworkFile
from node.node_lan import Lan
from node.node_links import Links
from node.node_lookups import Lookups
from node.node_membership import TopicParts
from node.node_networks import StoredMembership, network_of, store_of
from node.node_outside import Outside
from node.node_parts import NodeParts, datagrams_for, engine_for, network_secret, save_within
from node.node_presence import GossipPresence
from node.node_publishing import Publishing
from node.node_redeeming import Redeeming
from node.node_rhythm import Rhythm
from node.node_tasks import Tasks
from node.node_topics import Topics
from node.node_tunnel import TunnelledDatagrams
from node.node_watching import Watches
from node.node_whereabouts import Whereabouts
from node.protocols.peer_record import Capability
from node.protocols.presence_ground import PresenceSettings
from node.protocols.topic_members import MembersConfig
from node.storage import DropMeta, Meta, Storage

if TYPE_CHECKING:
    from bootstrap.sources import ListReport
    from node.storage import Snapshot

STOP_TIMEOUT: Final = 0.6
"""Seconds each of the two last steps of stopping gets (links, journal), so that a node ends within 2 s."""

_SERVED: Final = "served"
"""Meta row that says the node was a server when it ended, so that it keeps its node key."""


class Inside:
    """The parts of one node. Made by `open`; ended by the stack it was given."""

    identity: PublicKey
    driver: Driver[DhtEngine]
    datagrams: Datagrams
    since: float
    """Unix seconds of the start."""
    rhythm: Rhythm
    journal: Journal
    publishing: Publishing
    lookups: Lookups
    watches: Watches
    links: Links
    files: Files
    presence: GossipPresence
    outside: Outside
    joining: Joining
    topics: Topics
    inviting: Inviting
    redeeming: Redeeming
    lan: Lan
    admission: Admission | None
    """The door of the private network that the node is in; None where everybody with the key is welcome."""

    def __init__(self, config: NodeConfig, parts: NodeParts, events: EventLog) -> None:
        self._config = config
        self._parts = parts
        self._events = events
        self._had_homes = False

    @property
    def identity_key(self) -> IdentityKey:
        """The key that names the node: for a guest of it in another network."""
        return self._secret

    @property
    def parts(self) -> NodeParts:
        """Where the node meets the world: for the same."""
        return self._parts

    async def open(self, stack: AsyncExitStack) -> None:
        """Start everything; `stack` undoes it. Raises `LocalError`."""
        config, parts = self._config, self._parts
        self._keys = stack.enter_context(parts.open_keys(config))
        self._secret = self._keys.identity()
        self.identity = self._secret.public
        storage, snapshot = await open_journal(parts.open_storage, config.journal_file, self._events)
        stack.push_async_callback(save_within, STOP_TIMEOUT, storage.close)
        node_key = self._node_key(snapshot)
        sockets = await datagrams_for(parts, config)
        self.datagrams = TunnelledDatagrams(sockets) if config.gateways else sockets
        stack.callback(self.datagrams.close)
        self.driver = Driver(
            lambda now: engine_for(parts, config, node_key, now),
            self.datagrams.send,
            wall=parts.wall,
        )
        stack.callback(self.driver.close)
        stack.callback(lambda: self.driver.command(lambda engine, now: engine.close(now)))
        self.since = self.driver.now()
        self._answerless = await parts.open_answerless(self._secret, sockets, config, parts.rng)
        if self._answerless is not None:
            stack.push_async_callback(self._answerless.close)
        self._wire(stack, storage, snapshot)
        await self.outside.open(stack)
        self.datagrams.attach(self.driver.receive)
        self._run_everything()
        self._events.add(Started(self.driver.now(), self.identity, self.datagrams.port, self.driver.engine.mode.value))

    def _wire(self, stack: AsyncExitStack, storage: Storage, snapshot: Snapshot) -> None:
        config, parts, driver = self._config, self._parts, self.driver
        self._storage = storage
        self._tasks = Tasks(self._events, driver.now)
        self.rhythm = Rhythm(driver.clock, interval=config.upkeep_interval, slack=config.timer_slack)
        driver.on_awake = self.rhythm.awake
        self.journal = Journal(driver, storage, self._events, self.rhythm.pause)
        self.publishing = Publishing(
            self._secret,
            driver,
            storage,
            self._events,
            rng=parts.rng,
            interval=config.republish_interval,
            ttl=config.record_ttl,
            capabilities=Capability.WEBRTC | Capability.FILES,
            bound=None if config.listen in {"0.0.0.0", "::"} else self.datagrams.addresses[0],
            fingerprint=b"" if self._answerless is None else self._answerless.fingerprint,
            relays=self._relays,
        )
        self.publishing.restore(snapshot)
        self.lookups = Lookups(driver)
        self.watches = Watches(driver)
        stack.callback(self.watches.end)
        self.links = Links(self._events, driver.now, driver.clock, parts.rng.randbytes, own=self.identity)
        self.files = Files(config, self.links, self._events, driver.now, driver.clock)
        whereabouts = Whereabouts(storage, driver.now, size=config.remembered_peers)
        whereabouts.restore(snapshot)
        self.outside = Outside(
            self._secret,
            config,
            parts,
            driver,
            self.datagrams,
            self.links,
            self.lookups,
            self._events,
            self._answerless,
            whereabouts,
            self.rhythm,
        )
        answerless = self._answerless
        self.inviting = Inviting(
            self._secret,
            config,
            driver,
            self.datagrams,
            self.links,
            self._events,
            parts.rng,
            fingerprint=b"" if answerless is None else answerless.fingerprint,
            ways_out=parts.ways_out,
        )
        connect = self.outside.meeting.connect
        self.redeeming = Redeeming(self.identity, driver, self.links, connect, answerless)
        self.outside.sources.append(self.redeeming.hints)
        self.redeeming.membership = StoredMembership(store_of(config), self._secret, driver.now)
        self.admission = self._door()
        self.presence = GossipPresence(
            self._secret,
            PresenceSettings.at(
                config.presence_interval,
                refresh=config.presence_refresh,
                active=config.presence_neighbours,
                dials=config.presence_links,
                news_per_minute=config.presence_news,
            ),
            self.links,
            self.outside.meeting,
            self.publishing,
            self._events,
            parts.rng,
            driver.now,
            self.rhythm,
            enabled=config.presence,
        )
        self.outside.sources.append(self.presence)
        known = [*config.contacts, *restored_contacts(snapshot)]
        fetch = self._fetch_list if config.bootstrap_lists else None
        served = _SERVED in snapshot.meta
        self.joining = Joining(driver, self._events, known, fetch, parts.rng, served=served)
        self.outside.ladder.rejoin = self.joining.anew
        self.lan = Lan(
            self._secret,
            config,
            driver,
            self._events,
            parts.rng,
            means=parts.lan if parts.watch_interfaces else None,
            port=self.datagrams.port,
            fingerprint=b"" if self._answerless is None else self._answerless.fingerprint,
            network_secret=network_secret(config.network, config.network_key),
            wall=parts.wall,
            near=self.joining.near,
            rhythm=self.rhythm,
        )
        self.outside.sources.append(self.lan)
        driver.subscribe(ProbeRequested, lambda probe: self.datagrams.send_from_elsewhere(probe.data, probe.address))
        driver.subscribe(HomesChanged, self._on_homes)
        driver.subscribe(AddressChanged, lambda event: self._events.add(AddressSeen(driver.now(), event.address)))
        driver.subscribe(ModeChanged, self._on_mode)
        driver.subscribe(ClockSuspect, lambda event: self._events.add(ClockWrong(driver.now(), event.offset)))
        mode = None if config.mode == "auto" else Mode(config.mode)
        driver.command(lambda engine, now: restore(engine, snapshot, now))
        driver.command(lambda engine, now: engine.set_mode(mode, now))
        driver.command(lambda engine, now: engine.serve_identity(self._secret, now))
        # Undone in reverse: attempts, links, then the tasks, then the last contacts are saved.
        stack.callback(self._save)
        stack.push_async_callback(self._tasks.end)
        stack.push_async_callback(self.links.close)
        stack.push_async_callback(self.outside.close)
        if self.admission is not None:
            stack.push_async_callback(self.admission.close)
        self.topics = Topics(
            TopicParts(
                self._secret,
                driver,
                self.links,
                connect,
                self.joining.joined,
                self._events,
                parts.rng,
                MembersConfig(
                    target=config.topic_peers,
                    most=2 * config.topic_peers,
                    announce_every=config.topic_announce_interval,
                ),
            )
        )
        self.topics.serve()
        self.presence.befriend(self.topics.connected)
        stack.push_async_callback(self.topics.close)
        stack.push_async_callback(self.presence.close)

    def _door(self) -> Admission | None:
        """Who is let in, where this node is in a network that has members. Raises `LocalError`."""
        network = network_of(self._config)
        if network is None:
            return None
        door = Admission(
            self._secret,
            network,
            NetworkFile(self._config.data_dir),
            self.links,
            self._events,
            self.driver.now,
        )
        self.inviting.grantor = door
        return door

    def _run_everything(self) -> None:
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "joining": self.joining.run,
            "publishing the peer record": self.publishing.run_peer_record,
            "publishing the app's records": self.publishing.run_own_records,
            "the journal": self.journal.run,
            "presence": self.presence.run,
            **self.outside.work(self.joining),
            "the topics of the configuration": lambda: self.topics.keep_all(self._config.topics),
        }
        if self.admission is not None:
            parts["the network's next key"] = self.admission.renewals.run
        if self.lan.wanted:
            parts["the local network"] = self.lan.run
        for name, work in parts.items():
            self._tasks.start(name, work)

    def _node_key(self, snapshot: Snapshot) -> NodeKey:
        """A server keeps its key, so that others find it again; a client has a new one each time, so that its movements
        cannot be followed."""
        if self._config.mode == "server" or (self._config.mode == "auto" and _SERVED in snapshot.meta):
            return self._keys.node_key()
        return NodeKey.from_secret(self._parts.rng.randbytes(32))

    def _relays(self) -> bool:
        return self.outside.relays()

    async def _fetch_list(self) -> ListReport:
        # Only where there is a list to fetch: its carriers import aiohttp, which takes as long as all the rest.
        from bootstrap.sources import fetch_first_contacts
        from bootstrap.store import FileListStorage
        from bootstrap.trust import TrustRoot

        config = self._config
        trust = TrustRoot(frozenset(config.bootstrap_signers), config.bootstrap_threshold)
        kept = FileListStorage(config.data_dir / "first-contacts.json")
        return await fetch_first_contacts(config.bootstrap_lists, trust, config.network, kept)

    # What happens

    def _on_homes(self, event: HomesChanged) -> None:
        # That there are none yet is no news: a node that has just started looks for them.
        if event.homes or self._had_homes:
            self._events.add(HomesFound(self.driver.now(), event.homes))
        self._had_homes = bool(event.homes)

    def _on_mode(self, event: ModeChanged) -> None:
        self._events.add(ModeSet(self.driver.now(), event.mode.value, event.reason))
        if self._config.mode != "auto":
            return
        if event.mode is Mode.SERVER:
            self._keys.keep_node_key(self.driver.engine.node_key)
            self._storage.write(Meta(_SERVED, b"1"))
        else:
            self._storage.write(DropMeta(_SERVED))

    # Stopping

    def _save(self) -> None:
        self.journal.save_contacts()
        self._events.add(Stopped(self.driver.now(), self.driver.now() - self.since))
        self._events.end()
