"""What a node answers whom: no more to an unproven address than it sent, little as a client, a reason for each no."""

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.config import DhtConfig
from dht.constants import MAX_MESSAGE, OVERHEAD_BYTES
from dht.contact import Address, Contact, pack_address, unpack_contacts
from dht.engine import DhtEngine
from dht.events import GetDone, Mode, PingDone, PutDone, RecordStored
from dht.records import Kind, Refusal, SignedRecord, immutable_record, sign_record, topic_salt
from dht.wire import (
    DialBack,
    Dialed,
    FindNode,
    Get,
    Nodes,
    Ping,
    Pong,
    Put,
    Register,
    Request,
    Signal,
    Signaled,
    Stored,
    Value,
    encode_message,
)
from tests.dht.handdriven import NOW, Stranger, Wire, identity, node_key, place_of, record

PLACE = bytes(range(20))


def requests(rid: int, server: bool, token: bytes, pad: int) -> list[Request]:
    """One of each kind, as short as its fields allow."""
    padding = bytes(pad)
    return [
        Ping(rid, token, server, padding),
        FindNode(rid, token, server, PLACE, padding),
        Get(rid, token, server, PLACE, True, 0, padding),
        Get(rid, token, server, record().place, True, 0, padding),
        Put(rid, token, server, b"", 0, True),
        Put(rid, token, server, record(2).raw, 3600, True, 1),
        Signal(rid, token, server, PLACE, b"", b""),
        Register(rid, token, server, identity(1).public.raw, int(NOW) + 60, bytes(64)),
        DialBack(rid, token, server, bytes(8), padding),
    ]


def known(count: int, v6: int) -> Iterator[Contact]:
    for number in range(count):
        yield Contact(node_key(1000 + number).public, place_of(300 + number))
    for number in range(v6):
        yield Contact(node_key(2000 + number).public, (f"2600:{number:x}::1", 4000))


def holder(contacts: int = 0, v6: int = 0, records: tuple[SignedRecord, ...] = ()) -> tuple[Wire, DhtEngine]:
    """An engine that knows contacts and holds records."""
    wire = Wire(1)
    (engine,) = wire.engines.values()
    for contact in known(contacts, v6):
        engine.table.offer(contact)
    assert engine.restore([], [(one.raw, NOW + 3600) for one in records], NOW) == len(records)
    return wire, engine


class TestBytes:
    @settings(max_examples=60)
    @given(
        contacts=st.integers(0, 60),
        v6=st.integers(0, 30),
        size=st.integers(0, 860),
        pad=st.sampled_from([0, 1, 40, 48, 300, 760, 900]) | st.integers(0, 1000),
        rid=st.sampled_from([0, 127, 2**16, 2**64 - 1]),
        server=st.booleans(),
        token=st.sampled_from([b"", bytes(8)]),
        source=st.sampled_from([("11.200.1.1", 4000), ("2600:1:2::9", 4000), ("192.168.1.9", 4000)]),
    )
    def test_an_unproven_address_gets_no_more_than_it_sent(
        self,
        contacts: int,
        v6: int,
        size: int,
        pad: int,
        rid: int,
        server: bool,
        token: bytes,
        source: Address,
    ) -> None:
        wire, engine = holder(contacts, v6, (record(payload=bytes(size)),))
        for number, request in enumerate(requests(rid, server, token, pad)):
            if len(encode_message(request)) > MAX_MESSAGE:
                continue
            stranger = Stranger(wire, 900 + number, address=(source[0], source[1] + number))
            stranger.say(engine, request)
            # Whatever the engine asks of its own accord afterwards counts as well.
            for _ in range(40):
                wire.now += 1.0
                engine.handle_timer(wire.now)
                sent = engine.datagrams_to_send(wire.now)
                stranger.received += sum(len(data) for data, target in sent if target == stranger.address)
            assert stranger.received <= stranger.sent, request

    def test_a_padded_first_question_has_a_full_answer(self) -> None:
        wire, engine = holder(contacts=60)
        stranger = Stranger(wire)
        (nodes,) = stranger.say(engine, FindNode(2**63, b"", False, PLACE, bytes(36 + 38 * 20 - 39)))
        assert isinstance(nodes, Nodes)
        assert len(nodes.nodes4) == 20 * 38

    def test_our_own_first_question_is_padded_for_a_full_answer(self) -> None:
        wire, engine = holder(contacts=60)
        asker = wire.add(2)
        asker.join([wire.contact(engine)], wire.now)
        wire.step()
        (nodes,) = engine.datagrams_to_send(wire.now)
        (question,) = wire.carried
        assert len(nodes[0]) <= len(question.data)
        asker.receive_datagram(nodes[0], wire.address(engine), wire.now)
        assert len(wire.waiting()) == DhtConfig().alpha
        assert len(nodes[0]) >= OVERHEAD_BYTES + 38 * 20

    def test_a_bare_first_question_has_as_many_contacts_as_fit_it(self) -> None:
        wire, engine = holder(contacts=60)
        stranger = Stranger(wire)
        (nodes,) = stranger.say(engine, FindNode(2**63, b"", False, PLACE, bytes(80)))
        assert isinstance(nodes, Nodes)
        assert len(nodes.nodes4) == 2 * 38
        assert stranger.received <= stranger.sent

    def test_a_proven_address_has_a_full_answer_to_a_bare_question(self) -> None:
        wire, engine = holder(contacts=60)
        stranger = Stranger(wire)
        stranger.say(engine, Ping(1, b"", False, bytes(48)))
        (nodes,) = stranger.say(engine, FindNode(2, stranger.token, False, PLACE))
        assert isinstance(nodes, Nodes)
        assert len(nodes.nodes4) == 20 * 38

    def test_a_ping_too_short_for_its_pong_stays_unanswered(self) -> None:
        wire, engine = holder()
        assert Stranger(wire).say(engine, Ping(1, b"", False)) == []

    def test_nearest_come_first_and_the_asker_is_left_out(self) -> None:
        wire, engine = holder(contacts=60)
        stranger = Stranger(wire)
        engine.table.offer(stranger.contact)
        target = stranger.contact.long_id.to_bytes(20, "big")
        (nodes,) = stranger.say(engine, FindNode(1, b"", False, target, bytes(800)))
        assert isinstance(nodes, Nodes)
        named = unpack_contacts(nodes.nodes4, nodes.nodes6)
        distances = [contact.long_id ^ stranger.contact.long_id for contact in named]
        assert distances == sorted(distances)
        assert stranger.contact not in named
        assert len(named) >= 19


class TestTokens:
    def test_a_put_without_a_token_is_refused_and_told_one(self) -> None:
        wire, engine = holder()
        stranger = Stranger(wire)
        (stored,) = stranger.say(engine, Put(1, b"", False, record().raw, 3600, True))
        assert isinstance(stored, Stored)
        assert stored.status == Refusal.BAD_TOKEN
        assert engine.held_records() == 0
        (stored,) = stranger.say(engine, Put(2, stored.token, False, record().raw, 3600, True))
        assert isinstance(stored, Stored)
        assert (stored.status, stored.seq) == (Refusal.NONE, 1)
        assert engine.held_records() == 1
        assert wire.last(engine, RecordStored).record == record()

    @pytest.mark.parametrize(
        ("number", "address"), [(900, ("11.3.132.1", 4001)), (900, ("11.3.133.1", 4000)), (901, ("11.3.132.1", 4000))]
    )
    def test_a_token_is_good_for_one_key_at_one_endpoint(self, number: int, address: Address) -> None:
        wire, engine = holder()
        stranger = Stranger(wire, 900)
        stranger.say(engine, Ping(1, b"", False, bytes(48)))
        other = Stranger(wire, number, address=address)
        (stored,) = other.say(engine, Put(2, stranger.token, False, record().raw, 3600, True))
        assert isinstance(stored, Stored)
        assert stored.status == Refusal.BAD_TOKEN

    @pytest.mark.parametrize(("age", "refusal"), [(299.0, Refusal.NONE), (601.0, Refusal.BAD_TOKEN)])
    def test_a_token_lives_five_to_ten_minutes(self, age: float, refusal: Refusal) -> None:
        wire, engine = holder()
        stranger = Stranger(wire)
        stranger.say(engine, Ping(1, b"", False, bytes(48)))
        token = stranger.token
        wire.now += age
        (stored,) = stranger.say(engine, Put(2, token, False, record().raw, 3600, True))
        assert isinstance(stored, Stored)
        assert stored.status == refusal

    def test_a_writer_refused_for_its_token_tries_again_and_succeeds(self) -> None:
        wire = Wire(2)
        writer, keeper = wire.engines.values()
        writer.join([wire.contact(keeper)], wire.now)
        wire.advance(1.0)
        assert writer.requests.token_for(wire.contact(keeper), wire.now) != b""
        wire.kill(keeper)
        reborn = wire.add(2, life=1)  # the same key, other token secrets
        writer.put(record(), wire.now)
        wire.roundtrip()
        receipt = wire.last(writer, PutDone).receipt
        assert (receipt.stored, receipt.needed, receipt.reasons) == (2, 2, {})
        assert reborn.held_records() == 1


class TestLifetimes:
    @pytest.mark.parametrize(("lifetime", "refusal", "held"), [(0, Refusal.EXPIRED, 0), (1, Refusal.NONE, 1)])
    def test_what_is_to_be_kept_for_no_time_has_expired(self, lifetime: int, refusal: Refusal, held: int) -> None:
        wire, engine = holder()
        stranger = Stranger(wire)
        stranger.say(engine, Ping(1, b"", False, bytes(48)))
        (stored,) = stranger.say(engine, Put(2, stranger.token, False, record().raw, lifetime, True))
        assert isinstance(stored, Stored)
        assert (stored.status, engine.held_records()) == (refusal, held)


class TestRates:
    def test_one_address_has_a_rate_and_others_are_served(self) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(rate_limit=10, rate_burst=20))
        stranger = Stranger(wire)
        answers = [stranger.say(engine, Ping(rid, b"", False, bytes(48))) for rid in range(100)]
        assert sum(map(len, answers)) == 20
        assert engine.counters == {"dropped_rate": 80}
        other = Stranger(wire, 901)
        assert len(other.say(engine, Ping(1, b"", False, bytes(48)))) == 1
        wire.now += 1.0
        answers = [stranger.say(engine, Ping(rid, b"", False, bytes(48))) for rid in range(100)]
        assert sum(map(len, answers)) == 10

    def test_what_is_beyond_the_rate_is_not_even_opened(self) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(rate_limit=10, rate_burst=20))
        stranger = Stranger(wire)
        opened = []
        real = engine._exchange._sealer.open
        engine._exchange._sealer.open = lambda data: opened.append(data) or real(data)  # type: ignore[assignment, func-returns-value, method-assign]
        for rid in range(100):
            stranger.say(engine, Ping(rid, b"", False, bytes(48)))
        assert len(opened) == 20

    def test_a_reply_is_taken_from_who_has_used_up_its_rate(self) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(rate_limit=10, rate_burst=20))
        stranger = Stranger(wire)
        for rid in range(100):
            stranger.say(engine, Ping(rid, b"", False, bytes(48)))
        engine.ping(stranger.contact, wire.now)
        (asked,) = wire.waiting()
        question = stranger.open(asked.data)
        assert isinstance(question, Ping)
        stranger.say(engine, Pong(question.rid, b"", pack_address(place_of(1)), int(wire.now)))
        assert wire.last(engine, PingDone).rtt is not None

    def test_a_network_has_a_rate_and_others_are_served(self) -> None:
        wire = Wire(0)
        engine = wire.add(1, config=DhtConfig(network_rate=10))
        near = [Stranger(wire, 900 + number, address=(f"20.1.1.{number}", 4000)) for number in range(1, 11)]
        answers = [one.say(engine, Ping(rid, b"", False, bytes(48))) for rid in range(10) for one in near]
        assert sum(map(len, answers)) == 20
        assert len(Stranger(wire, 950).say(engine, Ping(1, b"", False, bytes(48)))) == 1
        wire.now += 1.0
        answers = [one.say(engine, Ping(rid, b"", False, bytes(48))) for rid in range(10) for one in near]
        assert sum(map(len, answers)) == 10


class TestClients:
    def test_a_client_answers_pings_and_nothing_that_makes_it_a_server(self) -> None:
        wire = Wire(1, mode=Mode.CLIENT)
        (engine,) = wire.engines.values()
        stranger = Stranger(wire)
        (pong,) = stranger.say(engine, Ping(1, b"", True, bytes(48)))
        assert isinstance(pong, Pong)
        for request in requests(2, True, stranger.token, 700)[1:6] + requests(2, True, stranger.token, 700)[7:]:
            assert stranger.say(engine, request) == [], request
        assert engine.counters == {"ignored_as_client": 7}
        assert engine.held_records() == 0

    def test_a_client_forwards_nothing(self) -> None:
        wire = Wire(1, mode=Mode.CLIENT)
        (engine,) = wire.engines.values()
        (signaled,) = Stranger(wire).say(engine, Signal(1, b"", False, PLACE, b"", b"sealed"))
        assert isinstance(signaled, Signaled)
        assert signaled.status == Refusal.NOT_SERVER

    def test_a_client_is_in_nobodys_table(self) -> None:
        wire = Wire(3)
        client = wire.add(4, mode=Mode.CLIENT)
        wire.join_all(60.0)
        servers = list(wire.engines.values())[:3]
        assert len(client.contacts()) == 3
        for server in servers:
            assert {contact.key for contact in server.contacts()} == {s.own_key for s in servers if s is not server}


class TestValues:
    def test_what_was_put_is_got(self) -> None:
        wire, engine = holder(contacts=30, records=(record(),))
        (value,) = Stranger(wire).say(engine, Get(1, b"", False, record().place, True, 0, bytes(1100)))
        assert isinstance(value, Value)
        assert (value.records, value.total) == ([record().raw], 1)
        assert len(value.nodes4) == 8 * 38

    def test_the_largest_record_fits_an_answer(self) -> None:
        largest = immutable_record(bytes(990), expires=NOW + 3600)
        wire, engine = holder(contacts=30, records=(largest,))
        assert len(largest.raw) == 1000
        stranger = Stranger(wire)
        (value,) = stranger.say(engine, Get(1, b"", False, largest.place, True, 0, bytes(MAX_MESSAGE - 48)))
        assert isinstance(value, Value)
        assert value.records == [largest.raw]
        assert stranger.received <= stranger.sent <= MAX_MESSAGE + OVERHEAD_BYTES

    def test_an_unproven_question_too_short_for_the_record_has_the_count_and_a_token(self) -> None:
        wire, engine = holder(records=(record(payload=bytes(500)),))
        stranger = Stranger(wire)
        (value,) = stranger.say(engine, Get(1, b"", False, record().place, True, 0, bytes(20)))
        assert isinstance(value, Value)
        assert (value.records, value.total) == ([], 1)
        (value,) = stranger.say(engine, Get(2, value.token, False, record().place, True, 0))
        assert isinstance(value, Value)
        assert value.records == [record(payload=bytes(500)).raw]

    def test_an_expired_record_is_not_given(self) -> None:
        wire, engine = holder(records=(record(expires=NOW + 60),))
        wire.now += 60.0
        (value,) = Stranger(wire).say(engine, Get(1, b"", False, record().place, True, 0, bytes(1000)))
        assert isinstance(value, Value)
        assert (value.records, value.total) == ([], 0)

    def test_nothing_held_is_nothing_got(self) -> None:
        wire, engine = holder()
        engine.get(PLACE, wire.now)
        assert wire.last(engine, GetDone).records == ()


class TestDialBack:
    def test_only_a_proven_address_is_dialled_and_rarely(self) -> None:
        wire, engine = holder()
        stranger = Stranger(wire)
        statuses = []
        for rid in range(7):
            (dialed,) = stranger.say(engine, DialBack(rid, stranger.token, False, bytes(8)))
            assert isinstance(dialed, Dialed)
            statuses.append(Refusal(dialed.status))
        assert statuses == [Refusal.BAD_TOKEN] + 4 * [Refusal.NONE] + 2 * [Refusal.RATE_LIMITED]


def test_a_flood_of_random_requests_leaves_the_engine_answering() -> None:
    wire, engine = holder(contacts=30)
    rng = Random(5)
    for number in range(200):
        stranger = Stranger(wire, 900 + number)
        stranger.say(engine, rng.choice(requests(number, True, b"", rng.randrange(200))))
    (pong,) = Stranger(wire, 1200).say(engine, Ping(1, b"", False, bytes(48)))
    assert isinstance(pong, Pong)


def test_each_asker_of_a_crowded_topic_has_an_order_of_its_own_and_all_pages_of_it() -> None:
    announced = tuple(
        sign_record(identity(number), Kind.TOPIC, b"", seq=1, expires=NOW + 3600, salt=topic_salt("rooks"))
        for number in range(1, 41)
    )
    wire, engine = holder(records=announced)
    firsts = set()
    for number in range(901, 906):
        stranger = Stranger(wire, number)
        had: list[bytes] = []
        stranger.say(engine, Ping(1, b"", False, bytes(100)))
        while len(had) < len(announced):
            asked = Get(2, stranger.token, False, announced[0].place, False, len(had), b"")
            answer = next(one for one in stranger.say(engine, asked) if isinstance(one, Value))
            assert answer.records and answer.total == len(announced)
            had += answer.records
        assert sorted(had) == sorted(one.raw for one in announced)
        firsts.add(had[0])
    assert len(firsts) > 1
