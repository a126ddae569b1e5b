"""What is wrong with a node's network, in words, and what to do: findings drawn from facts.

Decides what counts as a problem and what helps. Refuses to find facts out: `node_doctor.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dht.config import DhtConfig
from node.node_facts import Facts, Finding
from node.node_findings_reach import contacts, homes, ipv6, mapping, reached, router

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


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """Everything looked at, one finding each, in the order in which it should be put right."""
    return (
        _udp(facts),
        _loss(facts),
        _clock(facts),
        router(facts),
        reached(facts),
        *mapping(facts),
        ipv6(facts),
        *homes(facts),
        *contacts(facts),
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
