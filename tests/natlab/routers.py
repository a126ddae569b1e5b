"""Routers: what makes Linux forward as each kind of address translator does.

Decides the rules of nftables for a kind that `simulations.nat_kinds` describes, in one table that replaces whatever was
there. The kernel's own masquerading is port-restricted; the other kinds are made of it and of two things that it
learns from packets going out: which inside host has which outside port, and to whom it has written from there. Refuses
to know where routers stand and what is wired to them.

What this kernel cannot do: choose a random outside port once for all of a socket's peers. Carriers therefore keep the
inside port, as boxes at home do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from simulations.nat_kinds import NatKind, Scope

MEMORY: Final = "5m"
"""How long what was learned is kept. UNSOURCED: longer than any test."""

SEQUENCE: Final = (40000, 4096)
"""First port and count of ports that a sequential translator gives out, in turn. UNSOURCED"""

TABLE: Final = "natlab"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one router treats what passes it."""

    kind: NatKind
    wan: str
    """Its outside IPv4 address; empty without IPv4."""
    inside: str
    """Inside IPv4 network; empty without IPv4."""
    isolates: bool = False
    """Whether inside hosts cannot reach each other by their inside addresses, as in guests' networks."""
    udp_blocked: bool = False
    """Drop every UDP packet that comes from outside or goes there, over and above what the kind does."""


def rules(behaviour: Behaviour) -> str:
    """The input of `nft -f` that makes a router behave so. Interfaces are `wan` outside and `lan*` inside."""
    lines = [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    if behaviour.kind.translates and behaviour.wan:
        lines += _translation(behaviour)
    lines += _filter(behaviour)
    lines += _input()
    return "\n".join([*lines, "}"]) + "\n"


def _translation(behaviour: Behaviour) -> list[str]:
    kind, wan = behaviour.kind, behaviour.wan
    ours = f'ip saddr {behaviour.inside} oifname "wan"'
    learns = kind.mapping is Scope.ENDPOINT_INDEPENDENT and kind.filtering is not Scope.ADDRESS_AND_PORT
    pre, post, learn, sets = list[str](), list[str](), list[str](), list[str]()
    if kind.mapping is Scope.ENDPOINT_INDEPENDENT:
        # Without `random` Linux keeps the source port if it is free, towards everybody.
        post += [f"{ours} masquerade"]
    elif kind.ports == "sequential":
        first, count = SEQUENCE
        ports = ", ".join(f"{number} : {first + number}" for number in range(count))
        post += [f"{ours} meta l4proto {{ tcp, udp }} snat ip to {wan} : numgen inc mod {count} map {{ {ports} }}"]
        post += [f"{ours} masquerade"]
    else:
        post += [f"{ours} meta l4proto {{ tcp, udp }} masquerade fully-random", f"{ours} masquerade"]
    if learns:
        sets += [f"map holders {{ typeof udp dport : ip saddr; flags dynamic,timeout; timeout {MEMORY}; size 65536; }}"]
        learn += [f"{ours} meta l4proto udp update @holders {{ udp sport : ip saddr }}"]
        known = ""
        if kind.filtering is Scope.ADDRESS:
            sets += [
                f"set written {{ typeof ip saddr . udp dport; flags dynamic,timeout; timeout {MEMORY}; size 65536; }}"
            ]
            learn += [f"{ours} meta l4proto udp update @written {{ ip daddr . udp sport }}"]
            known = "ip saddr . udp dport @written "
        pre += [f'iifname "wan" ip daddr {wan} meta l4proto udp {known}dnat ip to udp dport map @holders']
        if kind.hairpin:
            pre += [f'iifname "lan*" ip daddr {wan} meta l4proto udp dnat ip to udp dport map @holders']
            post += [f'iifname "lan*" oifname "lan*" ip saddr {behaviour.inside} ct status dnat snat ip to {wan}']
    return [
        *sets,
        *_chain("before", "type nat hook prerouting priority dstnat; policy accept;", pre),
        *_chain("after", "type nat hook postrouting priority srcnat; policy accept;", post),
        *_chain("learn", "type filter hook forward priority -10; policy accept;", learn),
    ]


def _filter(behaviour: Behaviour) -> list[str]:
    kind = behaviour.kind
    # What stays inside never passes an office's firewall.
    blocked = [f'{way} "wan" meta l4proto udp drop' for way in ("iifname", "oifname")]
    blocked = blocked if kind.blocks or behaviour.udp_blocked else []
    apart = ['iifname "lan*" oifname "lan*" ct status dnat accept', 'iifname "lan*" oifname "lan*" drop']
    passes = [
        *blocked,
        # Without these a host behind it learns of no path that takes smaller packets (RFC 4890 section 4.3.1).
        "icmpv6 type { packet-too-big, time-exceeded } accept",
        "ct state established,related accept",
        *(apart if behaviour.isolates else []),
        'iifname "lan*" accept',
        "ct status dnat accept",
    ]
    return _chain("passing", "type filter hook forward priority 0; policy drop;", passes)


def _input() -> list[str]:
    # A home router drops what nobody asked for. Were it accepted, the entry it leaves in the connection table would
    # take the port, and the mapping of a later packet going out would be moved to another one.
    asked = [
        'iifname "wan" ct state established,related accept',
        'iifname "wan" icmp type echo-request accept',
        'iifname "wan" icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept',
        'iifname "wan" drop',
    ]
    return _chain("to-itself", "type filter hook input priority 0; policy accept;", asked)


def _chain(name: str, head: str, lines: list[str]) -> list[str]:
    return [f"chain {name} {{", head, *lines, "}"]
