import json
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.constants import MAX_RECORD
from dht.contact import Contact
from dht.errors import DecodeError, LocalError
from dht.identity import IdentityKey
from dht.records import Kind, sign_record
from node.protocols.peer_record import MAX_PAYLOAD, MAX_STATUS_BYTES, Capability, PeerRecord, few_homes
from node.protocols.presence_beats import decode_card, make_card

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "peer_record.json").read_text(encoding="utf-8"))

DIRECT = Contact(bytes(range(32)), ("203.0.113.7", 4747))
DIRECT6 = Contact(bytes(range(32)), ("2001:db8::7", 4747))
HOMES = tuple(Contact(bytes([n]) * 32, (f"198.51.100.{n}", 4000 + n)) for n in (1, 2, 3))
FULL = PeerRecord(
    direct=(DIRECT, DIRECT6),
    homes=HOMES,
    capabilities=Capability.SERVER | Capability.WEBRTC,
    status="at work – back at six",
    online_since=1_700_000_000,
    changed=1_700_000_060,
    fingerprint=bytes(range(32)),
)


def test_a_record_survives_the_way_there_and_back():
    assert PeerRecord.from_bytes(FULL.to_bytes()) == FULL
    assert PeerRecord.from_bytes(PeerRecord().to_bytes()) == PeerRecord()


def test_the_largest_fits_a_record():
    homes = tuple(Contact(bytes([n]) * 32, (f"2001:db8::{n}", 65535)) for n in (1, 2, 3))
    largest = PeerRecord(
        direct=(DIRECT6, DIRECT6),
        homes=homes,
        capabilities=Capability(2**32 - 1),
        status="é" * (MAX_STATUS_BYTES // 2),
        online_since=2**53,
        changed=2**53,
        fingerprint=bytes(32),
    )
    payload = largest.to_bytes()
    assert len(payload) <= MAX_PAYLOAD
    record = sign_record(IdentityKey.from_seed(bytes(32)), Kind.PEER, payload, seq=2**63 - 1, expires=2**40)
    assert len(record.raw) <= MAX_RECORD
    assert PeerRecord.from_bytes(payload) == largest


def test_the_ways_to_a_peer_are_direct_first_and_each_once():
    record = PeerRecord(direct=(HOMES[1],), homes=HOMES)
    assert record.ways == (HOMES[1], HOMES[0], HOMES[2])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_where_few_homes_are_named_both_families_have_one(count):
    homes6 = tuple(Contact(home.key, (f"2001:db8::{n}", 4000)) for n, home in enumerate(HOMES))
    assert few_homes((*HOMES, *homes6), count) == (HOMES[0], homes6[0], *HOMES[1:])[:count]
    assert few_homes((*homes6, *HOMES), count) == (homes6[0], HOMES[0], *homes6[1:])[:count]
    assert few_homes(HOMES, count) == HOMES[:count]
    assert few_homes((), count) == ()


def test_a_card_of_presence_names_no_more_of_them_than_others_read():
    homes6 = tuple(Contact(home.key, (f"2001:db8::{n}", 4000)) for n, home in enumerate(HOMES))
    card = decode_card(make_card(homes=(*HOMES, *homes6)).raw)
    assert card.homes == (HOMES[0], homes6[0], HOMES[1])


def test_fields_of_a_later_release_are_passed_over():
    fields = msgspec.msgpack.decode(FULL.to_bytes())
    assert PeerRecord.from_bytes(msgspec.msgpack.encode([*fields, "new", {"more": 1}])) == FULL


def test_capabilities_of_a_later_release_are_kept():
    fields = msgspec.msgpack.decode(FULL.to_bytes())
    fields[3] = 1 << 20 | 1
    assert PeerRecord.from_bytes(msgspec.msgpack.encode(fields)).capabilities & Capability.SERVER


@pytest.mark.parametrize(
    ("position", "value", "problem"),
    [
        (0, 2, "version 2"),
        (1, [b"x" * 37], "length"),
        (1, [b"x" * 40], "40 bytes"),
        (1, [DIRECT.packed] * 3, "length"),
        (1, [DIRECT.packed[:-2] + b"\0\0"], "port 0"),
        (2, [HOMES[0].packed] * 7, "length"),
        (3, -1, "int"),
        (4, "red \x1b[31malert", "not printable"),
        (4, "turned \u202e round", "not printable"),
        (4, "é" * 101, "UTF-8"),
        (4, b"bytes", "str"),
        (5, 2**60, "int"),
        (6, 1.5, "int"),
        (7, b"short", "fingerprint"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(position, value, problem):
    fields = msgspec.msgpack.decode(FULL.to_bytes())
    fields[position] = value
    with pytest.raises(DecodeError, match=problem):
        PeerRecord.from_bytes(msgspec.msgpack.encode(fields))


def test_what_is_too_long_or_too_short_is_refused():
    with pytest.raises(DecodeError, match="at most 700"):
        PeerRecord.from_bytes(bytes(701))
    fields = msgspec.msgpack.decode(FULL.to_bytes())
    with pytest.raises(DecodeError):
        PeerRecord.from_bytes(msgspec.msgpack.encode(fields[:-1]))
    with pytest.raises(DecodeError):
        PeerRecord.from_bytes(FULL.to_bytes() + b"\0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"direct": (DIRECT,) * 3},
        {"homes": HOMES * 3},
        {"status": "two\nlines"},
        {"status": "x" * 201},
        {"fingerprint": b"x"},
    ],
)
def test_we_do_not_write_what_we_would_not_read(wrong):
    with pytest.raises(LocalError):
        PeerRecord(**wrong).to_bytes()


@given(st.binary(max_size=800))
def test_any_bytes_decode_or_are_refused(payload):
    try:
        record = PeerRecord.from_bytes(payload)
    except DecodeError:
        return
    assert PeerRecord.from_bytes(record.to_bytes()) == record


def test_mutated_records_decode_or_are_refused():
    rng = random.Random(5)
    original = FULL.to_bytes()
    refused = 0
    for _ in range(5000):
        mutated = bytearray(original)
        for _ in range(rng.randrange(1, 5)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        try:
            PeerRecord.from_bytes(bytes(mutated[: rng.randrange(len(mutated) + 1)] if rng.random() < 0.3 else mutated))
        except DecodeError:
            refused += 1
    assert 0 < refused < 5000


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_frozen_bytes_decode_as_they_always_did(vector):
    record = PeerRecord.from_bytes(bytes.fromhex(vector["payload"]))
    assert [contact.text for contact in record.direct] == vector["direct"]
    assert [contact.text for contact in record.homes] == vector["homes"]
    assert record.capabilities == vector["capabilities"]
    assert record.status == vector["status"]
    assert (record.online_since, record.changed) == (vector["online_since"], vector["changed"])
    assert record.fingerprint.hex() == vector["fingerprint"]
    if vector["ours"]:
        assert record.to_bytes().hex() == vector["payload"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_frozen_rubbish_is_refused(vector):
    with pytest.raises(DecodeError):
        PeerRecord.from_bytes(bytes.fromhex(vector["payload"]))
