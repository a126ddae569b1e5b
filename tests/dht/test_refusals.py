"""Records put over the wire that must not be taken: each is refused for its own reason."""

import pytest

from dht.config import DhtConfig
from dht.records import Refusal, SignedRecord
from dht.wire import Ping, Put, Stored
from tests.dht.handdriven import NOW, Stranger, Wire, identity, record


def broken(**change: int) -> bytes:
    """A good record with one byte set."""
    raw = bytearray(record().raw)
    for at, value in change.items():
        raw[int(at.removeprefix("at"))] = value
    return bytes(raw)


SMALL_ORDER = record().raw[:2] + bytes(32) + record().raw[34:]


class TestRefusals:
    @pytest.mark.parametrize(
        ("raw", "refusal"),
        [
            (b"", Refusal.MALFORMED),
            (b"\x01" + bytes(5), Refusal.MALFORMED),
            (record().raw + b"x", Refusal.MALFORMED),
            (record().raw[:-1], Refusal.MALFORMED),
            (broken(at0=9), Refusal.UNKNOWN_VERSION),
            (broken(at1=77), Refusal.UNKNOWN_VERSION),
            (broken(at50=200), Refusal.OVERSIZED),
            (record().raw[:-1] + bytes((record().raw[-1] ^ 1,)), Refusal.BAD_SIGNATURE),
            (record(payload=b"HELLO").raw[:-64] + record().raw[-64:], Refusal.BAD_SIGNATURE),
            (record().raw[:2] + identity(2).public.raw + record().raw[34:], Refusal.BAD_SIGNATURE),
            (SMALL_ORDER, Refusal.WEAK_KEY),
            (record(expires=NOW - 1).raw, Refusal.EXPIRED),
            (record(expires=NOW + 204 * 3600).raw, Refusal.TOO_LONG),
        ],
        ids=[
            "nothing", "short", "longer", "cut", "version", "kind", "salt", "signature", "payload", "mis-keyed",
            "weak", "expired", "too-long",
        ],
    )  # fmt: skip
    def test_a_bad_record_is_refused_with_its_reason(self, raw: bytes, refusal: Refusal) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        stranger = Stranger(wire)
        stranger.say(engine, Ping(1, b"", False, bytes(48)))
        (stored,) = stranger.say(engine, Put(2, stranger.token, False, raw, 3600, True))
        assert isinstance(stored, Stored)
        assert Refusal(stored.status) is refusal
        assert engine.held_records() == 0

    def test_an_oversized_record_is_no_message(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        stranger = Stranger(wire)
        stranger.say(engine, Ping(1, b"", False, bytes(48)))
        assert stranger.say(engine, Put(2, stranger.token, False, bytes(1001), 3600, True)) == []
        assert engine.counters == {"dropped_malformed": 1}

    @pytest.mark.parametrize(
        ("next_one", "expected", "refusal", "seq"),
        [
            (record(seq=4), None, Refusal.OLDER, 5),
            (record(seq=5, payload=b"other"), None, Refusal.CONFLICT, 5),
            (record(seq=5), None, Refusal.NONE, 5),
            (record(seq=6), None, Refusal.NONE, 6),
            (record(seq=6), 5, Refusal.NONE, 6),
            (record(seq=6), 4, Refusal.CAS_MISMATCH, 5),
            (record(seq=4), 5, Refusal.OLDER, 5),
        ],
        ids=["rolled-back", "conflict", "refreshed", "newer", "swapped", "not-swapped", "replayed"],
    )
    def test_the_newest_record_stays(
        self, next_one: SignedRecord, expected: int | None, refusal: Refusal, seq: int
    ) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        stranger = Stranger(wire)
        stranger.say(engine, Ping(1, b"", False, bytes(48)))
        stranger.say(engine, Put(2, stranger.token, False, record(seq=5).raw, 3600, True))
        (stored,) = stranger.say(engine, Put(3, stranger.token, False, next_one.raw, 3600, True, expected))
        assert isinstance(stored, Stored)
        assert (Refusal(stored.status), stored.seq) == (refusal, seq)
        assert engine.held_records() == 1

    def test_one_owner_has_a_quota(self) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(owner_quota=2))
        stranger = Stranger(wire)
        stranger.say(engine, Ping(1, b"", False, bytes(48)))
        statuses = []
        for number in range(3):
            (stored,) = stranger.say(
                engine, Put(2, stranger.token, False, record(salt=bytes((number,))).raw, 3600, True)
            )
            assert isinstance(stored, Stored)
            statuses.append(Refusal(stored.status))
        assert statuses == [Refusal.NONE, Refusal.NONE, Refusal.OWNER_QUOTA]

    def test_one_network_has_a_quota(self) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(prefix_quota=2))
        statuses = []
        for number in range(4):
            # Three neighbours in one /24, and somebody from elsewhere.
            address = ("11.7.7.1" if number == 3 else f"11.8.8.{number + 1}", 4000)
            stranger = Stranger(wire, 900 + number, address=address)
            stranger.say(engine, Ping(1, b"", False, bytes(48)))
            (stored,) = stranger.say(engine, Put(2, stranger.token, False, record(number).raw, 3600, True))
            assert isinstance(stored, Stored)
            statuses.append(Refusal(stored.status))
        assert statuses == [Refusal.NONE, Refusal.NONE, Refusal.PREFIX_QUOTA, Refusal.NONE]
