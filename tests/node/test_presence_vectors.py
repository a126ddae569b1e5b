"""The frozen bytes of gossip, and whatever else may come in their place."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.errors import DecodeError
from dht.identity import IdentityKey
from node.protocols import presence_wire as wire
from node.protocols.presence import Presence
from node.protocols.presence_beats import Verdicts, decode_card, decode_item
from node.protocols.presence_ground import PresenceSettings
from tests.vectors.make_presence import build

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "presence.json").read_text())
SEEDS = [bytes.fromhex(one["raw"]) for part in ("messages", "invalid", "unknown") for one in VECTORS[part]]
ITEMS = [bytes.fromhex(one["raw"]) for part in ("items", "cards") for one in VECTORS[part]]
NOW = 1_800_000_000.0
PEER = IdentityKey.from_seed(bytes(range(32, 64))).public.raw


def mutants(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Cut, spliced and random bytes beside the right ones."""
    spliced = st.tuples(st.sampled_from(seeds), st.integers(0, 300), st.binary(max_size=6), st.integers(0, 300)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[3] :]
    )
    return st.one_of(st.sampled_from(seeds), spliced, st.binary(max_size=80))


def test_the_bytes_are_frozen() -> None:
    assert build() == VECTORS


@pytest.mark.parametrize("vector", VECTORS["items"], ids=lambda vector: vector["what"])
def test_items_hold(vector: dict[str, str]) -> None:
    item = decode_item(bytes.fromhex(vector["raw"]))
    assert item.id.hex() == vector["id"] and Verdicts().true(item)


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda vector: vector["what"])
def test_messages_read_and_write_the_same(vector: dict[str, str]) -> None:
    message = wire.decode(bytes.fromhex(vector["raw"]))
    assert message is not None and wire.encode(message).hex() == vector["raw"]


def test_every_kind_of_message_is_frozen() -> None:
    kinds = {type(wire.decode(bytes.fromhex(one["raw"]))) for one in VECTORS["messages"]}
    assert kinds == set(wire.MESSAGES)


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["why"])
def test_what_is_no_message_is_refused(vector: dict[str, str]) -> None:
    with pytest.raises(DecodeError):
        wire.decode(bytes.fromhex(vector["raw"]))


def test_a_kind_of_a_later_time_is_passed_over() -> None:
    assert [wire.decode(bytes.fromhex(one["raw"])) for one in VECTORS["unknown"]] == [None]


@settings(max_examples=400, deadline=None)
@given(mutants(ITEMS))
def test_any_bytes_are_an_item_a_card_or_refused(raw: bytes) -> None:
    for read in (decode_item, decode_card):
        try:
            read(raw)
        except DecodeError:
            continue


@settings(max_examples=150, deadline=None)
@given(st.lists(mutants(SEEDS), max_size=12))
def test_a_peer_may_say_anything_and_nothing_is_raised_nor_believed_unsigned(messages: list[bytes]) -> None:
    one = Presence(IdentityKey.from_seed(bytes(32)), PresenceSettings(), random.Random(1), NOW)
    one.add_link(PEER, NOW)
    for number, message in enumerate(messages):
        one.receive_message(message, PEER, NOW + number)
        one.handle_timer(NOW + number)
        one.messages_to_send(NOW + number)
    for _, entry in one.book:
        assert Verdicts().true(entry.beat)
    one.drop_link(PEER, NOW + 20, lost=True)
    one.handle_timer(NOW + 200)
