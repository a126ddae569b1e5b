"""Writes the frozen vectors of topics anew: `python tests/vectors/make_topics.py`.

Everything in it is fixed, so the same code gives the same bytes; `tests/node/test_topic_frozen.py` fails where the file
differs. A difference means that nodes of two releases no longer understand each other.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from dht.identity import IdentityKey  # noqa: E402
from node.protocols.topic_messages import (  # noqa: E402
    Broadcast,
    Direct,
    Have,
    Hello,
    HelloFlags,
    Leave,
    Members,
    Prune,
    Refused,
    TopicMessage,
    TopicRefusal,
    Want,
    sign_broadcast,
)
from node.protocols.topics import AnnouncementFlags, TopicKey  # noqa: E402

NOW = 1_800_000_000
ALICE = IdentityKey.from_seed(bytes(range(32)))
BOB = IdentityKey.from_seed(bytes(range(32, 64)))
ONE_OFF = IdentityKey.from_seed(bytes(range(64, 96)))
NONCE = bytes(range(24))
ID = ALICE.public.raw + (NOW * 1_000_000).to_bytes(8, "big")


def topics() -> dict[str, TopicKey]:
    """A public topic, and a private one of the same name."""
    return {"public": TopicKey.public("chess"), "private": TopicKey.private("chess", "knights only")}


def announcements() -> list[dict[str, Any]]:
    """Of each topic: one at its first place, one that leaves at a further place."""
    made = []
    for kind, key in topics().items():
        owner = ONE_OFF if key.is_private else ALICE
        for flags, shard in ((AnnouncementFlags(0), 0), (AnnouncementFlags.LEAVING, key.shard_of(owner.public.raw))):
            record = key.announce(ALICE, owner, flags, shard=shard, seq=7, expires=NOW + 60, nonce=NONCE)
            made.append(
                {"topic": kind, "shard": shard, "flags": int(flags), "record": record.raw.hex()}
                | {"place": record.place.hex(), "member": ALICE.public.raw.hex()}
            )
    return made


def messages() -> list[tuple[str, TopicMessage]]:
    """One or more of each kind."""
    key = topics()["public"]
    said = sign_broadcast(ALICE, key.tag, NOW * 1_000_000, b"hello")
    record = bytes.fromhex(announcements()[0]["record"])
    return [
        ("HELLO", Hello(key.proof(ALICE.public, BOB.public, answering=False), "game/1", 3, HelloFlags.NEEDY)),
        ("WELCOME", Hello(key.proof(ALICE.public, BOB.public, answering=True), "game/1", 4, answers=True)),
        ("REFUSED", Refused(TopicRefusal.FULL, (record,))),
        ("REFUSED", Refused(TopicRefusal.NOT_MEMBER)),
        ("DIRECT", Direct(b"to you")),
        ("DIRECT", Direct(b"")),
        ("BROADCAST", said),
        ("BROADCAST", Broadcast(said.author, said.number, said.signature, said.data, 2)),
        ("HAVE", Have((ID,))),
        ("WANT", Want((ID, ID[:-1] + b"\xff"))),
        ("PRUNE", Prune()),
        ("MEMBERS", Members((record,))),
        ("LEAVE", Leave(TopicRefusal.MADE_ROOM)),
    ]


INVALID = {
    "nothing": "",
    "kind 0": "00",
    "kind 11": "0b",
    "HELLO cut short": "0101" + "00" * 30,
    "HELLO of version 2": "0102" + "00" * 36,
    "an app's name of 65 bytes": "0101" + "00" * 32 + "0000" + "00" + "41" + "61" * 65,
    "an app's name that is not UTF-8": "0101" + "00" * 32 + "0000" + "00" + "01ff",
    "an app's name that steers a terminal": "0101" + "00" * 32 + "0000" + "00" + "011b",
    "REFUSED without a reason": "03",
    "9 announcements": "0302" + "09" + "000161" * 9,
    "an announcement cut short": "0901" + "0005" + "61",
    "an announcement of nothing": "0901" + "0000",
    "something behind the announcements": "0901" + "000161" + "62",
    "BROADCAST cut short": "05" + "00" * 104,
    "an author that is a point of small order": "05" + "00" + "01" + "00" * 31 + "00" * 72,
    "HAVE of nothing": "06",
    "WANT of 39 bytes": "07" + "00" * 39,
    "65 ids": "06" + "00" * 40 * 65,
    "PRUNE with something behind it": "0800",
    "LEAVE without a reason": "0a",
}


def build() -> dict[str, Any]:
    """The file's content."""
    return {
        "source": "make_topics.py; the layout is in docs/topics.md",
        "now": NOW,
        "name": "chess",
        "secret": "knights only",
        "alice": ALICE.seed.hex(),
        "bob": BOB.public.raw.hex(),
        "one_off": ONE_OFF.seed.hex(),
        "topics": [
            {"topic": kind, "tag": key.tag.hex(), "place": key.place().hex(), "further": key.place(1).hex()}
            for kind, key in topics().items()
        ],
        "announcements": announcements(),
        "messages": [{"kind": kind, "hex": message.to_bytes().hex()} for kind, message in messages()],
        "invalid": [{"what": what, "hex": text} for what, text in INVALID.items()],
    }


def main() -> None:
    """Write the file."""
    text = json.dumps(build(), indent=1, ensure_ascii=False) + "\n"
    (HERE / "topics.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
