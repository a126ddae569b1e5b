"""What is said about circuits: frozen bytes, broken ones, and one end of a circuit against its attackers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import DecodeError, LocalError
from dht.identity import IdentityKey, PublicKey
from node.protocols import circuit, circuit_end
from node.protocols.circuit import MAX_MESSAGE, Join, Role, decode_circuit_message
from node.protocols.circuit_end import (
    SILENCE,
    WINDOW,
    CircuitEnd,
    CircuitEnded,
    EndReason,
    MessageReceived,
    Proven,
    RoomAgain,
    Selected,
)
from node.protocols.circuit_relays import ProposedRelay, RelayAnnouncement, RelayContact, ways_of
from node.protocols.circuit_seal import circuit_keys, circuit_public

VECTORS: Any = json.loads((Path(__file__).parents[1] / "vectors" / "circuits.json").read_text())
KEYS = [IdentityKey.from_seed(bytes([n]) * 32).public for n in range(1, 6)]


def shown(message: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in message.__dataclass_fields__:
        value = getattr(message, name)
        if isinstance(value, tuple):
            fields[name] = [key.raw.hex() for key in value]
        else:
            fields[name] = value.hex() if isinstance(value, bytes) else int(value)
    return fields


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda vector: vector["name"])
def test_messages_are_frozen(vector):
    message = decode_circuit_message(bytes.fromhex(vector["hex"]))
    assert type(message).__name__.upper() == vector["kind"]
    assert shown(message) == vector["fields"]
    assert message.to_bytes().hex() == vector["hex"]


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["name"])
def test_broken_messages_are_refused(vector):
    with pytest.raises(DecodeError, match=vector["problem"]):
        decode_circuit_message(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize("vector", VECTORS["proposed"], ids=lambda vector: vector["name"])
def test_proposed_relays_are_frozen(vector):
    said, fields = ProposedRelay.from_bytes(bytes.fromhex(vector["hex"])), vector["fields"]
    assert said.to_bytes().hex() == vector["hex"]
    relay = said.relay
    assert (relay.identity.raw.hex(), relay.node_key.hex(), relay.fingerprint.hex()) == (
        fields["identity"],
        fields["node_key"],
        fields["fingerprint"],
    )
    assert [list(address) for address in relay.addresses] == fields["addresses"]
    assert (said.distance, said.continues) == (fields["distance"], fields["continues"])


@pytest.mark.parametrize("vector", VECTORS["proposed_invalid"], ids=lambda vector: vector["name"])
def test_broken_proposals_are_refused(vector):
    with pytest.raises(DecodeError, match=vector["problem"]):
        ProposedRelay.from_bytes(bytes.fromhex(vector["hex"]))


def test_the_announcement_is_frozen_and_may_grow():
    vector = VECTORS["announcement"]
    raw = bytes.fromhex(vector["hex"])
    owner = PublicKey(bytes.fromhex(vector["owner"]))
    said = RelayAnnouncement.from_bytes(raw, owner)
    assert said.to_bytes() == raw
    assert (said.load, said.capacity, said.relay.node_key.hex()) == (17, 128, vector["node_key"])
    assert RelayAnnouncement.from_bytes(raw + b"later", owner) == said
    for cut in range(len(raw)):
        with pytest.raises(DecodeError):
            RelayAnnouncement.from_bytes(raw[:cut], owner)


def test_keys_and_frames_are_frozen():
    said = VECTORS["circuit"]
    vector: dict[str, Any] = {
        name: value if isinstance(value, list) else bytes.fromhex(value) for name, value in said.items()
    }
    first, second = PublicKey(vector["first"]), PublicKey(vector["second"])
    relays = tuple(PublicKey(bytes.fromhex(raw)) for raw in vector["relays"])
    secrets = vector["first_secret"], vector["second_secret"]
    keys = circuit_keys(secrets[0], circuit_public(secrets[1]), first, second, relays, initiated=True)
    assert keys.circuit == vector["circuit"]
    assert (keys.sending, keys.receiving) == (vector["first_to_second"], vector["second_to_first"])
    far = CircuitEnd(
        circuit_keys(secrets[1], circuit_public(secrets[0]), first, second, relays, initiated=False), bytes(24), 0.0
    )
    far.send(b"fives")
    far.receive(vector["hello"] + vector["select_data_ack"] + vector["end"], 1.0)
    assert [type(event).__name__ for event in events(far)] == ["Proven", "Selected", "MessageReceived", "CircuitEnded"]
    near = CircuitEnd(keys, vector["header"], 0.0)
    assert b"".join(near.data_to_send()) == vector["hello"]


def test_every_part_of_the_agreement_changes_the_keys():
    secret, other = b"\7" * 32, circuit_public(b"\x08" * 32)
    usual = (secret, other, KEYS[0], KEYS[1], (KEYS[2],))
    changed = [
        (b"\6" * 32, *usual[1:]),
        (secret, circuit_public(b"\5" * 32), *usual[2:]),
        (secret, other, KEYS[3], *usual[3:]),
        (*usual[:3], KEYS[3], usual[4]),
        (*usual[:4], (KEYS[3],)),
        (*usual[:4], (KEYS[2], KEYS[3])),
    ]
    made = [circuit_keys(*parts, initiated=True) for parts in [usual, *changed]]
    assert len({keys.circuit for keys in made}) == len({keys.sending for keys in made}) == len(made)
    with pytest.raises(DecodeError, match="small order"):
        circuit_keys(secret, bytes(32), KEYS[0], KEYS[1], (), initiated=True)


def test_a_description_names_three_relays_at_most_and_none_twice():
    proposals = [
        ProposedRelay(RelayContact(key, (("203.0.113.1", 1),)), continues=n == 1) for n, key in enumerate(KEYS)
    ]
    assert [len(way) for way in ways_of(proposals[:3])] == [1, 2]
    for wrong in (proposals[:4], proposals[:2], [proposals[0], proposals[0]]):
        with pytest.raises(DecodeError):
            ways_of(wrong)


def test_what_does_not_fit_the_format_is_our_mistake():
    with pytest.raises(LocalError):
        Join(b"short", Role.FIRST).to_bytes()
    with pytest.raises(LocalError):
        ProposedRelay(RelayContact(KEYS[0], ())).to_bytes()
    with pytest.raises(LocalError):
        ends()[0].send(bytes(65_537))


# One end, and what lies between.


def ends(window: int = WINDOW) -> tuple[CircuitEnd, CircuitEnd]:
    one, other = b"\1" * 32, b"\2" * 32
    relays = (KEYS[2],)
    near = circuit_keys(one, circuit_public(other), KEYS[0], KEYS[1], relays, initiated=True)
    far = circuit_keys(other, circuit_public(one), KEYS[0], KEYS[1], relays, initiated=False)
    return CircuitEnd(near, b"\3" * 24, 0.0, window=window), CircuitEnd(far, b"\4" * 24, 0.0, window=window)


def events(end: CircuitEnd) -> list[Any]:
    seen = []
    while (event := end.next_event()) is not None:
        seen.append(event)
    return seen


def carry(source: CircuitEnd, target: CircuitEnd, now: float = 0.0) -> None:
    target.receive(b"".join(source.data_to_send()), now)


def proven() -> tuple[CircuitEnd, CircuitEnd]:
    near, far = ends()
    carry(near, far)
    carry(far, near)
    assert events(near) == events(far) == [Proven()]
    return near, far


def test_messages_arrive_whole_however_the_bytes_are_cut():
    near, far = proven()
    near.select()
    messages = [bytes([n % 256]) * size for n, size in enumerate((1, 65_536, 17, 40_000))]
    for message in messages:
        near.send(message)
    data, rng = b"".join(near.data_to_send()), random.Random(1)
    while data:
        cut = rng.randint(1, 9000)
        far.receive(data[:cut], 0.0)
        data = data[cut:]
    assert events(far) == [Selected(), *map(MessageReceived, messages)]


def test_idle_only_when_the_far_end_has_said_so():
    near, far = proven()
    near.send(b"hello")
    data = near.data_to_send()
    assert not near.idle
    far.receive(b"".join(data), 1.0)
    assert far.next_timer() == pytest.approx(1.02)
    far.handle_timer(1.03)
    carry(far, near, 1.03)
    assert near.idle


def test_the_window_stops_the_sender_and_opens_again():
    near, far = proven()
    for _ in range(WINDOW // 65_536):
        assert near.room > 0
        near.send(bytes(65_536))
    assert near.room == 0
    carry(near, far)
    carry(far, near)
    assert near.room == WINDOW
    assert events(near) == [RoomAgain()]


@pytest.mark.parametrize("what", ["flip", "drop", "repeat", "swap", "foreign"])
def test_whatever_a_relay_does_to_frames_ends_the_circuit(what):
    near, far = proven()
    frames = []
    for message in (b"one", b"two", b"three"):
        near.send(message)
        frames += near.data_to_send()
    match what:
        case "flip":
            frames[1] = frames[1][:-1] + bytes([frames[1][-1] ^ 1])
        case "drop":
            del frames[1]
        case "repeat":
            frames.insert(1, frames[0])
        case "swap":
            frames[0], frames[1] = frames[1], frames[0]
        case "foreign":
            far.send(b"mine")
            frames[1:1] = far.data_to_send()[-1:]
    far.receive(b"".join(frames), 1.0)
    *before, last = events(far)
    assert last.reason is EndReason.ALTERED
    assert len(before) <= 1
    far.receive(b"more", 2.0)
    assert events(far) == []


def test_somebody_else_than_the_peer_proves_nothing():
    near, _ = ends()
    wrong = circuit_keys(b"\x09" * 32, circuit_public(b"\1" * 32), KEYS[0], KEYS[1], (KEYS[2],), initiated=False)
    stranger = CircuitEnd(wrong, bytes(24), 0.0)
    carry(stranger, near)
    assert [event.reason for event in events(near)] == [EndReason.ALTERED]
    # Nor does a relay that sends back what it got.
    near, _ = ends()
    carry(near, near)
    assert [event.reason for event in events(near)] == [EndReason.ALTERED]


def test_an_end_nobody_announced_is_a_cut_one():
    near, far = proven()
    near.send(b"last words")
    near.finish()
    carry(near, far)
    assert [type(event) for event in events(far)] == [MessageReceived, CircuitEnded]
    near, far = proven()
    far.stream_ended("the stream ended")
    assert events(far) == [CircuitEnded(EndReason.CUT, "the stream ended")]


def test_silence_is_asked_about_then_ends_it():
    near, far = proven()
    near.handle_timer(10.0)
    carry(near, far, 10.0)
    carry(far, near, 10.1)
    assert near.next_timer() == pytest.approx(20.1)
    near.handle_timer(20.1)
    assert near.next_timer() == pytest.approx(10.1 + SILENCE)
    near.handle_timer(10.1 + SILENCE)
    assert [event.reason for event in events(near)] == [EndReason.SILENT]
    assert near.next_timer() is None


@pytest.mark.parametrize(
    "frame, final",
    [
        (b"\x09", False),
        (b"\1" + bytes(17), False),
        (b"\2x", False),
        (b"\3", False),
        (b"\4" + b"\xff" * 8, False),
        (b"\7", False),
        (b"\5", True),
    ],
    ids=["unknown", "hello-again", "select-with-payload", "empty", "ack-of-nothing", "end-not-final", "ping-final"],
)
def test_a_proven_peer_that_breaks_the_rules_is_told_from_a_relay_that_does(frame, final):
    near, far = proven()
    far.receive(near._sealer.seal(frame, final=final), 1.0)
    assert [event.reason for event in events(far)] == [EndReason.BROKEN_RULES]


def test_who_asks_and_never_reads_makes_us_owe_one_answer():
    near, far = proven()
    for _ in range(1000):
        far.receive(near._sealer.seal(bytes((circuit_end.FrameKind.PING,))), 1.0)
        far.receive(near._sealer.seal(bytes((circuit_end.FrameKind.DATA,)) + bytes(65_536)), 1.0)
    assert len(far.data_to_send()) == 2


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_bytes_raise_out_of_an_end(pieces):
    near, far = ends()
    carry(far, near)
    for piece in pieces:
        near.receive(piece, 1.0)
        assert len(near._received) <= 200 * 5
    events(near)


def test_the_largest_join_is_as_large_as_is_said():
    assert len(Join(bytes(16), Role.FIRST, 2, tuple(KEYS[:2]), tuple(KEYS[2:4])).to_bytes()) == MAX_MESSAGE
    assert circuit.MAX_RELAYS == 3
