"""The state of a node as a tree of frozen values, for `rookery status`, the page, and tests.

Decides what is worth telling. Refuses to change anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dht.contact import Address, Contact
from dht.engine import DhtEngine
from dht.identity import PublicKey
from node.config import NodeConfig
from node.driver import Datagrams, Driver
from node.node_lan_events import LanStatus
from node.node_publishing import PublishedRecord
from node.node_results import ContactInfo, LinkInfo, RungStatus

if TYPE_CHECKING:
    from bootstrap.sources import ListReport


@dataclass(frozen=True, slots=True)
class PublishedStatus:
    """Our peer record in the DHT."""

    seq: int
    stored: int
    """Nodes that stored it, of those asked."""
    asked: int
    age: float
    expires_in: float


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source of the signed first-contact list."""

    source: str
    status: str
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Everything about a node at one moment."""

    identity: PublicKey
    contact: Contact
    """What another node may name as its first contact: our node key at the address others see, or else our own."""
    version: str
    uptime: float
    joined: bool
    mode: str
    mode_reason: str
    network: str
    private: bool
    """Whether a network key keeps strangers out."""
    listening: tuple[Address, ...]
    public_address: Address | None
    contacts: int
    network_size: int | None
    """Estimated number of server nodes."""
    records_held: int
    forwards_held: int
    """Peers that signals are forwarded to."""
    homes: tuple[Contact, ...]
    published: PublishedStatus | None
    links: tuple[LinkInfo, ...]
    bootstrap: tuple[SourceStatus, ...]
    ladder: tuple[RungStatus, ...]
    """The places where peers are looked for, and what became of each."""
    clock_offset: float | None
    """Median of others' clocks less ours, seconds."""
    lan: LanStatus
    """The local network."""
    journal_problem: str | None
    """Why the journal cannot be written just now."""
    counters: dict[str, dict[str, int]]
    data_dir: Path


def version() -> str:
    """The installed release."""
    try:
        return metadata.version("rookery")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def own_contact(engine: DhtEngine, datagrams: Datagrams) -> Contact:
    """How others name us: at the address they see, else where we listen, a wildcard as loopback."""
    address = engine.public_address
    if address is None:
        host, port = datagrams.addresses[0]
        address = ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
    return Contact(engine.own_key, address)


def node_status(
    identity: PublicKey,
    config: NodeConfig,
    driver: Driver[DhtEngine],
    datagrams: Datagrams,
    *,
    since: float,
    joined: bool,
    published: PublishedRecord | None,
    links: tuple[LinkInfo, ...],
    report: ListReport | None,
    signaling: dict[str, int],
    ladder: tuple[RungStatus, ...],
    journal_problem: str | None,
    lan: LanStatus,
) -> NodeStatus:
    """Put the state of all parts together."""
    engine, now = driver.engine, driver.now()
    size = engine.size.nodes
    return NodeStatus(
        identity=identity,
        contact=own_contact(engine, datagrams),
        version=version(),
        uptime=now - since,
        joined=joined,
        mode=engine.mode.value,
        mode_reason=engine.mode_reason,
        network=config.network,
        private=config.network_key is not None,
        listening=tuple(datagrams.addresses),
        public_address=engine.public_address,
        contacts=len(engine.contacts()),
        network_size=None if size is None else round(size),
        records_held=engine.held_records(),
        forwards_held=engine.forwards(),
        homes=engine.homes(),
        published=_published(published, now),
        links=links,
        bootstrap=tuple(
            SourceStatus(one.source, one.status.value, one.message, one.seconds)
            for one in (report.outcomes if report else ())
        ),
        ladder=ladder,
        clock_offset=engine.clock_offset,
        lan=lan,
        journal_problem=journal_problem,
        counters={
            "dht": dict(engine.counters),
            "udp": dict(datagrams.counters),
            "driver": dict(driver.counters),
            "signaling": signaling,
        },
        data_dir=config.data_dir,
    )


def _published(published: PublishedRecord | None, now: float) -> PublishedStatus | None:
    if published is None:
        return None
    return PublishedStatus(
        published.seq, published.stored, published.asked, now - published.at, published.expires - now
    )


def contact_infos(driver: Driver[DhtEngine]) -> list[ContactInfo]:
    """The routing table, nearest to us first."""
    engine = driver.engine
    found = []
    for contact in sorted(engine.contacts(), key=lambda one: one.long_id ^ engine.own_id):
        peer = engine.requests.peer(contact)
        failures = peer.failures if peer is not None else 0
        found.append(
            ContactInfo(
                contact,
                contact.address,
                peer.mean if peer is not None and peer.mean else None,
                peer.seen if peer is not None and peer.seen else None,
                "questionable" if failures else "good",
            )
        )
    return found
