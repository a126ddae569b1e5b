"""What the router means for who can reach a node, and who stands in where nobody can: findings drawn from facts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from dht.config import DhtConfig
from dht.identity import is_exempt
from dht.nat_report import Filtering, Mapping
from node.node_facts import Facts, Finding

CARRIER: Final = ipaddress.ip_network("100.64.0.0/10")
"""Addresses between a carrier's routers and its customers (RFC 6598)."""

FEW: Final = 8
"""Contacts below which a network is small, or little of it is seen. UNSOURCED: fewer than a look-up asks at once."""

SYMMETRIC: Final = (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT)


def router(facts: Facts) -> Finding:
    """Which kind of router stands before this node, and what that means for who can reach it."""
    twice = _second_router(facts)
    if twice:
        return Finding(
            "router", "problem", twice,
            "put the inner router into bridge mode, or forward the port on both; with a carrier's, ask it for an "
            "address of your own, or use IPv6. Until then, links are made by punching, or through relays",
        )  # fmt: skip
    kind, open_to_all = facts.nat.mapping, 4 in facts.reached_over
    if kind in SYMMETRIC:
        return Finding(
            "router", "note", "the router shows everybody another port (a symmetric NAT): links are direct with peers "
            "whose router shows everybody one port; peers with such a router are reached through relays alone",
            "turn port mapping on in the router (UPnP, NAT-PMP, PCP), or forward this node's port",
        )  # fmt: skip
    if kind is Mapping.NONE:
        who = _who(facts, open_to_all, "its firewall")
        return Finding("router", "ok", f"no router translates this machine's address{who}")
    if kind is Mapping.ENDPOINT_INDEPENDENT:
        who = _who(facts, open_to_all, "it")
        return Finding("router", "ok", f"the router shows everybody the same port{who}")
    return Finding("router", "unknown", "too few nodes outside have told where they see this one")


def _who(facts: Facts, open_to_all: bool, guard: str) -> str:
    """Who gets through to a node whose endpoint everybody can know."""
    filtering = facts.nat.filtering
    if open_to_all or filtering is Filtering.ENDPOINT_INDEPENDENT:
        return ", and anybody gets in (a full cone, or a forwarded port): every peer reaches this node directly"
    if filtering is Filtering.UNKNOWN and facts.mode_wanted == "client":
        return ": direct links can be made through it"
    by = " at that address and port" if filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT else ""
    return (
        f", and {guard} lets in whom this node has written to{by} (a restricted cone): "
        "direct links are made with every peer, by both sending at once, but nobody unknown gets in"
    )


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


def reached(facts: Facts) -> Finding:
    """Whether others reach this node from outside."""
    if facts.mode == "server":
        return Finding("reached", "ok", f"others reach this node from outside ({facts.mode_reason})")
    if facts.mode_wanted == "client":
        return Finding("reached", "ok", "this node is a client by its settings: nobody need reach it")
    why = f": {facts.mapping_problem}" if facts.mapping_problem else ""
    return Finding(
        "reached", "note", f"nobody outside reaches this node ({facts.mode_reason}); it is a client{why}",
        "forward its UDP port in the router, or let the router do it on request (UPnP, NAT-PMP, PCP)",
    )  # fmt: skip


def mapping(facts: Facts) -> Iterator[Finding]:
    """Whether the router gave a port."""
    if not facts.mapping_asked:
        return
    if facts.mapped is not None:
        yield Finding("mapping", "ok", f"the router forwards {facts.mapped[0]} port {facts.mapped[1]} to this node")
    elif not facts.mapping_problem:
        yield Finding("mapping", "unknown", "the router has not answered yet whether it forwards a port")
    elif 4 in facts.reached_over:
        yield Finding(
            "mapping", "ok", f"no port was mapped ({facts.mapping_problem}), nor is one needed: others get in"
        )
    else:
        yield Finding(
            "mapping", "note", f"the router maps no port: {facts.mapping_problem}",
            "turn UPnP, NAT-PMP or PCP on in the router, or forward this node's UDP port by hand",
        )  # fmt: skip


def ipv6(facts: Facts) -> Finding:
    """Whether there is IPv6, and whether the firewall has a pinhole."""
    if ":" not in facts.listen:
        return Finding(
            "ipv6", "note", f"this node listens on {facts.listen}, which is IPv4 alone",
            "set listen to ::, which takes both families, unless this was meant",
        )  # fmt: skip
    if not facts.ipv6:
        return Finding(
            "ipv6", "note", "no way out by IPv6: peers that have nothing else are reached through others",
            "turn IPv6 on in the router, or ask the provider for it: it needs no translation",
        )  # fmt: skip
    if 6 in facts.reached_over:
        return Finding("ipv6", "ok", "others reach this node over IPv6")
    if facts.mode_wanted == "client":
        return Finding("ipv6", "ok", "this machine gets out by IPv6")
    if facts.mapped_v6 is not None:
        return Finding("ipv6", "note", "the router opened a pinhole for IPv6, but nobody has got through it so far")
    if not facts.joined:
        return Finding(
            "ipv6", "unknown", "this machine has IPv6, and nobody outside was there to tell whether they get in"
        )
    why = f" ({facts.mapping_problem_v6})" if facts.mapping_problem_v6 else ""
    return Finding(
        "ipv6", "note",
        f"IPv6 gets out, but nobody outside has got in by it: no node tried, or the firewall has no pinhole{why}",
        "allow this node's UDP port for IPv6 in the router's firewall, or let it open pinholes on request (PCP)",
    )  # fmt: skip


def homes(facts: Facts) -> Iterator[Finding]:
    """Whether enough nodes forward calls to one that is not reached."""
    if not facts.joined or facts.mode == "server":
        return
    wanted = DhtConfig().homes
    if facts.homes >= wanted:
        yield Finding("homes", "ok", f"{facts.homes} home nodes forward calls to this node")
    elif facts.homes:
        yield Finding(
            "homes", "note", f"{facts.homes} of {wanted} home nodes forward calls to this node: fewer may die",
            "nothing, if it has just started or the network is small; else see the findings on loss and the router",
        )  # fmt: skip
    else:
        yield Finding(
            "homes", "problem", "no home node forwards calls to this node: nobody can call it",
            "see the findings on UDP, loss and the clock; where all others are clients, somebody has to be reachable",
        )  # fmt: skip


def contacts(facts: Facts) -> Iterator[Finding]:
    """Whether enough of the network is seen."""
    if not facts.joined or not facts.contacts:
        return  # the finding on UDP tells
    if facts.contacts >= FEW:
        yield Finding("contacts", "ok", f"{facts.contacts} nodes are known")
        return
    yield Finding(
        "contacts", "note", f"only {facts.contacts} nodes are known: the network is small, or little of it is seen",
        "name further first contacts with --contact or --bootstrap, unless the network is as small as that",
    )  # fmt: skip
