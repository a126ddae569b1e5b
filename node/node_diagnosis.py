"""What is wrong with a node's network, in words, and what to do: findings drawn from facts.

Decides what counts as a problem and what helps. Refuses to find facts out: `node_doctor.py` does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dht.config import DhtConfig
from dht.contact import Address
from dht.identity import is_exempt
from dht.nat_report import Mapping, NatReport

CLOCK_PROBLEM: Final = DhtConfig().clock_tolerance
"""Seconds the clock may be off, as the node itself judges it."""

CLOCK_NOTE: Final = 60.0
"""Seconds from which it is worth a word. UNSOURCED: any machine that asks for the time is within one."""

LOSSY: Final = 0.15
"""Part of single datagrams lost above which the line is bad. UNSOURCED: a bad mobile line loses 5 %."""

THROTTLED: Final = 0.3
"""Part lost of a burst, on a line that loses single datagrams rarely, from which it is held back. UNSOURCED"""

ENOUGH: Final = 16
"""Datagrams that must have been sent for a part to mean anything. UNSOURCED"""

CARRIER: Final = ipaddress.ip_network("100.64.0.0/10")
"""Addresses between a carrier's routers and its customers (RFC 6598)."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Datagrams sent that wanted an answer, and answers that came."""

    sent: int = 0
    answered: int = 0

    @property
    def part(self) -> float:
        """The part without an answer, 0-1."""
        return 1 - self.answered / self.sent if self.sent else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a node and its network."""

    joined: bool = False
    contacts: int = 0
    first_contacts: int = 0
    """Contacts it began with: configured, saved, listed."""
    sent: int = 0
    """Datagrams."""
    received: int = 0
    tunnel: bool = False
    """Whether its datagrams go through a gateway over TCP."""
    single: Loss = Loss()
    """Pings sent one by one."""
    burst: Loss = Loss()
    """Pings sent all at once."""
    clock_offset: float | None = None
    """Others' clocks less ours, seconds."""
    nat: NatReport = field(default_factory=NatReport)
    own: str | None = None
    """Our address on the way out."""
    public: Address | None = None
    """Where others see us."""
    mapped: Address | None = None
    """What the router says to forward to us."""
    mapping_problem: str = ""
    mode: str = "client"
    mode_wanted: str = "auto"
    mode_reason: str = ""
    lists: int = 0
    """Sources of signed lists that are configured."""
    list_found: bool = False
    list_expired: bool = False
    list_detail: str = ""
    """What the sources said."""
    journal_problem: str | None = None
    lan_problems: tuple[str, ...] = ()
    """What ails the local network, each a sentence that says what to do."""
    stored: int | None = None
    """Nodes that stored our own record; None while it has not been published."""
    asked: int = 0
    """Nodes that were asked to store it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    state: str
    """ok, note, problem, or unknown."""
    text: str
    advice: str = ""


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """Everything looked at, one finding each, in the order in which it should be put right."""
    return (
        _udp(facts),
        _loss(facts),
        _clock(facts),
        _router(facts),
        _reached(facts),
        *_list(facts),
        *_journal(facts),
        *_record(facts),
        *_local(facts),
    )


def _udp(facts: Facts) -> Finding:
    if facts.tunnel:
        return Finding(
            "udp", "note", "UDP does not get through: everything goes through a gateway, over TCP",
            "allow outgoing UDP in the firewall, and links will be direct and faster",
        )  # fmt: skip
    if facts.joined and facts.contacts:
        return Finding("udp", "ok", f"UDP gets through: nodes known: {facts.contacts}")
    if not facts.first_contacts:
        return Finding(
            "udp", "unknown", "this node knows nobody whom it could ask",
            "name a first contact with --contact, or a signed list with --bootstrap",
        )  # fmt: skip
    if facts.sent and not facts.received:
        return Finding(
            "udp", "problem", f"{facts.sent} datagrams went out and none came back: no UDP gets through, or none of "
            f"{facts.first_contacts} first contacts is there",
            "allow outgoing UDP in the firewall, or name a gateway over TCP with --gateway; then try other contacts",
        )  # fmt: skip
    return Finding(
        "udp", "problem", f"datagrams come in ({facts.received}), but no node that was asked takes us in",
        "see that --network and --network-key are those of the others, then try other first contacts",
    )  # fmt: skip


def _loss(facts: Facts) -> Finding:
    single, burst = facts.single, facts.burst
    if single.sent < ENOUGH:
        return Finding("loss", "unknown", "too few nodes are known to measure what is lost on the way")
    if single.part > LOSSY:
        return Finding(
            "loss", "problem", f"{single.part:.0%} of single datagrams are lost on the way",
            "look at the Wi-Fi or mobile signal, or at what else fills the line",
        )  # fmt: skip
    if burst.sent >= ENOUGH and burst.part > THROTTLED:
        return Finding(
            "loss", "problem", f"UDP is throttled here: of {burst.sent} datagrams at once {burst.part:.0%} are "
            f"lost, of single ones {single.part:.0%}",
            "a router or provider holds bursts of UDP back: look for such a limit (QoS, flood protection) in the "
            "router, or name a gateway over TCP with --gateway",
        )  # fmt: skip
    return Finding(
        "loss", "ok", f"of single datagrams {single.part:.0%} are lost, of {burst.sent} at once {burst.part:.0%}"
    )


def _clock(facts: Facts) -> Finding:
    offset = facts.clock_offset
    if offset is None:
        return Finding("clock", "unknown", "fewer than three nodes have told the time")
    way = "behind" if offset > 0 else "ahead of"
    if abs(offset) > CLOCK_PROBLEM:
        return Finding(
            "clock", "problem", f"this machine's clock is {_span(offset)} {way} that of others: records look expired",
            "set the clock: `timedatectl set-ntp true`, or your system's way to follow a time server",
        )  # fmt: skip
    if abs(offset) > CLOCK_NOTE:
        return Finding("clock", "note", f"this machine's clock is {_span(offset)} {way} that of others")
    return Finding("clock", "ok", "this machine's clock agrees with that of others")


def _router(facts: Facts) -> Finding:
    twice = _second_router(facts)
    if twice:
        return Finding(
            "router", "problem", twice,
            "put the inner router into bridge mode, or forward the port on both; with a carrier's, ask it for an "
            "address of your own, or use IPv6. Until then, links are made by punching, or through relays",
        )  # fmt: skip
    if facts.nat.mapping in (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT):
        return Finding(
            "router", "note", "the router shows everybody another port (a symmetric NAT): peers with such a router are "
            "reached through relays alone",
            "turn port mapping on in the router (UPnP, NAT-PMP, PCP), or forward this node's port",
        )  # fmt: skip
    if facts.nat.mapping is Mapping.NONE:
        return Finding("router", "ok", "no router translates this machine's address")
    if facts.nat.mapping is Mapping.ENDPOINT_INDEPENDENT:
        return Finding("router", "ok", "the router shows everybody the same port: direct links can be made through it")
    return Finding("router", "unknown", "too few nodes outside have told where they see this one")


def _second_router(facts: Facts) -> str:
    """What says that there is more than one router that translates; empty where nothing does."""
    if facts.own is not None and ipaddress.ip_address(facts.own) in CARRIER:
        return f"this machine's address {facts.own} is a carrier's: its own router translates for many customers"
    if facts.mapped is None:
        return ""
    outside = ipaddress.ip_address(facts.mapped[0])
    if outside in CARRIER:
        return f"the router's outside address {outside} is a carrier's: a second router translates once more"
    if is_exempt(facts.mapped[0]):
        return f"the router's outside address {outside} is a private one: there is a second router behind it"
    if (
        facts.public is not None
        and facts.public[0] != facts.mapped[0]
        and (":" in facts.public[0]) == (outside.version == 6)
    ):
        return f"the router says that its address is {outside}, others see {facts.public[0]}: there is a second router"
    return ""


def _reached(facts: Facts) -> Finding:
    if facts.mode == "server":
        return Finding("reached", "ok", f"others reach this node from outside ({facts.mode_reason})")
    if facts.mode_wanted == "client":
        return Finding("reached", "ok", "this node is a client by its settings: nobody need reach it")
    why = f": {facts.mapping_problem}" if facts.mapping_problem else ""
    return Finding(
        "reached", "note", f"nobody outside reaches this node ({facts.mode_reason}); it is a client{why}",
        "forward its UDP port in the router, or let the router do it on request (UPnP, NAT-PMP, PCP)",
    )  # fmt: skip


def _list(facts: Facts) -> Iterator[Finding]:
    if not facts.lists:
        return
    detail = f" ({facts.list_detail})" if facts.list_detail else ""
    if not facts.list_found:
        if facts.joined and not facts.list_detail:
            yield Finding("list", "ok", "no list of first contacts was needed")
            return
        yield Finding(
            "list", "problem", f"none of {facts.lists} sources gave a list of first contacts{detail}",
            "see whether the sources can be reached, and whether the signers are the right ones with "
            "`rookery bootstrap verify`",
        )  # fmt: skip
    elif facts.list_expired:
        yield Finding(
            "list", "problem", f"the list of first contacts is stale: it has expired{detail}",
            "its contacts are tried all the same; ask whoever signs it for a new one, or name another --bootstrap",
        )  # fmt: skip
    else:
        yield Finding("list", "ok", "the list of first contacts is verified and fresh")


def _journal(facts: Facts) -> Iterator[Finding]:
    if facts.journal_problem is not None:
        yield Finding(
            "journal", "problem", f"the journal cannot be written: {facts.journal_problem}",
            "make room on the disk, or give this user the rights to the data folder",
        )  # fmt: skip


def _record(facts: Facts) -> Iterator[Finding]:
    if facts.stored is None:
        return
    if facts.stored:
        yield Finding("record", "ok", f"{facts.stored} of {facts.asked} nodes asked hold this node's own record")
        return
    yield Finding(
        "record", "problem", f"none of {facts.asked} nodes asked holds this node's own record: peers cannot find it",
        "see the findings on UDP and the clock first; the record is published again by itself",
    )  # fmt: skip


def _local(facts: Facts) -> Iterator[Finding]:
    for problem in facts.lan_problems:
        yield Finding("local", "note", problem)


def _span(seconds: float) -> str:
    seconds = abs(seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
