"""A map of the network: who is in it, who answers how fast; written as JSON, CSV and a picture, and read back to go on.

Decides what a map says and how it is written. Refuses to know how the network was asked.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

from dht.constants import ID_SPACE
from dht.contact import Contact, parse_contact
from dht.errors import LocalError

FORMAT: Final = 2
"""Version of the JSON form. Of the first one, which knew one address of a node, maps are still read."""

COLUMNS: Final = ("contact", "key", "host", "port", "family", "id", "state", "rtt_ms", "named", "named_by")
"""Columns of the CSV form."""

STATES: Final = ("answered", "silent", "unasked")

SIZE: Final = 900
"""Width and height of the picture, in its own units."""

COLOURS: Final = {"answered": "#1b7f79", "silent": "#c8453b", "unasked": "#9a9a9a"}

SLOWEST: Final = 3.0
"""Seconds of round trip at the rim of the picture."""


@dataclass(frozen=True, slots=True)
class CrawledAddress:
    """An address at which a node was heard of: it has a place, neighbours and a round trip of its own."""

    contact: Contact
    state: str
    """answered, silent, or unasked (it was stopped before this had been asked everything, or cannot get there)."""
    rtt: float | None = None
    """Round trip of its first answer, seconds."""
    named: int = 0
    """Nodes that it was the first to name."""
    named_by: int = 0
    """Nodes that named it."""

    @property
    def ipv6(self) -> bool:
        """Of which family it is."""
        return ":" in self.contact.ip

    @property
    def family(self) -> str:
        """The same in words."""
        return "IPv6" if self.ipv6 else "IPv4"


@dataclass(frozen=True, slots=True)
class CrawledNode:
    """One node of the map, at the one or two addresses at which it was heard of, IPv4 first."""

    addresses: tuple[CrawledAddress, ...]

    @property
    def key(self) -> bytes:
        """Its node key."""
        return self.addresses[0].contact.key

    @property
    def state(self) -> str:
        """answered, where it did so at any address; else silent, where it was asked at any."""
        return min((one.state for one in self.addresses), key=STATES.index)

    @property
    def rtt(self) -> float | None:
        """The shorter round trip, seconds."""
        return min((one.rtt for one in self.addresses if one.rtt is not None), default=None)

    def answered_over(self, *, ipv6: bool) -> bool:
        """Whether it answered at an address of that family."""
        return any(one.state == "answered" and one.ipv6 is ipv6 for one in self.addresses)


def gathered(addresses: Iterable[CrawledAddress]) -> tuple[CrawledNode, ...]:
    """The nodes that have these addresses, by the ids of their first ones. Of two of one family the later counts."""
    nodes: dict[bytes, dict[bool, CrawledAddress]] = {}
    for one in addresses:
        nodes.setdefault(one.contact.key, {})[one.ipv6] = one
    found = [CrawledNode(tuple(each[ipv6] for ipv6 in sorted(each))) for each in nodes.values()]
    return tuple(sorted(found, key=lambda node: node.addresses[0].contact.long_id))


@dataclass(frozen=True, slots=True)
class NetworkMap:
    """What a crawl found."""

    network: str
    started: float
    """Unix seconds."""
    seconds: float
    requests: int
    nodes: tuple[CrawledNode, ...]

    @property
    def addresses(self) -> tuple[CrawledAddress, ...]:
        """All addresses of all nodes."""
        return tuple(one for node in self.nodes for one in node.addresses)

    @property
    def complete(self) -> bool:
        """Whether everybody heard of was asked, at each address."""
        return not any(one.state == "unasked" for one in self.addresses)

    def count(self, state: str) -> int:
        """How many nodes are in that state."""
        return sum(node.state == state for node in self.nodes)

    def summary(self) -> dict[str, Any]:
        """The figures of the map."""
        rtts = sorted(node.rtt for node in self.nodes if node.rtt is not None)
        over = [(node.answered_over(ipv6=False), node.answered_over(ipv6=True)) for node in self.nodes]
        return {
            "network": self.network,
            "nodes": len(self.nodes),
            **{state: self.count(state) for state in STATES},
            "complete": self.complete,
            "ipv4_only": over.count((True, False)),
            "ipv6_only": over.count((False, True)),
            "both_families": over.count((True, True)),
            "networks": len({one.contact.prefix for one in self.addresses if one.state == "answered"}),
            "median_rtt": rtts[len(rtts) // 2] if rtts else None,
            "p95_rtt": rtts[min(len(rtts) - 1, len(rtts) * 95 // 100)] if rtts else None,
            "requests": self.requests,
            "seconds": self.seconds,
        }


def to_json(found: NetworkMap) -> str:
    """The map as one document, which `from_json` reads back."""
    document = {
        "format": FORMAT,
        "network": found.network,
        "started": found.started,
        "seconds": found.seconds,
        "requests": found.requests,
        "complete": found.complete,
        "nodes": [
            {
                "key": _key(node.addresses[0]),
                "state": node.state,
                "addresses": [
                    {
                        "contact": one.contact.text,
                        "id": one.contact.id.hex(),
                        "state": one.state,
                        "rtt": one.rtt,
                        "named": one.named,
                        "named_by": one.named_by,
                    }
                    for one in node.addresses
                ],
            }
            for node in found.nodes
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def from_json(text: str) -> NetworkMap:
    """Read a map. Raises `LocalError` that says what is wrong with it."""
    try:
        document = json.loads(text)
        if document["format"] not in (1, FORMAT):
            raise LocalError(f"this map has format {document['format']!r}, expected {FORMAT}")
        nodes = document["nodes"]
        addresses = nodes if document["format"] == 1 else [one for node in nodes for one in node["addresses"]]
        return NetworkMap(
            str(document["network"]),
            float(document["started"]),
            float(document["seconds"]),
            int(document["requests"]),
            gathered(map(_address, addresses)),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LocalError(f"this is no map of a network: {type(error).__name__} {error}") from None


def _address(said: dict[str, Any]) -> CrawledAddress:
    return CrawledAddress(
        parse_contact(said["contact"]),
        _state(said["state"]),
        None if said["rtt"] is None else float(said["rtt"]),
        int(said["named"]),
        int(said["named_by"]),
    )


def _key(one: CrawledAddress) -> str:
    return one.contact.text.partition("@")[0]


def _state(text: object) -> str:
    if text not in STATES:
        raise ValueError(f"a node is {text!r}, expected {', '.join(STATES)}")
    return str(text)


def to_csv(found: NetworkMap) -> str:
    """The map as a table, an address a row; the two of a node have one key, and stand together."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for one in found.addresses:
        contact = one.contact
        rtt = "" if one.rtt is None else f"{one.rtt * 1000:.1f}"
        where = (contact.text, _key(one), contact.ip, contact.port, one.family, contact.id.hex())
        table.writerow((*where, one.state, rtt, one.named, one.named_by))
    return out.getvalue()


def to_svg(found: NetworkMap) -> str:
    """The map as a picture: the angle is a node's place among the ids, the distance from the middle its round trip (on
    a logarithmic scale), the colour whether it answered. Round is an IPv4 address, square one of IPv6; a line joins the
    two of a node. Needs no library."""
    middle = SIZE / 2
    box = f'viewBox="0 0 {SIZE} {SIZE + 60}" font-family="sans-serif" font-size="15"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
        f'<rect width="{SIZE}" height="{SIZE + 60}" fill="#ffffff"/>',
    ]
    for rtt in (0.001, 0.01, 0.1, 1.0):
        radius = _radius(rtt)
        lines.append(f'<circle cx="{middle}" cy="{middle}" r="{radius:.1f}" fill="none" stroke="#dddddd"/>')
        lines.append(f'<text x="{middle + 4}" y="{middle - radius - 3:.1f}" fill="#888888">{rtt * 1000:g} ms</text>')
    size = max(1.2, min(5.0, 160 / math.sqrt(len(found.nodes) or 1)))
    lines += [_line(node, middle) for node in found.nodes if len(node.addresses) > 1]
    lines += [_dot(one, middle, size) for one in found.addresses]
    lines += list(_legend(found))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _at(one: CrawledAddress, middle: float) -> tuple[float, float]:
    angle = 2 * math.pi * (one.contact.long_id / ID_SPACE)
    radius = _radius(SLOWEST if one.rtt is None else one.rtt)
    if one.state == "unasked":
        radius += 12
    return middle + radius * math.sin(angle), middle - radius * math.cos(angle)


def _line(node: CrawledNode, middle: float) -> str:
    (x1, y1), (x2, y2) = (_at(one, middle) for one in node.addresses)
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#b9c9d9" stroke-width="0.5"/>'


def _dot(one: CrawledAddress, middle: float, size: float) -> str:
    x, y = _at(one, middle)
    title = f'fill="{COLOURS[one.state]}"><title>{escape(one.contact.text)}</title>'
    if one.ipv6:
        x, y = x - size, y - size
        return f'<rect x="{x:.1f}" y="{y:.1f}" width="{2 * size:.1f}" height="{2 * size:.1f}" {title}</rect>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" {title}</circle>'


def _radius(rtt: float) -> float:
    share = math.log10(min(max(rtt, 0.0003), SLOWEST) / 0.0003) / math.log10(SLOWEST / 0.0003)
    return 20 + share * (SIZE / 2 - 50)


def _legend(found: NetworkMap) -> Iterator[str]:
    x = 20
    for state in STATES:
        count = found.count(state)
        if count:
            yield f'<circle cx="{x}" cy="{SIZE + 15}" r="6" fill="{COLOURS[state]}"/>'
            yield f'<text x="{x + 12}" y="{SIZE + 20}">{count:,} {state}</text>'
            x += 180
    told = f"network {found.network}: {len(found.nodes):,} nodes by id (angle) and round trip (distance)"
    if any(one.ipv6 for one in found.addresses):
        told += "; IPv4 round, IPv6 square"
    yield f'<text x="14" y="{SIZE + 46}" fill="#555555">{escape(told)}</text>'
