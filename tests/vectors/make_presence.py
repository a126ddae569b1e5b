"""Writes the frozen vectors of gossip anew: `python tests/vectors/make_presence.py`.

Decides which beats, cards, accusations and messages are frozen. A difference means that nodes of two releases no
longer understand each other: change a vector only together with a version.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from dht.contact import Contact  # noqa: E402
from dht.identity import IdentityKey  # noqa: E402
from node.protocols import presence_wire as wire  # noqa: E402
from node.protocols.presence_beats import (  # noqa: E402
    Status,
    make_card,
    sign_accusation,
    sign_beat,
    sign_pledge,
)

NOW = 1_800_000_000
OWNER = IdentityKey.from_seed(bytes(range(32)))
NEIGHBOUR = IdentityKey.from_seed(bytes(range(32, 64)))
CONTACT = Contact(bytes(31) + b"\x01", ("192.0.2.7", 4000))
HOME = Contact(bytes(31) + b"\x02", ("2001:db8::7", 4000))


def build() -> dict[str, Any]:
    """The vectors."""
    card = make_card((CONTACT,), (HOME,), bytes(range(32)), "gone fishing", (NEIGHBOUR.public.raw,))
    empty = make_card()
    beat = sign_beat(OWNER, (NOW - 60, 9), 7, NOW, 10, Status.AWAY, 3, 2, 0, card.digest)
    left = sign_beat(OWNER, (NOW - 60, 10), 10, NOW + 5, 60, Status.OFFLINE, 65535, 1, 10, empty.digest)
    pledge = sign_pledge(OWNER, NEIGHBOUR.public.raw, NOW - 60, 7, NOW + 600, 3)
    accusation = sign_accusation(NEIGHBOUR, pledge, beat.told, NOW + 17)
    told = wire.Told(1, beat.raw, card.raw)
    messages: dict[str, wire.Message] = {
        "hello": wire.Hello(1, 3, told),
        "neighbour": wire.Neighbour(True),
        "neighbour answer": wire.NeighbourAnswer(False),
        "part": wire.Part(),
        "walk": wire.Walk(6, told),
        "shuffle": wire.Shuffle([told], True),
        "news": wire.News([told, wire.Told(2, accusation.raw)], True),
        "have": wire.Have(beat.id + accusation.id),
        "graft": wire.Graft(b""),
        "prune": wire.Prune(),
        "digest": wire.Digest(3, beat.id[3:5] + accusation.id[3:5], True),
        "seek": wire.Seek(2, OWNER.public.raw),
        "probe": wire.Probe(),
        "heartbeat": wire.Heartbeat(left.raw, b""),
        "doubt": wire.Doubt(12, OWNER.public.raw, *beat.told, accusation.raw),
        "pledged": wire.Pledged(pledge.epoch, pledge.given, pledge.until, pledge.needed, pledge.signature),
    }
    return {
        "keys": {"owner": OWNER.public.raw.hex(), "neighbour": NEIGHBOUR.public.raw.hex()},
        "cards": [
            {"what": what, "raw": one.raw.hex(), "digest": one.digest.hex()}
            for what, one in (("full", card), ("empty", empty))
        ],
        "items": [
            {"what": what, "raw": one.raw.hex(), "id": one.id.hex()}
            for what, one in (("beat", beat), ("farewell", left), ("accusation", accusation))
        ],
        "messages": [{"what": what, "raw": wire.encode(message).hex()} for what, message in messages.items()],
        "invalid": [
            {"why": why, "raw": raw.hex()}
            for why, raw in (
                ("no bytes", b""),
                ("no array", b"\x01"),
                ("a hello without its beat", b"\x93\x01\x01\x01"),
                ("a walk that is too long", wire.encode(wire.Walk(6, told)).replace(b"\x93\x05\x06", b"\x93\x05\x07")),
                ("a signature of 63 bytes", b"\x95\x0f\x01\x01\x01\xc4\x3f" + bytes(63)),
                ("half of an id is none, of the right kind", b"\x92\x07\x01"),
            )
        ],
        "unknown": [{"why": "a kind of a later time", "raw": "92630a"}],
    }


if __name__ == "__main__":
    (HERE / "presence.json").write_text(json.dumps(build(), indent=1) + "\n", encoding="utf-8")
