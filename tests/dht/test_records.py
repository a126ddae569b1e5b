"""Records: each refusal, the one encoding, which record replaces which."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dht.constants import MAX_RECORD, MAX_SALT
from dht.errors import LocalError
from dht.identity import IdentityKey, hash_place
from dht.records import (
    CLOCK_TOLERANCE,
    MAX_LIFETIME,
    MAX_SEQ,
    Kind,
    RecordRefused,
    Refusal,
    SignedRecord,
    UnverifiedRecord,
    VerdictCache,
    check_replaces,
    decode_record,
    immutable_record,
    mutable_place,
    peer_place,
    place_of,
    sign_record,
    topic_place,
    topic_salt,
    verify_record,
)

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "records.json").read_text(encoding="utf-8"))
BEP44 = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "bep44.json").read_text(encoding="utf-8"))
NOW = float(VECTORS["now"])
ALICE = IdentityKey.from_seed(bytes.fromhex(VECTORS["seed"]))
BOB = IdentityKey.from_seed(b"\x09" * 32)


def note(payload: bytes = b"hello", *, seq: int = 7, salt: bytes = b"note", expires: float = NOW + 60) -> SignedRecord:
    return sign_record(ALICE, Kind.MUTABLE, payload, seq=seq, expires=expires, salt=salt)


def judge(vector: dict[str, Any]) -> Refusal:
    """What a node says to the bytes of a vector, as it would for a PUT."""
    place = bytes.fromhex(vector["place"]) if "place" in vector else None
    try:
        record = verify_record(decode_record(bytes.fromhex(vector["raw"])), NOW, place=place)
        held = vector.get("held")
        old = verify_record(decode_record(bytes.fromhex(held)), NOW) if held else None
    except RecordRefused as refused:
        return refused.refusal
    return check_replaces(record, old, vector.get("expected_seq"))


class TestFrozen:
    @pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["what"])
    def test_valid(self, vector: dict[str, Any]) -> None:
        raw = bytes.fromhex(vector["raw"])
        record = verify_record(decode_record(raw), NOW, place=bytes.fromhex(vector["place"]))
        assert record.raw == raw
        assert record.kind is Kind[vector["kind"]]
        assert record.seq == vector["seq"]
        assert record.salt.hex() == vector["salt"]
        assert record.payload.hex() == vector["payload"]
        assert record.owner == (b"" if record.kind is Kind.IMMUTABLE else ALICE.public.raw)

    @pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: f"{v['refusal'].lower()}: {v['what']}")
    def test_refused(self, vector: dict[str, Any]) -> None:
        assert judge(vector) is Refusal[vector["refusal"]]

    def test_each_refusal_of_a_record_has_a_vector(self) -> None:
        numbers = {Refusal[vector["refusal"]].value for vector in VECTORS["refused"]}
        assert numbers == set(range(Refusal.MALFORMED, Refusal.CAS_MISMATCH + 1))

    def test_numbers_of_refusals_are_for_ever(self) -> None:
        assert [refusal.name for refusal in Refusal] == [
            *("NONE", "MALFORMED", "UNKNOWN_VERSION", "OVERSIZED", "BAD_SIGNATURE", "WEAK_KEY", "EXPIRED", "TOO_LONG"),
            *("WRONG_PLACE", "OLDER", "CONFLICT", "CAS_MISMATCH", "BAD_TOKEN", "OWNER_QUOTA", "PREFIX_QUOTA", "FULL"),
            *("RATE_LIMITED", "NOT_REGISTERED", "UNREACHED", "NOT_SERVER", "TIMEOUT", "WAIT"),
        ]
        assert [refusal.value for refusal in Refusal] == list(range(22))


class TestOneEncoding:
    @given(st.binary(max_size=MAX_RECORD + 10))
    @example(note().raw)
    @example(immutable_record(b"x", expires=NOW).raw)
    def test_any_bytes_are_refused_or_encode_to_themselves(self, raw: bytes) -> None:
        try:
            record = decode_record(raw)
        except RecordRefused:
            return
        assert encode_again(record) == raw

    @pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["what"])
    def test_mutated_records_are_refused_or_encode_to_themselves(self, vector: dict[str, Any]) -> None:
        raw, rng = bytes.fromhex(vector["raw"]), random.Random(3)
        decoded = 0
        for _ in range(300):
            mutated = bytearray(raw)
            mutated[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            try:
                record = decode_record(bytes(mutated))
            except RecordRefused:
                continue
            decoded += 1
            assert encode_again(record) == mutated
            if record.kind is not Kind.IMMUTABLE:
                with pytest.raises(RecordRefused):
                    verify_record(record, NOW)
        assert decoded > 0

    @given(
        st.sampled_from([Kind.MUTABLE, Kind.LIST]),
        st.binary(max_size=800),
        st.binary(min_size=1, max_size=MAX_SALT),
        st.integers(0, MAX_SEQ),
    )
    def test_what_we_sign_comes_back(self, kind: Kind, payload: bytes, salt: bytes, seq: int) -> None:
        record = sign_record(ALICE, kind, payload, seq=seq, expires=NOW + 60, salt=salt)
        assert verify_record(decode_record(record.raw), NOW, place=record.place) == record

    def test_salt_and_payload_do_not_run_together(self) -> None:
        one, other = note(b"bc", salt=b"a"), note(b"c", salt=b"ab")
        assert one.place != other.place
        with pytest.raises(RecordRefused) as caught:
            verify_record(decode_record(one.raw[:-64] + other.raw[-64:]), NOW)
        assert caught.value.refusal is Refusal.BAD_SIGNATURE


def encode_again(record: UnverifiedRecord) -> bytes:
    """The layout of docs/protocol.md, written a second time."""
    if record.kind is Kind.IMMUTABLE:
        return bytes((1, 3)) + len(record.payload).to_bytes(8, "big") + record.payload
    head = bytes((1, record.kind)) + record.owner + record.seq.to_bytes(8, "big") + record.expires.to_bytes(8, "big")
    salted = head + bytes((len(record.salt),)) + record.salt
    return salted + len(record.payload).to_bytes(2, "big") + record.payload + record.raw[-64:]


class TestPlaces:
    def test_place_is_the_hash_of_owner_and_salt(self) -> None:
        assert note().place == mutable_place(ALICE.public, b"note")
        assert note().place == hash_place(b"rookery/place", b"\x02", ALICE.public.raw, b"note")
        assert len({mutable_place(who.public, salt) for who in (ALICE, BOB) for salt in (b"a", b"b")}) == 4
        assert peer_place(ALICE.public) not in {mutable_place(ALICE.public, b""), peer_place(BOB.public)}

    def test_equal_values_share_a_place(self) -> None:
        first, second = immutable_record(b"x", expires=NOW), immutable_record(b"x", expires=NOW + 9)
        assert first.place == second.place != immutable_record(b"y", expires=NOW).place

    def test_announcements_of_all_owners_share_the_topics_place(self) -> None:
        records = [
            sign_record(who, Kind.TOPIC, b"here", seq=1, expires=NOW + 60, salt=topic_salt("chess"))
            for who in (ALICE, BOB)
        ]
        assert {record.place for record in records} == {topic_place("chess")}
        assert topic_place("chess") != topic_place("go")

    def test_an_announcement_cannot_be_aimed_at_a_peers_place(self) -> None:
        victim = peer_place(BOB.public)
        aimed = sign_record(ALICE, Kind.TOPIC, b"spam", seq=1, expires=NOW + 60, salt=victim)
        assert aimed.place != victim
        with pytest.raises(RecordRefused) as caught:
            verify_record(decode_record(aimed.raw), NOW, place=victim)
        assert caught.value.refusal is Refusal.WRONG_PLACE

    @pytest.mark.parametrize("kind", list(Kind))
    def test_places_have_20_bytes(self, kind: Kind) -> None:
        assert len(place_of(kind, ALICE.public.raw, b"s", b"raw")) == 20


class TestSigning:
    @pytest.mark.parametrize(
        "kind, payload, more, problem",
        [
            (Kind.IMMUTABLE, b"", {}, "immutable_record"),
            (Kind.MUTABLE, b"", {"salt": b""}, "1 to 64 bytes, not 0"),
            (Kind.MUTABLE, b"", {"salt": bytes(65)}, "not 65"),
            (Kind.TOPIC, b"", {"salt": bytes(19)}, "topic_salt"),
            (Kind.PEER, b"", {"salt": b"x"}, "no salt"),
            (Kind.LIST, b"", {"salt": bytes(65)}, "at most 64 bytes, not 65"),
            (Kind.PEER, b"", {"seq": -1}, "not -1"),
            (Kind.PEER, b"", {"seq": MAX_SEQ + 1}, "0..2"),
            (Kind.PEER, b"", {"expires": -1}, "not -1"),
            (Kind.PEER, b"", {"expires": 2.0**64}, "expiry"),
            (Kind.PEER, b"", {"expires": float("nan")}, "not nan"),
            (Kind.PEER, bytes(884), {}, "1 bytes too long"),
            (Kind.PEER, bytes(100_000), {}, "too long"),
        ],
    )
    def test_errors_name_the_field(self, kind: Kind, payload: bytes, more: dict[str, Any], problem: str) -> None:
        with pytest.raises(LocalError, match=problem):
            sign_record(ALICE, kind, payload, **{"seq": 1, "expires": NOW, **more})

    def test_immutable_values_have_a_limit_too(self) -> None:
        assert len(immutable_record(bytes(990), expires=NOW).raw) == MAX_RECORD
        with pytest.raises(LocalError, match="1 bytes too long: at most 990 fit"):
            immutable_record(bytes(991), expires=NOW)

    def test_the_largest_peer_record_has_1000_bytes(self) -> None:
        record = sign_record(ALICE, Kind.PEER, bytes(883), seq=1, expires=NOW + 60)
        assert len(record.raw) == MAX_RECORD
        assert verify_record(decode_record(record.raw), NOW) == record

    def test_a_signature_from_elsewhere_means_nothing_here(self) -> None:
        record = note()
        bare = record.raw[:-64] + ALICE.sign(record.raw[:-64])
        with pytest.raises(RecordRefused) as caught:
            verify_record(decode_record(bare), NOW)
        assert caught.value.refusal is Refusal.BAD_SIGNATURE


class TestVerifying:
    def test_the_longest_lifetime_is_taken(self) -> None:
        edge = note(expires=NOW + MAX_LIFETIME + CLOCK_TOLERANCE)
        assert verify_record(decode_record(edge.raw), NOW) == edge

    def test_a_record_lives_until_its_last_second(self) -> None:
        record = decode_record(note(expires=NOW + 60).raw)
        assert verify_record(record, NOW + 59.9).seq == 7
        with pytest.raises(RecordRefused, match=r"expired 0 s ago"):
            verify_record(record, NOW + 60)

    def test_immutable_values_live_as_long_as_records_may(self) -> None:
        record = verify_record(decode_record(immutable_record(b"x", expires=NOW).raw), NOW)
        assert record.expires == NOW + MAX_LIFETIME

    def test_refusals_say_to_which_value(self) -> None:
        with pytest.raises(RecordRefused, match=f"not signed by {BOB.public.raw[:4].hex()}") as caught:
            raw = note().raw
            verify_record(decode_record(raw[:2] + BOB.public.raw + raw[34:]), NOW)
        assert caught.value.detail.startswith("not signed by")

    def test_a_cached_verdict_still_checks_time_and_place(self) -> None:
        cache, record = VerdictCache(), decode_record(note().raw)
        verify_record(record, NOW, cache)
        with pytest.raises(RecordRefused) as late:
            verify_record(record, NOW + 61, cache)
        with pytest.raises(RecordRefused) as elsewhere:
            verify_record(record, NOW, cache, place=bytes(20))
        assert [late.value.refusal, elsewhere.value.refusal] == [Refusal.EXPIRED, Refusal.WRONG_PLACE]

    def test_bad_signatures_are_never_cached(self) -> None:
        cache, raw = VerdictCache(), note().raw
        forged = decode_record(raw[:-64] + bytes((raw[-64] ^ 1,)) + raw[-63:])
        for _ in range(2):
            with pytest.raises(RecordRefused):
                verify_record(forged, NOW, cache)
        assert len(cache) == 0

    def test_the_cache_is_bounded_and_forgets_the_oldest(self) -> None:
        cache = VerdictCache(capacity=2)
        for digest in (b"one", b"two", b"three"):
            cache.add(digest)
        assert len(cache) == 2
        assert [cache.knows(digest) for digest in (b"one", b"two", b"three")] == [False, True, True]


class TestReplacing:
    """BEP 44: a lower sequence number is refused, an equal one must be the same value, cas compares."""

    def test_the_first_is_taken_whatever_was_expected(self) -> None:
        assert check_replaces(note(), None, None) is Refusal.NONE
        assert check_replaces(note(), None, 99) is Refusal.NONE

    def test_higher_replaces_lower_and_not_the_other_way(self) -> None:
        old, new = note(seq=1), note(seq=2)
        assert check_replaces(new, old, None) is Refusal.NONE
        assert check_replaces(old, new, None) is Refusal.OLDER
        assert new.newer_than(old)
        assert not old.newer_than(new)
        assert not new.newer_than(new)

    def test_equal_bytes_refresh(self) -> None:
        assert check_replaces(note(), note(), None) is Refusal.NONE
        assert check_replaces(note(), note(), 6) is Refusal.NONE  # a repeated PUT whose answer was lost

    def test_equal_numbers_and_other_bytes_conflict(self) -> None:
        assert check_replaces(note(b"a"), note(b"b"), None) is Refusal.CONFLICT
        assert check_replaces(note(b"a"), note(b"b"), 7) is Refusal.CONFLICT

    @pytest.mark.parametrize(
        "expected, refusal", [(6, Refusal.NONE), (5, Refusal.CAS_MISMATCH), (8, Refusal.CAS_MISMATCH)]
    )
    def test_compare_and_swap(self, expected: int, refusal: Refusal) -> None:
        assert check_replaces(note(seq=8), note(seq=6), expected) is refusal

    def test_a_roll_back_is_older_whatever_is_expected(self) -> None:
        assert check_replaces(note(seq=1), note(seq=6), 6) is Refusal.OLDER


@pytest.mark.parametrize("vector", BEP44["mutable"])
def test_bep44_signatures_are_no_records_here(vector: dict[str, str]) -> None:
    """The same key under both protocols: what was signed for the Mainline DHT proves nothing in this one."""
    owner, salt = bytes.fromhex(vector["public"]), b"foobar"
    head = bytes((1, Kind.MUTABLE)) + owner + (1).to_bytes(8, "big") + int(NOW + 60).to_bytes(8, "big")
    body = head + bytes((len(salt),)) + salt + (12).to_bytes(2, "big") + b"Hello World!"
    with pytest.raises(RecordRefused) as caught:
        verify_record(decode_record(body + bytes.fromhex(vector["signature"])), NOW)
    assert caught.value.refusal is Refusal.BAD_SIGNATURE
