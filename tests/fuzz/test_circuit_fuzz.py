"""Hypothesis on the decoders of circuits: a typed refusal, or a value that encodes to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dht.errors import DecodeError
from dht.identity import IdentityKey
from node.protocols.circuit import RelayRefusal, decode_circuit_message
from node.protocols.circuit_relays import ProposedRelay, RelayAnnouncement

VECTORS: Any = json.loads((Path(__file__).parents[1] / "vectors" / "circuits.json").read_text())
OWNER = IdentityKey.from_seed(bytes(32)).public


def mutants(*parts: str) -> st.SearchStrategy[bytes]:
    """Frozen bytes, changed at some places, cut or made longer."""
    seeds = [bytes.fromhex(vector["hex"]) for part in parts for vector in VECTORS[part]]

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


@given(mutants("messages", "invalid"))
def test_messages(data: bytes) -> None:
    try:
        message = decode_circuit_message(data)
    except DecodeError:
        return
    if getattr(message, "reason", None) is not RelayRefusal.UNSPECIFIED:
        assert message.to_bytes() == data


@given(mutants("proposed", "proposed_invalid"))
def test_proposed_relays(data: bytes) -> None:
    try:
        said = ProposedRelay.from_bytes(data)
    except DecodeError:
        return
    assert said.to_bytes() == data


@given(
    st.binary(max_size=200) | st.integers(0, 300).map(lambda cut: bytes.fromhex(VECTORS["announcement"]["hex"])[:cut])
)
def test_announcements(data: bytes) -> None:
    try:
        said = RelayAnnouncement.from_bytes(data, OWNER)
    except DecodeError:
        return
    assert RelayAnnouncement.from_bytes(said.to_bytes(), OWNER).load == said.load
