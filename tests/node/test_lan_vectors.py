"""The frozen announcements and queries of the local network."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from dht.errors import BoxError
from dht.identity import PublicKey
from node.protocols.lan_beacon import Announcement, LanKeys, Query, decode_message, from_datagram, from_txt, unseal

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
VECTORS = json.loads((FOLDER / "lan.json").read_text("utf-8"))
MAIN, PRIVATE = LanKeys(b""), LanKeys(bytes.fromhex(VECTORS["network_secret"]))
OWNER = PublicKey(bytes.fromhex(VECTORS["identity"]))


def test_the_file_is_what_the_code_writes() -> None:
    assert runpy.run_path(str(FOLDER / "make_lan.py"))["build"]() == VECTORS


@pytest.mark.parametrize(
    ("part", "keys", "key"),
    [
        ("announcements", MAIN, MAIN.network),
        ("private", PRIVATE, PRIVATE.network),
        ("known_only", MAIN, MAIN.of_peer(OWNER)),
    ],
)
def test_announcements_say_what_they_said(part: str, keys: LanKeys, key: bytes) -> None:
    for vector in VECTORS[part]:
        sealed = from_datagram(bytes.fromhex(vector["datagram"]))
        properties = {name.encode(): bytes.fromhex(value) for name, value in vector["txt"].items()}
        assert from_txt(dict(properties)) == sealed
        said = decode_message(unseal(sealed, key), sealed[:24], keys)
        assert isinstance(said, Announcement)
        assert said.identity == OWNER
        assert said.node_key.hex() == VECTORS["node_key"]
        assert (said.port, said.interval, said.ips[0]) == (7716, 60, "192.168.1.7")
        assert said.leaving is (vector["what"] == "a goodbye")
        assert said.time // 1000 == VECTORS["now"]
        with pytest.raises(BoxError):
            unseal(sealed, LanKeys(b"x" * 32).network)


def test_queries_name_whom_they_are_for_to_who_knows_it() -> None:
    for vector in VECTORS["queries"]:
        sealed = from_datagram(bytes.fromhex(vector["datagram"]))
        query = decode_message(unseal(sealed, MAIN.network), sealed[:24], MAIN)
        assert isinstance(query, Query)
        assert query.for_all is (vector["what"] == "for everybody")
        assert query.is_for(OWNER) is (vector["what"] == "for the owner")
