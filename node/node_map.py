"""A map of the network: who is in it, who answers how fast; written as JSON, CSV and a picture, and read back to go on.

Decides what a map says and how it is written. Refuses to know how the network was asked.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

from dht.constants import ID_SPACE
from dht.contact import Contact, parse_contact
from dht.errors import LocalError

FORMAT: Final = 1
"""Version of the JSON form."""

COLUMNS: Final = ("contact", "key", "host", "port", "id", "state", "rtt_ms", "named", "named_by")
"""Columns of the CSV form."""

STATES: Final = ("answered", "silent", "unasked")

SIZE: Final = 900
"""Width and height of the picture, in its own units."""

COLOURS: Final = {"answered": "#1b7f79", "silent": "#c8453b", "unasked": "#9a9a9a"}

SLOWEST: Final = 3.0
"""Seconds of round trip at the rim of the picture."""


@dataclass(frozen=True, slots=True)
class CrawledNode:
    """One node of the map."""

    contact: Contact
    state: str
    """answered, silent, or unasked (the crawl was stopped before it had been asked everything)."""
    rtt: float | None = None
    """Round trip of its first answer, seconds."""
    named: int = 0
    """Nodes that it was the first to name."""
    named_by: int = 0
    """Nodes that named it."""


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
    def complete(self) -> bool:
        """Whether everybody heard of was asked."""
        return not any(node.state == "unasked" for node in self.nodes)

    def count(self, state: str) -> int:
        """How many nodes are in that state."""
        return sum(node.state == state for node in self.nodes)

    def summary(self) -> dict[str, Any]:
        """The figures of the map."""
        rtts = sorted(node.rtt for node in self.nodes if node.rtt is not None)
        return {
            "network": self.network,
            "nodes": len(self.nodes),
            **{state: self.count(state) for state in STATES},
            "complete": self.complete,
            "networks": len({node.contact.prefix for node in self.nodes if node.state == "answered"}),
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
                "contact": node.contact.text,
                "id": node.contact.id.hex(),
                "state": node.state,
                "rtt": node.rtt,
                "named": node.named,
                "named_by": node.named_by,
            }
            for node in found.nodes
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def from_json(text: str) -> NetworkMap:
    """Read a map. Raises `LocalError` that says what is wrong with it."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise LocalError(f"this map has format {document['format']!r}, expected {FORMAT}")
        nodes = tuple(
            CrawledNode(
                parse_contact(each["contact"]),
                _state(each["state"]),
                None if each["rtt"] is None else float(each["rtt"]),
                int(each["named"]),
                int(each["named_by"]),
            )
            for each in document["nodes"]
        )
        return NetworkMap(
            str(document["network"]),
            float(document["started"]),
            float(document["seconds"]),
            int(document["requests"]),
            nodes,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LocalError(f"this is no map of a network: {type(error).__name__} {error}") from None


def _state(text: object) -> str:
    if text not in STATES:
        raise ValueError(f"a node is {text!r}, expected {', '.join(STATES)}")
    return str(text)


def to_csv(found: NetworkMap) -> str:
    """The map as a table, one node a row."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for node in found.nodes:
        contact = node.contact
        rtt = "" if node.rtt is None else f"{node.rtt * 1000:.1f}"
        key = contact.text.partition("@")[0]
        table.writerow(
            (contact.text, key, contact.ip, contact.port, contact.id.hex(), node.state, rtt, node.named, node.named_by)
        )
    return out.getvalue()


def to_svg(found: NetworkMap) -> str:
    """The map as a picture: the angle is a node's place among the ids, the distance from the middle its round trip (on
    a logarithmic scale), the colour whether it answered. Needs no library."""
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
    lines += [_dot(node, middle, size) for node in found.nodes]
    lines += list(_legend(found))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _dot(node: CrawledNode, middle: float, size: float) -> str:
    angle = 2 * math.pi * (node.contact.long_id / ID_SPACE)
    radius = _radius(SLOWEST if node.rtt is None else node.rtt)
    if node.state == "unasked":
        radius += 12
    x, y = middle + radius * math.sin(angle), middle - radius * math.cos(angle)
    title = escape(node.contact.text)
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" fill="{COLOURS[node.state]}"><title>{title}</title></circle>'
    )


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
    yield f'<text x="14" y="{SIZE + 46}" fill="#555555">{escape(told)}</text>'
