"""A table that stays true: the dead leave it, the living stay, nobody can make us busy."""

from dht.config import DhtConfig
from dht.constants import OVERHEAD_BYTES
from dht.contact import Contact, pack_contacts
from dht.dispatch import MIN_ROOM
from dht.engine import DhtEngine
from dht.events import ContactAdded, ContactRemoved, FindNodeDone
from dht.exchange import CHECK_BYTES
from dht.wire import DownHint, FindNode, Message, Nodes
from tests.dht.handdriven import Stranger, Wire, node_key, place_of


def keys(engine: DhtEngine) -> set[bytes]:
    return {contact.key for contact in engine.contacts()}


def pair() -> tuple[Wire, DhtEngine, DhtEngine]:
    wire = Wire(2)
    wire.join_all()
    one, two = wire.engines.values()
    return wire, one, two


class TestTheDead:
    def test_one_silence_makes_a_suspect_and_two_a_stranger(self) -> None:
        wire, one, two = pair()
        contact = wire.contact(two)
        wire.kill(two)
        one.find_node(bytes(20), wire.now)
        wire.advance(0.9)
        assert contact.key in one.table.suspects
        assert one.contacts() == [contact]
        wire.advance(3.0)  # asked again by itself
        assert one.contacts() == []
        assert [event.contact for event in wire.events(one, ContactRemoved)] == [contact]

    def test_a_suspect_is_not_handed_on(self) -> None:
        wire = Wire(4)
        wire.join_all()
        one, two, *_ = wire.engines.values()
        dead = wire.contact(two)
        asker = Stranger(wire)
        (before,) = asker.say(one, FindNode(1, b"", False, bytes(20), bytes(800)))
        assert isinstance(before, Nodes)
        assert dead.key in before.nodes4
        wire.kill(two)
        one.find_node(dead.id, wire.now)
        wire.advance(0.9)
        assert dead in one.contacts()
        (after,) = asker.say(one, FindNode(2, b"", False, bytes(20), bytes(800)))
        assert isinstance(after, Nodes)
        assert dead.key not in after.nodes4
        assert len(after.nodes4) == len(before.nodes4) - 38

    def test_a_suspect_that_answers_is_handed_on_again(self) -> None:
        wire, one, two = pair()
        wire.lost = lambda datagram: True
        one.find_node(bytes(20), wire.now)
        wire.advance(0.9)
        assert wire.contact(two).key in one.table.suspects
        wire.lost = lambda datagram: False
        wire.advance(3.0)
        assert one.table.suspects == set()
        assert one.contacts() == [wire.contact(two)]
        assert wire.events(one, ContactRemoved) == []

    def test_silent_contacts_are_asked_within_fifteen_minutes(self) -> None:
        wire, one, two = pair()
        wire.advance(880.0)
        wire.kill(two)
        wire.advance(120.0)
        assert one.contacts() == []

    def test_the_living_stay_for_hours(self) -> None:
        wire = Wire(5)
        wire.join_all()
        before = [keys(engine) for engine in wire.engines.values()]
        wire.advance(4 * 3600.0)
        assert [keys(engine) for engine in wire.engines.values()] == before
        assert all(wire.events(engine, ContactRemoved) == [] for engine in wire.engines.values())

    def test_a_node_that_comes_back_is_found_again(self) -> None:
        wire, one, two = pair()
        contact = wire.contact(two)
        wire.kill(two)
        one.find_node(bytes(20), wire.now)
        wire.advance(10.0)
        assert one.contacts() == []
        wire.add(2, life=1)
        wire.advance(90.0)
        assert one.contacts() == [contact]
        assert one.counters["revived"] == 1

    def test_the_lost_are_asked_once_a_minute_at_most(self) -> None:
        wire = Wire(12)
        wire.join_all()
        one, *others = wire.engines.values()
        for other in others:
            wire.kill(other)
        one.find_node(bytes(20), wire.now)
        wire.advance(60.0)
        for _ in range(3):
            one.find_node(bytes(20), wire.now)
            wire.advance(30.0)
        assert one.contacts() == []
        before = len(wire.carried)
        wire.advance(3600.0)
        assert 30 <= len(wire.carried) - before <= 61


class TestNewcomers:
    def test_a_server_that_asks_is_asked_back_and_added_when_it_answers(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        newcomer = Stranger(wire)
        answers = newcomer.say(engine, FindNode(1, b"", True, bytes(20), bytes(800)))
        assert [type(answer) for answer in answers] == [Nodes, FindNode]
        assert engine.contacts() == []
        newcomer.say(engine, Nodes(answers[1].rid, b"", b"", b""))
        assert engine.contacts() == [newcomer.contact]
        assert [event.contact for event in wire.events(engine, ContactAdded)] == [newcomer.contact]

    def test_an_unproven_one_pays_for_the_question_with_bytes_of_its_reply(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        asked_back = []
        for padding in range(150, 251):
            newcomer = Stranger(wire, 900 + padding)
            answers = newcomer.say(engine, FindNode(1, b"", True, bytes(20), bytes(padding)))
            assert newcomer.received <= newcomer.sent
            room = newcomer.sent - OVERHEAD_BYTES
            asked_back.append([type(answer) for answer in answers] == [Nodes, FindNode])
            assert asked_back[-1] == (room >= MIN_ROOM + CHECK_BYTES)
            wire.now += 1.0
        assert set(asked_back) == {False, True}

    def test_it_is_asked_back_once_in_ten_seconds(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        newcomer = Stranger(wire)
        newcomer.say(engine, FindNode(1, b"", True, bytes(20)))
        asked = 0
        for rid in range(100):
            answers = newcomer.say(engine, FindNode(rid, newcomer.token, True, bytes(20)))
            asked += sum(isinstance(answer, FindNode) for answer in answers)
            wire.now += 0.1
        assert asked == 1

    def test_a_thousand_newcomers_are_not_asked_back_at_once(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        asked = 0
        for number in range(200):
            newcomer = Stranger(wire, 900 + number)
            newcomer.say(engine, FindNode(1, b"", False, bytes(20)))
            answers = newcomer.say(engine, FindNode(2, newcomer.token, True, bytes(20)))
            asked += sum(isinstance(answer, FindNode) for answer in answers)
        assert asked == 40  # a burst of two seconds' worth

    def test_a_client_that_asks_is_left_alone(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        client = Stranger(wire)
        client.say(engine, FindNode(1, b"", False, bytes(20)))
        answers = client.say(engine, FindNode(2, client.token, False, bytes(20)))
        assert [type(answer) for answer in answers] == [Nodes]


class TestHints:
    @staticmethod
    def hint(contacts: list[Contact]) -> Message:
        return DownHint(1, b"", *pack_contacts(contacts, 38 * 8))

    def test_a_hint_is_checked_not_believed(self) -> None:
        wire, one, two = pair()
        Stranger(wire).say(one, self.hint([wire.contact(two)]))
        assert one.contacts() == [wire.contact(two)]
        wire.advance(1.0)
        assert one.contacts() == [wire.contact(two)]

    def test_a_liar_sets_off_one_question_in_ten_seconds(self) -> None:
        wire, one, two = pair()
        stranger = Stranger(wire)
        asked = 0
        for _ in range(100):
            one.receive_datagram(stranger.seal(one, self.hint([wire.contact(two)])), stranger.address, wire.now)
            asked += len(wire.waiting())
            wire.now += 0.3
        assert asked == 3

    def test_contacts_we_do_not_have_set_off_nothing(self) -> None:
        wire, one, _ = pair()
        strangers = [Contact(node_key(700 + number).public, place_of(700 + number)) for number in range(8)]
        stranger = Stranger(wire)
        one.receive_datagram(stranger.seal(one, self.hint(strangers)), stranger.address, wire.now)
        assert wire.waiting() == []

    def test_more_than_eight_are_no_message(self) -> None:
        wire, one, _ = pair()
        strangers = [Contact(node_key(700 + number).public, place_of(700 + number)) for number in range(9)]
        nodes4, nodes6 = pack_contacts(strangers, 38 * 9)
        Stranger(wire).say(one, DownHint(1, b"", nodes4, nodes6))
        assert one.counters["dropped_malformed"] == 1

    def test_a_true_hint_rids_the_referrer_of_the_dead(self) -> None:
        wire = Wire(3)
        wire.join_all()
        one, two, three = wire.engines.values()
        dead = wire.contact(three)
        wire.kill(three)
        newcomer = wire.add(4)
        newcomer.join([wire.contact(one)], wire.now)
        wire.advance(6.0)
        assert dead not in one.contacts() or dead.key in one.table.suspects
        assert wire.contact(two) in newcomer.contacts()

    def test_a_referrer_gets_one_hint_in_ten_seconds(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        referrer = Stranger(wire)
        engine.table.offer(referrer.contact)
        hints = 0
        for round_number in range(5):
            engine.find_node(bytes(20), wire.now)
            for _ in range(30):
                for datagram in wire.waiting():
                    if datagram.target != referrer.address:
                        continue
                    message = referrer.open(datagram.data)
                    hints += isinstance(message, DownHint)
                    if isinstance(message, FindNode):
                        made_up = [Contact(node_key(number).public, place_of(number)) for number in range(600, 603)]
                        referrer.say(engine, Nodes(message.rid, b"", *pack_contacts(made_up, 800)))
                wire.now += 0.05
                engine.handle_timer(wire.now)
            assert hints <= 1, round_number
        assert hints == 1
        assert len(wire.events(engine, FindNodeDone)) >= 1


class TestRefresh:
    def test_a_bucket_nobody_looked_into_is_looked_into_within_an_hour(self) -> None:
        wire, one, two = pair()
        wire.advance(120.0)
        refreshed = [bucket.refreshed for bucket in one.table.buckets]
        wire.advance(3700.0)
        assert all(after.refreshed > before for after, before in zip(one.table.buckets, refreshed, strict=True))
        assert wire.contact(two) in one.contacts()

    def test_newcomers_far_away_are_found_by_refreshes(self) -> None:
        wire = Wire(10, config=DhtConfig(refresh_interval=300.0))
        first = wire.contact(next(iter(wire.engines.values())))
        for engine in wire.engines.values():
            engine.join([first], wire.now)
            wire.roundtrip()
        wire.advance(1800.0)
        for engine in wire.engines.values():
            assert len(engine.contacts()) == 9
