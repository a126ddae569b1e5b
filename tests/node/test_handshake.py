"""Two ends prove their identity keys to each other, bound to the channel they have, and to nobody in between."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from nacl import bindings

from dht.errors import LocalError
from dht.identity import IdentityKey
from node.protocols.handshake import CLOSING, HELLO, LONGEST, MAX_BINDING, RESPONSE, Handshake, NotProven

ALICE, BOB, CAROL = (IdentityKey.from_seed(bytes(31) + bytes((n,))) for n in (1, 2, 3))
BINDING = b"certificates of both"
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "handshake.json").read_text())


def side(
    identity: IdentityKey,
    *,
    initiator: bool,
    binding: bytes = BINDING,
    expected: IdentityKey | None = None,
    seed: int = 1,
) -> Handshake:
    return Handshake(
        identity,
        random.Random(seed),
        initiator=initiator,
        binding=binding,
        expected=None if expected is None else expected.public,
    )


def pair(binding: bytes = BINDING) -> tuple[Handshake, Handshake]:
    return side(ALICE, initiator=True, expected=BOB, seed=1), side(BOB, initiator=False, seed=2, binding=binding)


def run(alice: Handshake, bob: Handshake) -> list[bytes]:
    """Play it to its end; every message that was sent."""
    sent = [alice.hello]
    ends = (bob, alice)
    while (reply := ends[(len(sent) - 1) % 2].receive(sent[-1])) is not None:
        sent.append(reply)
    return sent


def test_both_know_the_other_and_share_a_key_for_each_direction() -> None:
    alice, bob = pair()
    sent = run(alice, bob)
    assert [message[0] for message in sent] == [HELLO, RESPONSE, CLOSING]
    assert max(map(len, sent)) == LONGEST
    assert alice.peer == BOB.public and bob.peer == ALICE.public
    assert alice.keys is not None and bob.keys is not None
    assert alice.keys.sending == bob.keys.receiving and alice.keys.receiving == bob.keys.sending
    assert alice.keys.sending != alice.keys.receiving
    for message in sent:  # Nobody who listens learns who they are.
        assert ALICE.public.raw not in message and BOB.public.raw not in message


def test_an_initiator_says_nothing_of_itself_to_another_peer() -> None:
    alice, carol = side(ALICE, initiator=True, expected=BOB), side(CAROL, initiator=False, seed=2)
    assert len(run(alice, carol)) == 2
    assert alice.refused is NotProven.ANOTHER and alice.keys is None
    assert carol.peer is None and not carol.over


def test_an_initiator_may_take_whoever_answers() -> None:
    alice, carol = side(ALICE, initiator=True), side(CAROL, initiator=False, seed=2)
    run(alice, carol)
    assert alice.peer == CAROL.public and carol.peer == ALICE.public


def test_a_responder_may_expect_one_peer() -> None:
    alice, bob = side(ALICE, initiator=True), side(BOB, initiator=False, seed=2, expected=CAROL)
    run(alice, bob)
    assert bob.refused is NotProven.ANOTHER


def test_in_another_channel_it_proves_nothing() -> None:
    """A man in the middle with certificates of his own relays the messages: each end has another binding."""
    alice, bob = pair(binding=b"certificates of Mallory and Bob")
    assert len(run(alice, bob)) == 2
    assert alice.refused is NotProven.NOT_SEALED and bob.peer is None


def test_a_man_in_the_middle_with_keys_of_his_own_is_another_peer() -> None:
    alice, bob = pair()
    mallory_to_alice = side(CAROL, initiator=False, seed=3)
    mallory_to_bob = side(CAROL, initiator=True, seed=4)
    run(alice, mallory_to_alice)
    run(mallory_to_bob, bob)
    assert alice.refused is NotProven.ANOTHER
    assert bob.peer == CAROL.public  # What he is, and no more.


def test_replayed_messages_prove_nothing() -> None:
    hello, response, closing = run(*pair())
    again = side(ALICE, initiator=True, expected=BOB, seed=9)
    assert again.receive(response) is None and again.refused is NotProven.NOT_SEALED
    bob = side(BOB, initiator=False, seed=8)
    assert bob.receive(hello) is not None
    assert bob.receive(closing) is None and bob.refused is NotProven.NOT_SEALED


def test_reflected_messages_prove_nothing() -> None:
    alice = side(ALICE, initiator=True)
    assert alice.receive(alice.hello) is None and alice.refused is NotProven.MALFORMED
    mirror, other = side(ALICE, initiator=True), side(ALICE, initiator=False, seed=2)
    run(mirror, other)
    assert mirror.refused is NotProven.OURSELVES


def test_somebody_elses_name_under_ones_own_signature_is_refused() -> None:
    class Liar:
        public = BOB.public
        sign = staticmethod(CAROL.sign)

    alice = side(ALICE, initiator=True, expected=BOB)
    liar = Handshake(Liar(), random.Random(2), initiator=False, binding=BINDING)  # type: ignore[arg-type]
    run(alice, liar)
    assert alice.refused is NotProven.BAD_SIGNATURE


@pytest.mark.parametrize("number", range(3))
def test_every_altered_byte_is_noticed(number: int) -> None:
    count = len(run(*pair())[number])
    for at in range(count):
        alice, bob = pair()
        sent, ends = [alice.hello], (bob, alice)
        while True:
            message = bytearray(sent[-1])
            if len(sent) - 1 == number:
                message[at] ^= 1 << (at % 7)
            reply = ends[(len(sent) - 1) % 2].receive(bytes(message))
            if reply is None:
                break
            sent.append(reply)
        assert bob.peer is None or alice.peer is None
        assert alice.refused is not None or bob.refused is not None
        assert bob.peer is None


def test_keys_of_small_order_and_messages_out_of_turn_are_refused() -> None:
    for bad in (bytes(32), b"\x01" + bytes(31)):
        bob = side(BOB, initiator=False)
        assert bob.receive(bytes((HELLO,)) + bad) is None and bob.refused is NotProven.BAD_KEY
    for message in (b"", b"\x11", bytes((CLOSING,)) + bytes(112), bytes((HELLO,)) + bytes(33), bytes(1000)):
        bob = side(BOB, initiator=False)
        assert bob.receive(message) is None and bob.refused is NotProven.MALFORMED
        assert bob.receive(side(ALICE, initiator=True).hello) is None
    with pytest.raises(LocalError, match="binding"):
        side(BOB, initiator=False, binding=bytes(MAX_BINDING + 1)).receive(b"")


def made(vector: dict[str, str]) -> tuple[Handshake, Handshake, list[bytes]]:
    class Fixed(random.Random):
        def __init__(self, secret: str) -> None:
            super().__init__()
            self._secret = bytes.fromhex(secret)

        def randbytes(self, n: int) -> bytes:
            return self._secret[:n]

    binding = bytes.fromhex(vector["binding"])
    initiator = IdentityKey.from_seed(bytes.fromhex(vector["initiator_seed"]))
    responder = IdentityKey.from_seed(bytes.fromhex(vector["responder_seed"]))
    alice = Handshake(initiator, Fixed(vector["initiator_ephemeral"]), initiator=True, binding=binding)
    bob = Handshake(responder, Fixed(vector["responder_ephemeral"]), initiator=False, binding=binding)
    return alice, bob, run(alice, bob)


def filled(vector: dict[str, str]) -> dict[str, str]:
    """A vector with what follows from its secrets."""
    alice, _, (hello, response, closing) = made(vector)
    assert alice.keys is not None
    return vector | {
        "hello": hello.hex(),
        "response": response.hex(),
        "closing": closing.hex(),
        "initiator_key": alice.keys.sending.hex(),
        "responder_key": alice.keys.receiving.hex(),
    }


def make_vectors() -> dict[str, object]:
    """What `handshake.json` holds."""
    return {
        "valid": [
            filled(
                {
                    "binding": binding.hex(),
                    "initiator_seed": ALICE.seed.hex(),
                    "responder_seed": BOB.seed.hex(),
                    "initiator_ephemeral": (bytes((n,)) * 32).hex(),
                    "responder_ephemeral": (bytes((n + 1,)) * 32).hex(),
                }
            )
            for n, binding in ((0x40, b""), (0x50, bytes(range(64))))
        ]
    }


def test_vectors() -> None:
    for vector in VECTORS["valid"]:
        assert filled(vector) == vector
        assert bindings.crypto_scalarmult_base(bytes.fromhex(vector["initiator_ephemeral"])).hex() in vector["hello"]
