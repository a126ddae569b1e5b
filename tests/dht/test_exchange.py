"""What comes in is opened, told apart, and dropped by reason; what goes out is answered by whom it was asked."""

import struct
from random import Random

import pytest

from dht.config import DhtConfig
from dht.constants import MAX_DATAGRAM, PROTOCOL_VERSION
from dht.contact import Contact
from dht.events import ContactAdded, FindNodeDone, PingDone
from dht.sealing import Sealer, network_tag
from dht.stun import MAGIC_COOKIE
from dht.wire import Nodes, Ping, Pong, encode_message
from tests.dht.handdriven import Datagram, Stranger, Wire, node_key, place_of

PADDED_PING = Ping(7, b"", False, bytes(48))
BINDING = struct.pack(">HHI12s", 1, 0, MAGIC_COOKIE, b"transaction.")


def opening(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every datagram that anybody tries to open from now on."""
    opened: list[bytes] = []
    real = Sealer.open

    def noted(self: Sealer, data: bytes) -> tuple[bytes, bytes]:
        opened.append(data)
        return real(self, data)

    monkeypatch.setattr(Sealer, "open", noted)
    return opened


class TestStrangersBytes:
    def test_a_foreign_tag_is_dropped_before_any_cryptography(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        stranger = Stranger(wire)
        data = bytearray(stranger.seal(engine, PADDED_PING))
        data[1] ^= 1

        def never(self: Sealer, datagram: bytes) -> tuple[bytes, bytes]:
            raise AssertionError("opened")

        monkeypatch.setattr(Sealer, "open", never)
        assert stranger.throw(engine, bytes(data)) == []
        assert engine.counters == {"dropped_foreign": 1}

    @pytest.mark.parametrize("size", [0, 1, 5, 77, MAX_DATAGRAM + 1])
    def test_a_size_no_message_has_is_dropped(self, size: int) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        data = (bytes((PROTOCOL_VERSION,)) + network_tag(b"") + bytes(MAX_DATAGRAM))[:size]
        assert Stranger(wire).throw(engine, data) == []
        assert engine.counters == {"dropped_size" if size >= 5 else "dropped_foreign": 1}

    def test_a_box_that_does_not_open_is_dropped(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        stranger = Stranger(wire)
        data = bytearray(stranger.seal(engine, PADDED_PING))
        data[-1] ^= 1
        assert stranger.throw(engine, bytes(data)) == []
        assert engine.counters == {"dropped_box": 1}

    def test_a_message_that_is_none_is_dropped(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        stranger = Stranger(wire)
        assert stranger.throw(engine, stranger.sealer.seal(engine.own_key, b"\x93\x01\x02\x03")) == []
        assert engine.counters == {"dropped_malformed": 1}

    def test_our_own_datagram_sent_back_is_dropped(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        one.ping(wire.contact(two), wire.now)
        (datagram,) = wire.waiting()
        one.receive_datagram(datagram.data, datagram.target, wire.now)
        assert one.counters == {"dropped_box": 1}
        assert wire.waiting() == []

    def test_keys_never_met_have_a_rate_and_met_ones_do_not(self) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(stranger_rate=5))
        friend = Stranger(wire, 900)
        assert len(friend.say(engine, PADDED_PING)) == 1
        answered = 0
        for number in range(901, 931):
            answered += len(Stranger(wire, number, address=friend.address).say(engine, PADDED_PING))
        assert answered == 9  # a burst of twice the rate, one of them the friend's
        assert engine.counters["dropped_stranger_rate"] == 21
        assert len(friend.say(engine, PADDED_PING)) == 1
        wire.now += 1.0
        assert len(Stranger(wire, 940, address=friend.address).say(engine, PADDED_PING)) == 1

    def test_keys_never_met_have_a_rate_for_their_network_and_for_all_and_contacts_are_heard(self) -> None:
        wire = Wire(2, config=DhtConfig(stranger_rate=5, stranger_network_rate=10, stranger_total=30))
        engine, contact = wire.engines.values()
        engine.table.offer(wire.contact(contact))

        def answered(network: int) -> int:
            strangers = [
                Stranger(wire, 1000 + 60 * network + number, address=(f"20.0.{network}.{number % 50}", 4000))
                for number in range(60)
            ]
            return sum(len(stranger.say(engine, PADDED_PING)) for stranger in strangers)

        assert [answered(network) for network in range(4)] == [20, 20, 20, 0]
        known = Stranger(wire, 2)  # The key of the engine in the table, which never spoke here.
        assert len(known.say(engine, PADDED_PING)) == 1
        wire.now += 1.0
        assert [answered(network) for network in range(4, 9)] == [20, 10, 0, 0, 0]

    def test_addresses_of_one_line_are_one_source(self) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(stranger_rate=5))
        same = [Stranger(wire, 1000 + number, address=(f"2a00:1:2:3::{number:x}", 4000)) for number in range(1, 60)]
        assert sum(len(stranger.say(engine, PADDED_PING)) for stranger in same) == 10

    @pytest.mark.parametrize("fault", ["box", "message"])
    def test_what_opens_to_nothing_counts_against_the_rate(self, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(rate_limit=5, rate_burst=10))
        stranger = Stranger(wire)
        assert len(stranger.say(engine, PADDED_PING)) == 1  # so that its key is known, as a contact's is
        opened = opening(monkeypatch)
        for _ in range(50):
            data = bytearray(stranger.sealer.seal(engine.own_key, b"\x93\x01\x02\x03"))
            data[-1] ^= fault == "box"
            stranger.throw(engine, bytes(data))
        assert len(opened) == 9  # the burst, one of it the PING's
        assert engine.counters["dropped_rate"] == 41
        wire.now += 1.0
        assert len(stranger.say(engine, PADDED_PING)) == 1

    def test_beyond_the_rate_of_strangers_nothing_is_opened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(stranger_rate=5))
        opened = opening(monkeypatch)
        for number in range(900, 950):
            Stranger(wire, number, address=("20.3.0.1", 4000)).say(engine, PADDED_PING)
        assert len([data for data in opened if data[5:37] != engine.own_key]) == 10
        assert engine.counters["dropped_stranger_rate"] == 40

    def test_a_flood_of_fresh_keys_costs_no_known_peer_its_box_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cached = 250
        monkeypatch.setattr("dht.sealing.CACHED_KEYS", cached)
        wire = Wire(3)
        wire.join_all()
        engine, *peers = wire.engines.values()
        # Somebody we ask who is in no table, and who answers after the flood.
        asked = Stranger(wire, 900, address=("20.7.0.1", 4000))
        engine.ping(asked.contact, wire.now)
        wire.waiting()
        answered = 0
        for number in range(3 * cached):
            wire.now += 0.0005
            stranger = Stranger(wire, 1000 + number, address=(f"20.1.{number % 200}.{number % 250}", 4000))
            data = Sealer(stranger.key, Random(number)).seal(engine.own_key, encode_message(PADDED_PING))
            engine.receive_datagram(data, stranger.address, wire.now)
            answered += len(engine.datagrams_to_send(wire.now))
        assert answered > cached
        derived: list[bytes] = []
        monkeypatch.setattr(Sealer, "derive", lambda self, key: derived.append(key))
        for peer in peers:
            assert engine._exchange._sealer.knows(peer.own_key)
            engine.ping(wire.contact(peer), wire.now)
        assert engine._exchange._sealer.knows(asked.contact.key)
        assert derived == []

    def test_a_contact_with_a_key_of_small_order_is_not_written_to(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        engine.ping(Contact(bytes(32), place_of(9)), wire.now)
        assert wire.waiting() == []
        wire.advance(1.0)
        assert wire.last(engine, PingDone).rtt is None
        assert engine.counters["weak_node_key"] == 1


class TestReplies:
    @pytest.fixture
    def asked(self) -> tuple[Wire, Stranger, Ping]:
        """An engine that has pinged the stranger, and its PING."""
        wire = Wire(1)
        (engine,) = wire.engines.values()
        stranger = Stranger(wire)
        engine.ping(stranger.contact, wire.now)
        (datagram,) = wire.waiting()
        ping = stranger.open(datagram.data)
        assert isinstance(ping, Ping)
        return wire, stranger, ping

    @staticmethod
    def pong(rid: int) -> Pong:
        return Pong(rid, b"12345678", bytes((11, 0, 1, 1)) + (4000).to_bytes(2, "big"), 1_800_000_000)

    def test_the_asked_node_is_heard(self, asked: tuple[Wire, Stranger, Ping]) -> None:
        wire, stranger, ping = asked
        (engine,) = wire.engines.values()
        wire.now += 0.04
        stranger.say(engine, self.pong(ping.rid))
        done = wire.last(engine, PingDone)
        assert done.rtt == pytest.approx(0.04)
        assert done.observed == ("11.0.1.1", 4000)
        assert not engine.counters

    def test_a_forged_request_id_is_refused(self, asked: tuple[Wire, Stranger, Ping]) -> None:
        wire, stranger, ping = asked
        (engine,) = wire.engines.values()
        stranger.say(engine, self.pong(ping.rid ^ 1))
        assert engine.counters == {"reply_unasked": 1}
        assert wire.events(engine, PingDone) == []

    @pytest.mark.parametrize("source", [("11.3.132.1", 4001), ("11.3.133.1", 4000)], ids=["port", "address"])
    def test_another_endpoint_is_refused(self, asked: tuple[Wire, Stranger, Ping], source: tuple[str, int]) -> None:
        wire, stranger, ping = asked
        (engine,) = wire.engines.values()
        assert stranger.address == ("11.3.132.1", 4000)
        stranger.say(engine, self.pong(ping.rid), source=source)
        assert engine.counters == {"reply_unasked": 1}
        assert wire.events(engine, PingDone) == []

    def test_another_key_is_refused(self, asked: tuple[Wire, Stranger, Ping]) -> None:
        wire, stranger, ping = asked
        (engine,) = wire.engines.values()
        Stranger(wire, 901, address=stranger.address).say(engine, self.pong(ping.rid))
        assert engine.counters == {"reply_unasked": 1}
        assert wire.events(engine, PingDone) == []

    def test_a_reply_of_another_kind_is_refused_and_the_right_one_still_counts(
        self, asked: tuple[Wire, Stranger, Ping]
    ) -> None:
        wire, stranger, ping = asked
        (engine,) = wire.engines.values()
        stranger.say(engine, Nodes(ping.rid, b"", b"", b""))
        assert engine.counters == {"reply_wrong_kind": 1}
        assert engine.contacts() == []
        stranger.say(engine, self.pong(ping.rid))
        assert wire.last(engine, PingDone).rtt is not None

    def test_a_reply_counts_once(self, asked: tuple[Wire, Stranger, Ping]) -> None:
        wire, stranger, ping = asked
        (engine,) = wire.engines.values()
        data = stranger.seal(engine, self.pong(ping.rid))
        stranger.throw(engine, data)
        stranger.throw(engine, data)
        assert len(wire.events(engine, PingDone)) == 1
        assert engine.counters == {"reply_unasked": 1}

    def test_a_lost_ping_is_sent_once_more_to_the_byte_and_answered(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        one.ping(wire.contact(two), wire.now)
        (lost,) = wire.drop()
        wire.now += 0.25
        one.handle_timer(wire.now)
        assert one.counters == {"resent": 1}
        (again,) = wire.waiting()
        assert again == lost
        wire.deliver([again])
        wire.roundtrip()
        assert wire.last(one, PingDone).rtt is not None

    def test_the_same_request_twice_is_answered_twice_and_does_no_harm(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        one.find_node(bytes(20), wire.now)
        assert wire.last(one, FindNodeDone).closest == ()
        one.join([wire.contact(two)], wire.now)
        (request,) = wire.waiting()
        wire.deliver([request, request])
        wire.roundtrip()
        assert one.counters["reply_unasked"] == 1
        assert [event.contact for event in wire.events(one, ContactAdded)] == [wire.contact(two)]

    def test_silence_fails_a_ping_half_a_second_after_its_second_try(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        wire.lost = lambda datagram: True
        one.ping(wire.contact(two), wire.now)
        wire.advance(0.74)
        assert one.counters["resent"] == 1
        assert wire.events(one, PingDone) == []
        wire.advance(0.02)
        assert wire.last(one, PingDone).rtt is None
        assert one.counters["timeouts"] == 1


class TestStun:
    def ask(self, wire: Wire, data: bytes, source: tuple[str, int] = ("11.9.9.9", 5000)) -> list[bytes]:
        (engine,) = wire.engines.values()
        engine.receive_datagram(data, source, wire.now)
        return [datagram.data for datagram in wire.waiting() if datagram.target == source]

    def test_a_binding_request_is_answered_on_the_same_port(self) -> None:
        wire = Wire(1)
        (answer,) = self.ask(wire, BINDING)
        kind, length, cookie, transaction = struct.unpack_from(">HHI12s", answer)
        assert (kind, length, cookie, transaction) == (0x0101, 12, MAGIC_COOKIE, b"transaction.")
        port, host = struct.unpack_from(">HI", answer, 26)
        assert port ^ MAGIC_COOKIE >> 16 == 5000
        assert (host ^ MAGIC_COOKIE).to_bytes(4, "big") == bytes((11, 9, 9, 9))

    def test_an_ipv6_asker_learns_its_address(self) -> None:
        wire = Wire(1)
        (answer,) = self.ask(wire, BINDING, ("2600::9", 5000))
        assert len(answer) == 44
        mask = MAGIC_COOKIE.to_bytes(4, "big") + b"transaction."
        assert bytes(a ^ b for a, b in zip(answer[28:], mask, strict=True)) == bytes.fromhex("2600" + "00" * 13 + "09")

    def test_one_address_has_a_rate(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        assert sum(len(self.ask(wire, BINDING)) for _ in range(50)) == 20
        assert engine.counters == {"answered_stun": 20, "dropped_stun_rate": 30}
        assert len(self.ask(wire, BINDING, ("11.9.9.10", 5000))) == 1
        wire.now += 1.0
        assert sum(len(self.ask(wire, BINDING)) for _ in range(50)) == 5

    @pytest.mark.parametrize(
        "data",
        [
            struct.pack(">HHI12s", 0x0101, 0, MAGIC_COOKIE, bytes(12)),
            struct.pack(">HHI12s", 1, 4, MAGIC_COOKIE, bytes(12)),
            BINDING + b"x",
        ],
        ids=["success", "short", "long"],
    )
    def test_anything_else_of_stun_is_dropped(self, data: bytes) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        assert self.ask(wire, data) == []
        assert engine.counters == {"dropped_stun": 1}

    def test_stun_can_be_left_unanswered(self) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(answer_stun=False))
        assert self.ask(wire, BINDING) == []
        assert engine.counters == {"dropped_stun": 1}


class TestPrivateNetworks:
    def test_members_talk(self) -> None:
        wire = Wire(2, network_key=b"secret")
        one, two = wire.engines.values()
        one.ping(wire.contact(two), wire.now)
        wire.roundtrip()
        assert wire.last(one, PingDone).rtt is not None

    @pytest.mark.parametrize(("ours", "theirs"), [(b"secret", b""), (b"", b"secret"), (b"secret", b"other")])
    def test_others_are_not_heard(self, ours: bytes, theirs: bytes) -> None:
        wire = Wire(0)
        engine = wire.add(1, network_key=ours)
        other = wire.add(2, network_key=theirs)
        other.ping(wire.contact(engine), wire.now)
        wire.advance(1.0)
        assert wire.last(other, PingDone).rtt is None
        assert engine.counters["dropped_foreign"] == 2  # sent, and sent once more
        assert not other.counters["reply_unasked"]

    def test_a_copied_tag_does_not_help(self) -> None:
        wire = Wire(0)
        engine = wire.add(1, network_key=b"secret")
        outsider = Sealer(node_key(5), Random(5))
        data = outsider.seal(engine.own_key, encode_message(PADDED_PING))
        wire.deliver(
            [Datagram(bytes((PROTOCOL_VERSION,)) + network_tag(b"secret") + data[5:], place_of(5), place_of(1))]
        )
        assert engine.counters == {"dropped_box": 1}
        assert wire.waiting() == []
