from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootstrap.contacts import FirstContact
from bootstrap.firstcontacts import (
    LIST_DOMAIN,
    MAX_FILE,
    MAX_LIST_CONTACTS,
    MAX_LIST_LIFETIME,
    MAX_SEQUENCE,
    ListFile,
    decode_file,
    encode_file,
    verify,
)
from bootstrap.refusals import ListRefused, Refusal
from bootstrap.trust import Signature, TrustRoot, TrustState, make_rotation
from dht.errors import BadConfig
from dht.identity import NodeKey

NOW = 1_800_000_000
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "bootstrap_list.json").read_text())


def node_key(number):
    return NodeKey.from_secret(hashlib.sha256(bytes([number])).digest()).public


def refused(reason, call, *args, **kwargs):
    with pytest.raises(ListRefused) as caught:
        call(*args, **kwargs)
    assert caught.value.reason is reason, caught.value.message
    return caught.value.message


@pytest.mark.parametrize("vector", VECTORS["lists"], ids=lambda vector: vector["name"])
def test_frozen_lists_are_judged_as_ever(vector):
    root = TrustRoot.parse(VECTORS["signers"], VECTORS["threshold"])
    data = base64.b64decode(vector["file"])

    def judge():
        return verify(decode_file(data), root, VECTORS["network"], VECTORS["now"])

    if vector["refusal"]:
        refused(Refusal(vector["refusal"]), judge)
    else:
        assert judge().payload.hex() == vector["payload"]


def test_vectors_cover_what_one_list_alone_can_be_refused_for():
    covered = {vector["refusal"] for vector in VECTORS["lists"]}
    assert covered == {None, *Refusal} - {Refusal.LOWER_SEQUENCE, Refusal.CONFLICT}


def test_what_is_written_is_what_is_read(make):
    file = make(0, 1, 2)
    assert decode_file(encode_file(file)) == file


def test_two_of_three_are_enough_and_named(make, signers):
    verified = verify(make(0, 2), signers.root, "testnet", NOW)
    assert verified.signed_by == {signers.keys[0].public, signers.keys[2].public}
    assert not verified.expired


def test_one_signer_counts_once_however_often_it_signs(make, signers):
    file = make(0)
    key = signers.keys[0]
    twice = Signature(key.public, key.sign(LIST_DOMAIN + file.payload))
    file = replace(file, signatures=(*file.signatures, twice, twice))
    message = refused(Refusal.NOT_ENOUGH_SIGNATURES, verify, file, signers.root, "testnet", NOW)
    assert message.startswith("list 7 has 1 of the 2 signatures")
    assert key.public.short in message


def test_wrong_signatures_and_strangers_are_named(make, signers):
    file = make(0, 4)
    wrong = Signature(signers.keys[1].public, signers.keys[1].sign(file.payload))
    file = replace(file, signatures=(*file.signatures, wrong))
    message = refused(Refusal.NOT_ENOUGH_SIGNATURES, verify, file, signers.root, "testnet", NOW)
    assert f"wrong: {signers.keys[1].public.short}" in message
    assert f"not trusted: {signers.keys[4].public.short}" in message


def test_clock_messages_tell_the_local_time(make, signers):
    late = refused(Refusal.EXPIRED, verify, make(0, 1), signers.root, "testnet", NOW + 86400)
    early = refused(Refusal.NOT_YET_VALID, verify, make(0, 1), signers.root, "testnet", NOW - 86400 - 7201)
    assert "the local clock says 2027-01-16 08:00:00 UTC" in late
    assert "the local clock says" in early
    assert verify(make(0, 1), signers.root, "testnet", NOW - 86400 - 7200)


def test_an_expired_list_is_had_only_on_request_and_is_flagged(make, signers):
    verified = verify(make(0, 1), signers.root, "testnet", NOW + 86400, accept_expired=True)
    assert verified.expired


def test_roll_back_and_conflict_against_the_known_list(make, signers):
    known = verify(make(0, 1), signers.root, "testnet", NOW)
    refused(Refusal.LOWER_SEQUENCE, verify, make(0, 1, sequence=6), signers.root, "testnet", NOW, known)
    other = make(0, 1, expires_at=NOW + 9)
    refused(Refusal.CONFLICT, verify, other, signers.root, "testnet", NOW, known)
    assert verify(make(0, 1), signers.root, "testnet", NOW, known).payload == known.payload
    assert verify(make(0, 1, sequence=8), signers.root, "testnet", NOW, known).content.sequence == 8


def test_limits(make, content):
    refused(Refusal.TOO_LARGE, decode_file, b" " * (MAX_FILE + 1))
    many = tuple(FirstContact(node_key(number), (("192.0.2.1", 1),)) for number in range(1, MAX_LIST_CONTACTS + 2))
    refused(Refusal.TOO_LARGE, make, contacts=many)
    assert len(make(contacts=many[:-1]).content.contacts) == MAX_LIST_CONTACTS
    refused(Refusal.TOO_LONG_LIVED, make, expires_at=content.issued_at + MAX_LIST_LIFETIME + 1)
    refused(Refusal.TOO_LONG_LIVED, make, expires_at=content.issued_at)
    refused(Refusal.MALFORMED, make, sequence=MAX_SEQUENCE + 1)
    assert make(sequence=MAX_SEQUENCE).content.sequence == MAX_SEQUENCE
    refused(Refusal.MALFORMED, make, network="a\u202eb")
    refused(Refusal.BAD_CONTACT, make, contacts=())
    refused(Refusal.BAD_CONTACT, make, contacts=(many[0], many[0]))


def test_a_full_list_fits_the_file_limit(make):
    contacts = tuple(
        FirstContact(
            node_key(number),
            (("192.0.2.1", 65535), ("2001:db8:1111:2222:3333:4444:5555:6666", 65535)),
            (("bootstrap-node.example.org", 65535),),
            "x" * 64,
        )
        for number in range(1, MAX_LIST_CONTACTS + 1)
    )
    assert len(encode_file(make(*range(6), contacts=contacts))) < MAX_FILE


@pytest.mark.parametrize(
    "payload_change",
    [
        lambda payload: payload + b" ",
        lambda payload: payload.replace(b'"network":', b'"network":"other","network":', 1),
        lambda payload: payload.replace(b'"first"', b'"\\u0066irst"'),
        lambda payload: payload[:-1] + b',"more":1}',
        lambda payload: payload.replace(b'"sequence":7', b'"sequence":7.0'),
    ],
)
def test_only_the_one_encoding_of_a_payload_is_read(make, payload_change):
    file = make(0, 1)
    changed = payload_change(file.payload)
    assert changed != file.payload
    refused(Refusal.MALFORMED, decode_file, encode_file(replace(file, payload=changed)))


def test_weak_signer_keys_are_refused(make_bytes):
    document = json.loads(make_bytes(0, 1))
    document["signatures"][0]["signer"] = "y" * 52
    refused(Refusal.MALFORMED, decode_file, json.dumps(document).encode())


def test_rotation_needs_both_sets_and_is_followed(make, signers, sign_rotation):
    bare = make_rotation("testnet", 1, signers.root, signers.next_root)
    for enough, who in [((), (0, 1)), ((), (3, 4)), ((), (0, 3)), ((1,), (0, 1, 3, 4))]:
        rotation = sign_rotation(bare, *who)
        assert rotation.complete is bool(enough)
        file = decode_file(encode_file(make(3, 4, rotations=(rotation,))))
        if enough:
            verified = verify(file, signers.root, "testnet", NOW)
            assert verified.trust == TrustState(signers.next_root, 1)
        else:
            refused(Refusal.NOT_ENOUGH_SIGNATURES, verify, file, signers.root, "testnet", NOW)


def test_the_old_set_counts_no_more_after_a_rotation(make, signers, sign_rotation):
    there = sign_rotation(make_rotation("testnet", 1, signers.root, signers.next_root), 0, 1, 3, 4)
    back = sign_rotation(make_rotation("testnet", 2, signers.next_root, signers.root), 0, 1, 3, 4)
    known = verify(make(3, 4, rotations=(there,)), signers.root, "testnet", NOW)
    refused(Refusal.NOT_ENOUGH_SIGNATURES, verify, make(0, 1, sequence=9), signers.root, "testnet", NOW, known)
    # Rotated back by a newer statement, the first one cannot be replayed.
    home = verify(make(0, 1, sequence=9, rotations=(there, back)), signers.root, "testnet", NOW, known)
    assert home.trust == TrustState(signers.root, 2)
    replay = make(3, 4, sequence=10, rotations=(there,))
    refused(Refusal.NOT_ENOUGH_SIGNATURES, verify, replay, signers.root, "testnet", NOW, home)


def test_rotations_of_another_network_are_passed_over(make, signers, sign_rotation):
    foreign = sign_rotation(make_rotation("othernet", 1, signers.root, signers.next_root), 0, 1, 3, 4)
    assert foreign.complete
    refused(Refusal.NOT_ENOUGH_SIGNATURES, verify, make(3, 4, rotations=(foreign,)), signers.root, "testnet", NOW)


def test_a_trust_root_must_make_sense(signers):
    keys = frozenset(key.public for key in signers.keys)
    for threshold in (0, 7, -1):
        with pytest.raises(BadConfig):
            TrustRoot(keys, threshold)
    with pytest.raises(BadConfig):
        TrustRoot(frozenset(), 1)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(
        lambda value: json.dumps({"format": "rookery-first-contacts/1", "payload": value, "signatures": value}).encode()
    )
)
def test_no_bytes_raise_anything_but_a_refusal(data):
    with pytest.raises(ListRefused):
        decode_file(data)


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"format":' + b"[" * 100_000, b'{"format":' + b"9" * 100_000 + b"}"]
)
def test_deep_and_long_json_is_a_refusal(data):
    refused(Refusal.MALFORMED, decode_file, data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_altered_lists_are_refused_or_say_the_same(make_bytes, signers, data):
    original = make_bytes(0, 1)
    altered = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(altered) - 1))
        altered[at] = data.draw(st.integers(0, 255))
    try:
        verified = verify(decode_file(bytes(altered)), signers.root, "testnet", NOW)
    except ListRefused as problem:
        assert isinstance(problem.reason, Refusal)
    else:
        assert verified.payload == decode_file(original).payload


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_altered_payloads_never_verify(make, signers, data):
    file = make(0, 1)
    payload = bytearray(file.payload)
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ListRefused):
        verify(decode_file(encode_file(replace(file, payload=bytes(payload)))), signers.root, "testnet", NOW)


def test_signatures_do_not_carry_over_from_other_domains(make, signers):
    file: ListFile = make()
    for domain in (b"", b"rookery/trust-rotation/1\x00", b"rookery/record/1\x00"):
        signatures = tuple(Signature(key.public, key.sign(domain + file.payload)) for key in signers.keys[:3])
        refused(
            Refusal.NOT_ENOUGH_SIGNATURES, verify, replace(file, signatures=signatures), signers.root, "testnet", NOW
        )
