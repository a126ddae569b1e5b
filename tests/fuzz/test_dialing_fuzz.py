"""Any bytes at the door of who can be dialled, and in the proof of keys: never raised on, never answered at length."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from node.protocols.dialing import Door, decode_check
from tests.fuzz.test_decoders import load, mutate
from tests.node.test_handshake import pair, run

ADDRESSES = (("203.0.113.5", 4711), ("2001:db8::7", 4711))
CHECKS = [bytes.fromhex(vector["check"]) for part in ("checks", "refused") for vector in load("dialing.json")[part]]
MESSAGES = run(*pair())


@st.composite
def mutants(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Frozen messages, altered, so that they get past the first tests; or anything at all."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=700))
    return mutate(draw(st.sampled_from(seeds)), random.Random(draw(st.integers(0, 2**32))), seeds)


@settings(max_examples=150, deadline=None)
@given(mutants(CHECKS), st.booleans())
def test_the_door_never_sends_more_than_came_to_an_unproven_address(data: bytes, known: bool) -> None:
    decode_check(data)
    for address in ADDRESSES:
        knock = Door(random.Random(1)).knock(data, address, 1.8e9, known=known)
        if knock is not None:
            assert not knock.arrived
            assert known or sum(map(len, knock.replies)) <= len(data)


@settings(max_examples=150, deadline=None)
@given(st.lists(mutants(MESSAGES), max_size=3), st.booleans())
def test_a_proof_is_given_whole_or_not_at_all(messages: list[bytes], begun: bool) -> None:
    alice, bob = pair()
    taken = []
    if begun:
        bob.receive(alice.hello)
        taken.append(alice.hello)
    for message in messages:
        taken.append(message)
        for one in (alice, bob):
            one.receive(message)
            assert one.peer is None or set(MESSAGES) & set(taken)
