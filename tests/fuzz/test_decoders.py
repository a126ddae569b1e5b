"""A mutation fuzzer on every decoder that meets a stranger's bytes: a typed refusal or a value, never anything else.

Seeds are the frozen vectors, so mutants get past the first checks. The generator is seeded: a failure comes back.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dht.contact import unpack_address, unpack_contacts
from dht.errors import BoxError, DecodeError
from dht.identity import IdentityKey, NodeKey, verify_strict
from dht.records import Kind, RecordRefused, decode_record, sign_record, verify_record
from dht.sealing import Sealer
from dht.stun import binding_response, is_stun
from dht.wire import decode_message, encode_message

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


NOW = float(load("records.json")["now"])
RECORDS = [bytes.fromhex(v["raw"]) for part in ("valid", "refused") for v in load("records.json")[part]]
OWNER = IdentityKey.from_seed(bytes.fromhex(load("records.json")["seed"]))
# The broken records were made from good ones, and a mutation may mend one: these are what the owner did sign.
SIGNED = {*RECORDS, sign_record(OWNER, Kind.PEER, b"hello", seq=7, expires=NOW + 60).raw}
MESSAGES = [bytes.fromhex(raw) for part in ("messages", "broken") for raw in load("wire.json")[part].values()]
CONTACTS = [bytes.fromhex(v["packed"]) for v in load("contacts.json")["contacts"]]
STUN = [bytes.fromhex("000100002112a442") + bytes(12), bytes.fromhex("000100082112a442") + bytes(20)]
SIGNATURES = [
    bytes.fromhex(case["public"] + case["signature"] + case["message"]) for case in load("ed25519_strict.json")["cases"]
]
ADDRESS = ("2a00::1", 4701)

HERE = NodeKey.from_secret(b"\x01" * 32)
THERE = Sealer(NodeKey.from_secret(b"\x02" * 32), Random(1))
OPENER = Sealer(HERE, Random(2))
DATAGRAMS = [THERE.seal(HERE.public, message) for message in MESSAGES if len(message) < 1100]


def mutate(seed: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Flip, overwrite, cut, repeat, insert, splice: one to four times."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(data))
        action = rng.randrange(6)
        if action == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif action == 1 and at < len(data):
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xCF, 0xDD, 0xFF))
        elif action == 2:
            del data[at : at + rng.randint(1, 16)]
        elif action == 3:
            data[at:at] = data[at : at + rng.randint(1, 64)]
        elif action == 4:
            data[at:at] = rng.randbytes(rng.randint(1, 9))
        else:
            other = rng.choice(others)
            data[at:] = other[rng.randint(0, len(other)) :]
    return bytes(data[:1500])


def on_message(data: bytes) -> str:
    try:
        message = decode_message(data)
    except DecodeError:
        return "refused"
    assert decode_message(encode_message(message)) == message
    return "taken"


def on_record(data: bytes) -> str:
    try:
        record = decode_record(data)
        verified = verify_record(record, NOW)
    except RecordRefused as refused:
        return refused.refusal.name
    assert verified.raw == data
    return "taken" if data in SIGNED or not verified.owner else "forged"


def on_contacts(data: bytes) -> str:
    try:
        unpack_contacts(data, b"")
        unpack_contacts(b"", data)
    except DecodeError:
        return "refused"
    return "taken"


def on_address(data: bytes) -> str:
    try:
        unpack_address(data[-18:])
    except DecodeError:
        return "refused"
    return "taken"


def on_datagram(data: bytes) -> str:
    try:
        _, message = OPENER.open(data)
    except BoxError:
        return "refused"
    assert message in MESSAGES
    # The prefix is the caller's to check: only within it may a mutant differ from what was sealed.
    return "taken" if any(data[5:] == sealed[5:] for sealed in DATAGRAMS) else "forged"


def on_stun(data: bytes) -> str:
    if not is_stun(data):
        return "other"
    answer = binding_response(data, ADDRESS)
    assert answer is None or (len(answer) == 44 and answer[8:20] == data[8:20])
    return "refused" if answer is None else "taken"


def on_signature(data: bytes) -> str:
    if not verify_strict(data[:32], data[32:96], data[96:]):
        return "refused"
    return "taken" if data in SIGNATURES else "forged"


TARGETS: list[tuple[Callable[[bytes], str], list[bytes]]] = [
    (on_message, MESSAGES),
    (on_record, RECORDS),
    (on_contacts, CONTACTS),
    (on_address, CONTACTS),
    (on_datagram, DATAGRAMS),
    (on_stun, STUN),
    (on_signature, SIGNATURES),
]


def fuzz(decode: Callable[[bytes], str], seeds: list[bytes], tries: int) -> Counter[str]:
    rng = Random(7)
    return Counter(decode(mutate(rng.choice(seeds), rng, seeds)) for _ in range(tries))


@pytest.mark.parametrize("decode, seeds", TARGETS, ids=lambda target: getattr(target, "__name__", ""))
def test_any_mutant_is_taken_or_refused(decode: Callable[[bytes], str], seeds: list[bytes]) -> None:
    outcomes = fuzz(decode, seeds, 3_000)
    assert outcomes["forged"] == 0
    assert outcomes.total() - outcomes["taken"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("decode, seeds", TARGETS[:2], ids=lambda target: getattr(target, "__name__", ""))
def test_half_a_million_mutants_each(decode: Callable[[bytes], str], seeds: list[bytes]) -> None:
    outcomes = fuzz(decode, seeds, 500_000)
    assert outcomes["forged"] == 0
    assert outcomes.total() == 500_000


def test_mutants_of_records_meet_every_way_to_be_refused_without_context() -> None:
    outcomes = fuzz(on_record, RECORDS, 6_000)
    assert {"MALFORMED", "UNKNOWN_VERSION", "OVERSIZED", "BAD_SIGNATURE", "WEAK_KEY", "EXPIRED", "TOO_LONG"} <= set(
        outcomes
    )
