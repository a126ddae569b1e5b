import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from dht.constants import MAX_SIGNAL
from dht.contact import Contact
from dht.errors import DecodeError, LocalError
from dht.identity import IdentityKey
from dht.records import peer_place
from node.protocols import signaling_seal
from node.protocols.signaling import Signaling
from node.protocols.signaling_seal import LARGEST, MAX_PAYLOAD, SMALLEST, STEP, SignalKind, seal, unseal

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "signaling.json").read_text(encoding="utf-8"))
NOW = 1_700_000_000.0
ALICE = IdentityKey.from_seed(b"a" * 32)
BOB = IdentityKey.from_seed(b"b" * 32)
CAROL = IdentityKey.from_seed(b"c" * 32)
SESSION = bytes(range(16))


def sealed(payload=b"payload", kind=SignalKind.OFFER, sender=ALICE, recipient=BOB, seed=1):
    return seal(kind, sender, recipient.public, SESSION, payload, NOW, random.Random(seed))


def opened(blob, by=BOB):
    return unseal(blob, by, by.curve25519_secret())


@pytest.mark.parametrize("kind", SignalKind)
def test_what_was_sealed_opens_for_its_recipient_alone(kind):
    signal = opened(sealed(kind=kind))
    assert (signal.kind, signal.sender, signal.session, signal.time) == (kind, ALICE.public, SESSION, int(NOW))
    assert signal.payload == b"payload"
    with pytest.raises(DecodeError, match="sealed to somebody else"):
        opened(sealed(kind=kind), CAROL)


def test_sizes_come_in_steps_and_fit_a_signal():
    sizes = {len(sealed(bytes(length))) for length in range(MAX_PAYLOAD + 1)}
    assert sizes == set(range(SMALLEST, LARGEST + 1, STEP))
    assert LARGEST <= MAX_SIGNAL
    assert opened(sealed(bytes(MAX_PAYLOAD))).payload == bytes(MAX_PAYLOAD)
    with pytest.raises(LocalError, match=str(MAX_PAYLOAD)):
        sealed(bytes(MAX_PAYLOAD + 1))


def test_an_answer_and_an_offer_of_usual_length_look_alike():
    assert {len(sealed(bytes(length))) for length in range(1, 148)} == {SMALLEST}


def test_no_two_blobs_share_a_byte_string_that_names_the_sender():
    one, other = sealed(seed=1), sealed(seed=2)
    assert one[1:] != other[1:] and ALICE.public.raw not in one


def test_every_altered_byte_is_noticed():
    blob = sealed()
    for position in range(len(blob)):
        altered = blob[:position] + bytes([blob[position] ^ 1]) + blob[position + 1 :]
        with pytest.raises(DecodeError):
            opened(altered)


def reseal(inner, recipient, seed=3):
    """Put an inner message into a box as anybody can who knows the format."""
    secret = random.Random(seed).randbytes(32)
    ephemeral = bindings.crypto_scalarmult_base(secret)
    target = signaling_seal.box_key(recipient.public)
    box = bindings.crypto_box(inner, signaling_seal._nonce(ephemeral, target), target, secret)
    return bytes((1,)) + ephemeral + box


def inner_of(blob, recipient=BOB):
    ephemeral = blob[1:33]
    nonce = signaling_seal._nonce(ephemeral, signaling_seal.box_key(recipient.public))
    return bindings.crypto_box_open(blob[33:], nonce, ephemeral, recipient.curve25519_secret())


def test_a_recipient_cannot_pass_an_offer_on_as_if_meant_for_another():
    with pytest.raises(DecodeError, match="not signed by"):
        opened(reseal(inner_of(sealed()), CAROL), CAROL)


def test_the_signature_holds_in_no_other_box():
    with pytest.raises(DecodeError, match="not signed by"):
        opened(reseal(inner_of(sealed()), BOB))


def test_padding_hides_nothing():
    inner = bytearray(inner_of(sealed()))
    inner[-1] = 1
    with pytest.raises(DecodeError, match="padding"):
        opened(reseal(bytes(inner), BOB))


@pytest.mark.parametrize(
    ("position", "value", "problem"),
    [(0, 9, "SignalKind"), (57, 0xFF, "does not fit"), (1, None, "small order")],
)
def test_malformed_insides_are_refused(position, value, problem):
    inner = bytearray(inner_of(sealed()))
    if value is None:
        inner[1:33] = bytes(32)
    else:
        inner[position] = value
    with pytest.raises(DecodeError, match=problem):
        opened(reseal(bytes(inner), BOB))


@pytest.mark.parametrize("length", [0, 1, 33, 319, 321, 384 - 1, LARGEST + STEP])
def test_lengths_that_are_no_steps_are_refused(length):
    with pytest.raises(DecodeError):
        opened(bytes(length))


def test_an_ephemeral_key_of_small_order_is_refused():
    blob = bytes((1,)) + bytes(32) + bytes(SMALLEST - 33)
    with pytest.raises(DecodeError):
        opened(blob)


@given(st.binary(max_size=MAX_SIGNAL), st.binary(min_size=20, max_size=20))
def test_any_bytes_leave_signaling_as_it_was(blob, reply):
    bob = Signaling(BOB, random.Random(1))
    bob.receive_signal(peer_place(BOB.public), reply, blob, Contact(bytes(32), ("192.0.2.1", 1)), NOW)
    assert bob.next_event() is None and bob.next_timer() is None and bob.counters["undecodable"] == 1


@given(st.binary(min_size=SMALLEST - 49, max_size=SMALLEST - 49))
def test_any_insides_leave_signaling_as_it_was(inner):
    bob = Signaling(BOB, random.Random(1))
    bob.receive_signal(peer_place(BOB.public), bytes(20), reseal(inner, BOB), Contact(bytes(32), ("192.0.2.1", 1)), NOW)
    assert bob.next_event() is None and bob.counters["undecodable"] == 1


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_frozen_blobs_open_as_they_always_did(vector):
    recipient = IdentityKey.from_seed(bytes.fromhex(vector["recipient_seed"]))
    sender = IdentityKey.from_seed(bytes.fromhex(vector["sender_seed"]))
    signal = opened(bytes.fromhex(vector["blob"]), recipient)
    assert signal.kind == vector["kind"] and signal.sender == sender.public
    assert signal.session.hex() == vector["session"] and signal.time == vector["time"]
    assert signal.payload.hex() == vector["payload"]

    class Fixed(random.Random):
        def randbytes(self, n):
            return bytes.fromhex(vector["ephemeral_secret"])

    again = seal(signal.kind, sender, recipient.public, signal.session, signal.payload, signal.time, Fixed())
    assert again.hex() == vector["blob"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_frozen_rubbish_is_refused(vector):
    recipient = IdentityKey.from_seed(bytes.fromhex(vector["recipient_seed"]))
    with pytest.raises(DecodeError, match=vector["problem"]):
        opened(bytes.fromhex(vector["blob"]), recipient)
