"""Writes the frozen announcements and queries of the local network anew: `python tests/vectors/make_lan.py`.

`tests/node/test_lan_vectors.py` fails where the file differs. A difference means that nodes of two releases no longer
find each other: change it only together with a version number.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from dht.identity import IdentityKey, NodeKey  # noqa: E402
from node.protocols.lan_beacon import (  # noqa: E402
    Announcement,
    LanKeys,
    seal_announcement,
    seal_query,
    to_datagram,
    to_txt,
)

NOW = 1_800_000_000
OWNER = IdentityKey.from_seed(bytes(range(32)))
NODE = NodeKey.from_secret(bytes(range(64, 96)))
SECRET = bytes(range(32))


def build() -> dict[str, Any]:
    """What is frozen."""
    rng = random.Random(6762)
    main, private = LanKeys(b""), LanKeys(SECRET)
    said = Announcement(OWNER.public, NODE.public, 7716, ("192.168.1.7", "fd00::7"), SECRET, NOW * 1000, 60)
    leaving = Announcement(OWNER.public, NODE.public, 7716, ("192.168.1.7",), b"", NOW * 1000 + 1, 60, leaving=True)

    def entry(what: str, one: Announcement, keys: LanKeys, *, known_only: bool = False) -> dict[str, Any]:
        sealed = seal_announcement(one, OWNER, keys, rng, known_only=known_only)
        txt = {key: value.hex() for key, value in to_txt(sealed).items()}
        return {"what": what, "datagram": to_datagram(sealed).hex(), "txt": txt}

    def query(what: str, keys: LanKeys, *, owner: bool) -> dict[str, Any]:
        return {"what": what, "datagram": to_datagram(seal_query(OWNER.public if owner else None, keys, rng)).hex()}

    return {
        "source": "make_lan.py; the layout is in docs/discovery-lan.md",
        "now": NOW,
        "identity": OWNER.public.raw.hex(),
        "node_key": NODE.public.hex(),
        "network_secret": SECRET.hex(),
        "announcements": [entry("of the main network", said, main), entry("a goodbye", leaving, main)],
        "private": [entry("of a private network", said, private)],
        "known_only": [entry("for who knows the identity", said, main, known_only=True)],
        "queries": [query("for everybody", main, owner=False), query("for the owner", main, owner=True)],
    }


def main() -> None:
    """Write it."""
    (HERE / "lan.json").write_text(json.dumps(build(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
