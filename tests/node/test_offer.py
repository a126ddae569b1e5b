"""The compact session description: frozen bytes, round trips, and every byte that must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import DecodeError, LocalError, RemoteError
from node.protocols.offer import (
    MAX_CANDIDATES,
    Kind,
    PackedCandidate,
    Refusal,
    RefusalReason,
    SessionDescription,
    Setup,
    decode_description,
    derived_priority,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "offer.json").read_text())


def description(**changes: Any) -> SessionDescription:
    fields: dict[str, Any] = {
        "kind": Kind.OFFER,
        "setup": Setup.ACTPASS,
        "ufrag": "aB3+",
        "password": "abcdefghijklmnopqrstuv",
        "fingerprint": bytes(range(32)),
        "candidates": (PackedCandidate("host", "192.0.2.7", 50000),),
    }
    return SessionDescription(**(fields | changes))


def from_vector(vector: dict[str, Any]) -> SessionDescription | Refusal:
    if vector["kind"] == "refusal":
        return Refusal(RefusalReason[vector["reason"]])
    return SessionDescription(
        Kind[vector["kind"].upper()],
        Setup[vector["setup"]],
        vector["ufrag"],
        vector["password"],
        bytes.fromhex(vector["fingerprint"]),
        tuple(PackedCandidate(*candidate) for candidate in vector["candidates"]),
        vector["end_of_candidates"],
    )


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_the_bytes_are_frozen(vector: dict[str, Any]) -> None:
    expected = from_vector(vector)
    assert expected.to_bytes().hex() == vector["hex"]
    assert decode_description(bytes.fromhex(vector["hex"])) == expected


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["name"])
def test_broken_bytes_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match=vector["problem"]):
        decode_description(bytes.fromhex(vector["hex"]))


def test_an_offer_with_one_address_is_as_small_as_promised() -> None:
    assert len(description().to_bytes()) == 70
    two = (*description().candidates, PackedCandidate("srflx", "198.51.100.9", 40000))
    assert len(description(candidates=two).to_bytes()) == 77


def test_no_prefix_and_no_extension_of_a_description_is_one() -> None:
    whole = description().to_bytes()
    for cut in range(len(whole)):
        with pytest.raises(RemoteError):
            decode_description(whole[:cut])
    with pytest.raises(DecodeError, match="too many"):
        decode_description(whole + b"\0")


@pytest.mark.parametrize("host", ["224.0.0.1", "0.0.0.0", "255.255.255.255", "ff02::1", "::"])
def test_an_address_that_is_not_one_hosts_is_refused(host: str) -> None:
    raw = description(candidates=(PackedCandidate("host", host, 9),)).to_bytes()
    with pytest.raises(DecodeError, match="not one host"):
        decode_description(raw)


def test_an_unknown_refusal_reason_reads_as_unspecified() -> None:
    assert decode_description(bytes((1, 3, 200))) == Refusal(RefusalReason.UNSPECIFIED)


@pytest.mark.parametrize(
    "changes",
    [
        {"ufrag": "abc"},
        {"ufrag": "ab:c"},
        {"password": "short"},
        {"fingerprint": b"x"},
        {"candidates": (PackedCandidate("host", "example.org", 1),)},
        {"candidates": (PackedCandidate("prflx", "192.0.2.1", 1),)},
        {"candidates": (PackedCandidate("host", "192.0.2.1", 0),)},
        {"candidates": (PackedCandidate("host", "192.0.2.1", 1),) * (MAX_CANDIDATES + 1)},
        {"kind": Kind.REFUSAL},
    ],
)
def test_what_does_not_fit_is_our_own_mistake(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalError):
        description(**changes).to_bytes()


def test_derived_priorities_fall_with_type_and_order() -> None:
    order = [derived_priority("host", 0), derived_priority("host", 1), derived_priority("srflx", 0)]
    assert order == sorted(order, reverse=True)
    assert derived_priority("host", 0) == 2130706431  # RFC 8445 section 5.1.2.1 with one address


ICE_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"


@st.composite
def candidates(draw: st.DrawFn) -> PackedCandidate:
    host = draw(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
    if host.is_multicast or host.is_unspecified or str(host) == "255.255.255.255":
        host = type(host)("192.0.2.1" if host.version == 4 else "2001:db8::1")
    priority = draw(st.none() | st.integers(0, 2**32 - 1))
    return PackedCandidate(
        draw(st.sampled_from(["host", "srflx", "relay"])), str(host), draw(st.integers(1, 65535)), priority
    )


@given(
    answer=st.booleans(),
    ufrag=st.text(ICE_CHARS, min_size=4, max_size=64),
    password=st.text(ICE_CHARS, min_size=22, max_size=64),
    fingerprint=st.binary(min_size=32, max_size=32),
    tried=st.lists(candidates(), max_size=MAX_CANDIDATES),
    end=st.booleans(),
)
def test_round_trip(
    answer: bool, ufrag: str, password: str, fingerprint: bytes, tried: list[PackedCandidate], end: bool
) -> None:
    kind, setup = (Kind.ANSWER, Setup.ACTIVE) if answer else (Kind.OFFER, Setup.ACTPASS)
    original = SessionDescription(kind, setup, ufrag, password, fingerprint, tuple(tried), end)
    assert decode_description(original.to_bytes()) == original


@given(st.binary(max_size=400))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        decoded = decode_description(data)
    except DecodeError:
        return
    if isinstance(decoded, SessionDescription):
        assert decoded.to_bytes() == data  # one form only: no two byte strings for one description


@given(st.integers(0, 69), st.integers(0, 255))
def test_one_changed_byte_never_raises_anything_else(at: int, value: int) -> None:
    raw = bytearray(description().to_bytes())
    raw[at] = value
    try:
        decode_description(bytes(raw))
    except DecodeError as error:
        assert error.what == "session description"
