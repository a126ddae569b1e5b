"""Hypothesis on what strangers say in topics: a typed refusal, or a value that encodes to the same bytes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dht.errors import DecodeError
from dht.identity import IdentityKey
from dht.records import Kind, sign_record
from node.protocols.topic_mesh import Received, TopicMesh
from node.protocols.topic_messages import Hello, decode_topic_message, sign_broadcast
from node.protocols.topics import TopicKey

VECTORS: Any = json.loads((Path(__file__).parents[1] / "vectors" / "topics.json").read_text("utf-8"))
OWNER = IdentityKey.from_seed(bytes(32))
PEERS = [IdentityKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3)]
KEYS = (TopicKey.public("chess"), TopicKey("chess", True, b"s" * 32))
NOW = 1_800_000_000.0


def mutants() -> st.SearchStrategy[bytes]:
    """Frozen bytes, changed at some places, cut or made longer."""
    seeds = [bytes.fromhex(vector["hex"]) for part in ("messages", "invalid") for vector in VECTORS[part]]

    def change(drawn: tuple[bytes, list[tuple[int, int]], int, bytes]) -> bytes:
        seed, changes, cut, tail = drawn
        data = bytearray(seed)
        for at, value in changes:
            if data:
                data[at % len(data)] = value
        return bytes(data[: len(data) - cut]) + tail

    changes = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4)
    mutated = st.tuples(st.sampled_from(seeds), changes, st.integers(0, 3), st.binary(max_size=3)).map(change)
    return mutated | st.binary(max_size=200)


@given(mutants())
def test_messages(data: bytes) -> None:
    try:
        message = decode_topic_message(data)
    except DecodeError:
        return
    again = message.to_bytes()
    # What a later release appends to HELLO, and flags and reasons unknown here, are passed over.
    assert decode_topic_message(again) == message
    if not isinstance(message, Hello):
        assert len(again) == len(data)


@given(st.sampled_from(KEYS), st.binary(max_size=300))
def test_announcements(key: TopicKey, payload: bytes) -> None:
    record = sign_record(OWNER, Kind.TOPIC, payload, seq=1, expires=NOW + 60, salt=key.salt())
    with contextlib.suppress(DecodeError):
        assert key.read(record).member == OWNER.public


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), mutants(), st.floats(0, 3)), max_size=25))
def test_no_neighbour_breaks_the_mesh_and_nothing_unsigned_is_heard(said: list[tuple[int, bytes, float]]) -> None:
    mesh, now, honest = TopicMesh(OWNER, KEYS[0].tag), NOW, PEERS[0].public
    for peer in PEERS:
        mesh.add(peer.public, now)
    for who, data, pause in said:
        now += pause
        mesh.receive_message(data, PEERS[who].public, now)
        if (due := mesh.next_timer()) is not None and due <= now:
            mesh.handle_timer(now)
        while (event := mesh.next_event()) is not None:
            assert not isinstance(event, Received) or event.direct or event.data == b"hello"
    if honest not in mesh:
        mesh.add(honest, now)
    message = sign_broadcast(IdentityKey.from_seed(b"h" * 32), KEYS[0].tag, int(now * 1e6), b"still here")
    mesh.receive_message(message.to_bytes(), honest, now)
    heard = [event for event in iter(mesh.next_event, None) if isinstance(event, Received)]
    assert [event.data for event in heard] == [b"still here"]
