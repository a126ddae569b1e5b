"""Being reached without an open port: registering, signals through home nodes, answers, and what nobody may do."""

import pytest

from dht.config import DhtConfig
from dht.engine import DhtEngine
from dht.errors import LocalError
from dht.events import HomesChanged, Mode, SignalDone, SignalReceived
from dht.forwarding import registration_message
from dht.identity import IdentityKey
from dht.meeting import FURTHER
from dht.records import Refusal, peer_place
from dht.wire import AnyMessage, Ping, Register, Registered, Signal, Signaled
from tests.dht.handdriven import NOW, Stranger, Wire, identity, place_of

BOB = identity(1)
BOBS_PLACE = peer_place(BOB.public)
HANDLE = bytes(range(100, 120))


class Meeting:
    """Eight servers; Bob is a client that is reached through three of them, Alice a client that wants to reach him."""

    def __init__(self, config: DhtConfig | None = None) -> None:
        self.wire = Wire(8, config=config)
        self.bob = self.wire.add(50, mode=Mode.CLIENT, config=config)
        self.alice = self.wire.add(51, mode=Mode.CLIENT, config=config)
        self.wire.join_all()
        self.bob.serve_identity(BOB, self.wire.now)
        self.wire.advance(5.0)

    def signal(self, blob: bytes = b"offer", reply: bytes = HANDLE) -> SignalDone:
        self.alice.signal(BOBS_PLACE, blob, self.bob.homes(), self.wire.now, reply=reply)
        self.wire.advance(6.0)
        return self.wire.last(self.alice, SignalDone)


@pytest.fixture
def met() -> Meeting:
    return Meeting()


class TestRegistering:
    def test_three_nodes_nearest_to_the_place_become_homes(self, met: Meeting) -> None:
        target = int.from_bytes(BOBS_PLACE, "big")
        servers = [met.wire.contact(engine) for engine in list(met.wire.engines.values())[:8]]
        nearest = sorted(servers, key=lambda contact: contact.long_id ^ target)[:3]
        assert list(met.bob.homes()) == nearest
        assert met.wire.last(met.bob, HomesChanged) == HomesChanged(BOB.public.raw, tuple(nearest))
        # None of them has an address of IPv6, so that two more were asked whether they have.
        assert sum(engine.forwards() for engine in met.wire.engines.values()) == 3 + FURTHER

    def test_entries_are_renewed(self, met: Meeting) -> None:
        homes = met.bob.homes()
        met.wire.advance(600.0)
        assert met.bob.homes() == homes
        assert met.signal().refusal is Refusal.NONE

    def test_while_there_are_too_few_new_ones_are_looked_for_every_five_seconds(self) -> None:
        wire = Wire(1)
        bob = wire.add(50, mode=Mode.CLIENT)
        wire.join_all()
        bob.serve_identity(BOB, wire.now)
        wire.advance(1.0)
        (first,) = bob.homes()
        newcomer = wire.add(2)
        newcomer.join([first], wire.now)
        wire.advance(DhtConfig().home_keepalive / 5 + 0.5)
        assert set(bob.homes()) == {first, wire.contact(newcomer)}

    def test_a_home_that_dies_is_replaced(self, met: Meeting) -> None:
        first, *others = met.bob.homes()
        met.wire.kill(met.wire.engines[first.address])
        met.wire.advance(120.0)
        now = met.bob.homes()
        assert len(now) == 3
        assert first not in now
        assert set(others) <= set(now)
        assert met.wire.last(met.bob, HomesChanged).homes == now
        assert met.signal().refusal is Refusal.NONE

    def test_an_entry_nobody_renews_runs_out(self, met: Meeting) -> None:
        homes = met.bob.homes()
        met.wire.kill(met.bob)
        met.wire.advance(91.0)
        met.alice.signal(BOBS_PLACE, b"offer", homes, met.wire.now)
        met.wire.advance(5.0)
        assert met.wire.last(met.alice, SignalDone).refusal is Refusal.NOT_REGISTERED


class TestSignals:
    def test_a_signal_reaches_the_peer_through_every_home(self, met: Meeting) -> None:
        done = met.signal(b"sealed offer")
        assert done.refusal is Refusal.NONE
        received = met.wire.events(met.bob, SignalReceived)
        assert {event.via for event in received} == set(met.bob.homes())
        assert {(event.recipient, event.reply, event.blob) for event in received} == {
            (BOBS_PLACE, HANDLE, b"sealed offer")
        }

    def test_the_answer_comes_back_under_the_handle(self, met: Meeting) -> None:
        met.signal()
        offer = met.wire.events(met.bob, SignalReceived)[0]
        met.bob.signal(offer.reply, b"answer", [offer.via], met.wire.now)
        met.wire.advance(1.0)
        assert met.wire.last(met.bob, SignalDone).refusal is Refusal.NONE
        answer = met.wire.last(met.alice, SignalReceived)
        assert (answer.recipient, answer.reply, answer.blob, answer.via) == (HANDLE, b"", b"answer", offer.via)

    def test_one_living_home_is_enough(self, met: Meeting) -> None:
        for home in met.bob.homes()[:2]:
            met.wire.kill(met.wire.engines[home.address])
        assert met.signal().refusal is Refusal.NONE

    def test_nobody_registered_is_said(self, met: Meeting) -> None:
        homes = met.bob.homes()
        met.alice.signal(peer_place(identity(2).public), b"offer", homes, met.wire.now)
        met.wire.advance(1.0)
        done = met.wire.last(met.alice, SignalDone)
        assert done.refusal is Refusal.NOT_REGISTERED
        assert dict(done.ways) == dict.fromkeys(homes, Refusal.NOT_REGISTERED)

    def test_a_peer_that_went_silent_is_unreached(self, met: Meeting) -> None:
        homes = met.bob.homes()
        met.wire.kill(met.bob)
        met.alice.signal(BOBS_PLACE, b"offer", homes, met.wire.now)
        met.wire.advance(5.0)
        assert met.wire.last(met.alice, SignalDone).refusal is Refusal.UNREACHED

    def test_silent_homes_are_a_timeout(self, met: Meeting) -> None:
        homes = met.bob.homes()
        for home in homes:
            met.wire.kill(met.wire.engines[home.address])
        met.alice.signal(BOBS_PLACE, b"offer", homes, met.wire.now)
        met.wire.advance(5.0)
        assert met.wire.last(met.alice, SignalDone).refusal is Refusal.TIMEOUT

    def test_no_home_known_is_said_at_once(self, met: Meeting) -> None:
        met.alice.signal(BOBS_PLACE, b"offer", [], met.wire.now)
        assert met.wire.last(met.alice, SignalDone) == SignalDone(
            met.wire.last(met.alice, SignalDone).op, Refusal.NOT_REGISTERED, ()
        )

    def test_a_signal_lost_on_the_way_is_sent_once_more(self, met: Meeting) -> None:
        lost: list[object] = []

        def first_to_bob(datagram: object) -> bool:
            if len(lost) < 3 and getattr(datagram, "target", None) == place_of(50):
                lost.append(datagram)
                return True
            return False

        met.wire.lost = first_to_bob
        assert met.signal().refusal is Refusal.NONE
        assert len(lost) == 3

    def test_a_home_node_itself_reaches_the_peer(self) -> None:
        wire = Wire(1)
        (home,) = wire.engines.values()
        bob = wire.add(50, mode=Mode.CLIENT)
        wire.join_all()
        bob.serve_identity(BOB, wire.now)
        wire.advance(5.0)
        assert bob.homes() == (wire.contact(home),)
        home.signal(BOBS_PLACE, b"offer", bob.homes(), wire.now, reply=HANDLE)
        wire.advance(1.0)
        assert wire.last(home, SignalDone).refusal is Refusal.NONE
        offer = wire.last(bob, SignalReceived)
        bob.signal(offer.reply, b"answer", [offer.via], wire.now)
        wire.advance(1.0)
        assert wire.last(home, SignalReceived).blob == b"answer"

    def test_what_is_too_long_or_not_a_place_is_our_own_mistake(self, met: Meeting) -> None:
        with pytest.raises(LocalError, match="900"):
            met.alice.signal(BOBS_PLACE, bytes(901), met.bob.homes(), met.wire.now)
        with pytest.raises(LocalError, match="20 bytes"):
            met.alice.signal(b"short", b"", met.bob.homes(), met.wire.now)

    def test_the_largest_signal_fits_with_a_handle(self, met: Meeting) -> None:
        assert met.signal(bytes(900)).refusal is Refusal.NONE
        assert met.wire.last(met.bob, SignalReceived).blob == bytes(900)


class Home:
    """One home node and whoever wants something of it, message by message."""

    def __init__(self) -> None:
        self.wire = Wire(1)
        (self.engine,) = self.wire.engines.values()

    def stranger(self, number: int) -> Stranger:
        """Somebody with a token."""
        made = Stranger(self.wire, number)
        made.say(self.engine, Ping(1, b"", False, bytes(48)))
        return made

    def register(
        self, who: Stranger, *, token: bytes | None = None, expires: int = int(NOW) + 60, owner: IdentityKey = BOB
    ) -> Register:
        token = who.token if token is None else token
        message = registration_message(who.key.public, self.engine.own_key, token, expires)
        return Register(2, token, False, owner.public.raw, expires, owner.sign(message))

    def bob(self) -> Stranger:
        """Bob, registered."""
        bob = self.stranger(801)
        assert status(bob.say(self.engine, self.register(bob))) is Refusal.NONE
        return bob


def status(answers: list[AnyMessage]) -> Refusal:
    (answer,) = answers
    assert isinstance(answer, (Registered, Signaled))
    return Refusal(answer.status)


class TestRegistrationsOfOthers:
    def test_a_good_one_stands_for_its_lifetime(self) -> None:
        home = Home()
        bob = home.stranger(801)
        (registered,) = bob.say(home.engine, home.register(bob))
        assert isinstance(registered, Registered)
        assert (registered.status, registered.lifetime) == (Refusal.NONE, 90)
        assert home.engine.forwards() == 1

    def test_without_a_token_there_is_none(self) -> None:
        home = Home()
        bob = Stranger(home.wire, 801)
        assert status(bob.say(home.engine, home.register(bob))) is Refusal.BAD_TOKEN
        assert home.engine.forwards() == 0

    def test_a_captured_one_is_no_good_elsewhere(self) -> None:
        home, other = Home(), Home()
        bob = home.stranger(801)
        captured = home.register(bob)
        del other.wire.engines[place_of(1)]
        other.engine = other.wire.add(2)
        again = other.stranger(801)
        replay = Register(2, again.token, False, captured.owner, captured.expires, captured.signature)
        assert status(again.say(other.engine, replay)) is Refusal.BAD_SIGNATURE

    def test_nor_under_another_token_or_node_key(self) -> None:
        home = Home()
        captured = home.register(home.stranger(801))
        eve = home.stranger(802)
        replay = Register(3, eve.token, False, captured.owner, captured.expires, captured.signature)
        assert status(eve.say(home.engine, replay)) is Refusal.BAD_SIGNATURE
        assert status(eve.say(home.engine, captured)) is Refusal.BAD_TOKEN
        assert home.engine.forwards() == 0

    def test_nor_after_its_token_has_died(self) -> None:
        home = Home()
        bob = home.bob()
        captured = home.register(bob)
        home.wire.now += 601.0
        assert status(bob.say(home.engine, captured)) is Refusal.BAD_TOKEN

    @pytest.mark.parametrize("expires", [int(NOW) - 7201, int(NOW) + 7300])
    def test_nor_out_of_its_time(self, expires: int) -> None:
        home = Home()
        bob = home.stranger(801)
        assert status(bob.say(home.engine, home.register(bob, expires=expires))) is Refusal.EXPIRED

    def test_a_stranger_cannot_register_an_identity(self) -> None:
        home = Home()
        eve = home.stranger(802)
        mine = home.register(eve)
        forged = Register(3, eve.token, False, identity(2).public.raw, mine.expires, mine.signature)
        assert status(eve.say(home.engine, forged)) is Refusal.BAD_SIGNATURE
        weak = Register(4, eve.token, False, bytes(32), mine.expires, bytes(64))
        assert status(eve.say(home.engine, weak)) is Refusal.BAD_SIGNATURE

    def test_a_full_home_says_so_and_forgets_the_expired_first(self) -> None:
        wire = Wire(0)
        home = Home()
        home.wire = wire
        home.engine = wire.add(1, config=DhtConfig(max_forwards=1))
        home.bob()
        carol = home.stranger(803)
        expires = int(NOW) + 600
        message = registration_message(carol.key.public, home.engine.own_key, carol.token, expires)
        owner = identity(3)
        hers = Register(2, carol.token, False, owner.public.raw, expires, owner.sign(message))
        assert status(carol.say(home.engine, hers)) is Refusal.FULL
        wire.now += 91.0
        assert status(carol.say(home.engine, hers)) is Refusal.NONE
        assert home.engine.forwards() == 1


class TestAbuse:
    @staticmethod
    def spy(home: Home) -> tuple[list[tuple[bytes, tuple[str, int]]], DhtEngine]:
        return [], home.engine

    def test_without_a_token_nothing_is_forwarded(self) -> None:
        home = Home()
        bob = home.bob()
        eve = Stranger(home.wire, 802)
        data = eve.seal(home.engine, Signal(1, b"", False, BOBS_PLACE, b"", b"x" * 500))
        home.engine.receive_datagram(data, eve.address, home.wire.now)
        sent = home.engine.datagrams_to_send(home.wire.now)
        assert [target for _, target in sent] == [eve.address]
        assert sum(len(data) for data, _ in sent) <= len(data)
        assert bob.address != eve.address

    def test_nobody_but_the_registered_peer_and_the_sender_ever_hears_of_it(self) -> None:
        home = Home()
        bob, eve = home.bob(), home.stranger(802)
        received, to_bob, to_eve, others = 0, 0, 0, []
        for number in range(200):
            recipient = BOBS_PLACE if number % 2 else number.to_bytes(20, "big")
            message = Signal(number, eve.token, True, recipient, number.to_bytes(20, "little"), bytes(number % 64))
            data = eve.seal(home.engine, message)
            received += len(data)
            home.engine.receive_datagram(data, eve.address, home.wire.now)
            home.wire.now += 0.1
            timer = home.engine.next_timer()
            if timer is not None and timer <= home.wire.now:
                home.engine.handle_timer(home.wire.now)
            for sent, target in home.engine.datagrams_to_send(home.wire.now):
                if target == bob.address:
                    to_bob += len(sent)
                elif target == eve.address:
                    to_eve += len(sent)
                else:
                    others.append(target)
        assert others == []
        assert to_bob > 0
        # What goes to the peer who asked for it is sent once more where he is silent; never more than that.
        assert to_bob <= 2 * received
        # Beside the answers she is asked now and then whether she serves; all in all no more than twice what she sent.
        assert to_eve <= 2 * received

    def test_one_peer_gets_five_signals_a_second(self) -> None:
        home = Home()
        home.bob()
        eve = home.stranger(802)
        refused = 0
        for number in range(50):
            answers = eve.say(home.engine, Signal(number, eve.token, False, BOBS_PLACE, b"", b"x"))
            refused += [status([answer]) for answer in answers] == [Refusal.RATE_LIMITED]
        assert refused == 30  # a burst of four seconds' worth went through
        home.wire.now += 1.0
        passed = sum(
            not eve.say(home.engine, Signal(100 + number, eve.token, False, BOBS_PLACE, b"", b"x"))
            for number in range(9)
        )
        assert passed == 5

    def test_a_handle_cannot_shadow_an_identity(self) -> None:
        home = Home()
        bob, eve, alice = home.bob(), home.stranger(802), home.stranger(803)
        # Eve names Bob's place as her reply handle, so that what is for Bob would come to her.
        answers = eve.say(home.engine, Signal(1, eve.token, False, BOBS_PLACE, BOBS_PLACE, b"x"))
        assert status(answers) is Refusal.CONFLICT
        data = alice.seal(home.engine, Signal(2, alice.token, False, BOBS_PLACE, b"", b"for bob"))
        home.engine.receive_datagram(data, alice.address, home.wire.now)
        assert [target for _, target in home.engine.datagrams_to_send(home.wire.now)] == [bob.address]

    def test_nor_where_it_was_there_before_the_identity_registered(self) -> None:
        home = Home()
        eve, alice = home.stranger(802), home.stranger(803)
        assert status(eve.say(home.engine, home.register(eve, owner=identity(3)))) is Refusal.NONE
        eve.say(home.engine, Signal(3, eve.token, False, peer_place(identity(3).public), BOBS_PLACE, b"x"))
        bob = home.bob()
        data = alice.seal(home.engine, Signal(2, alice.token, False, BOBS_PLACE, HANDLE, b"for bob"))
        home.engine.receive_datagram(data, alice.address, home.wire.now)
        assert [target for _, target in home.engine.datagrams_to_send(home.wire.now)] == [bob.address]

    def test_a_handle_taken_by_another_is_refused(self) -> None:
        home = Home()
        home.bob()
        alice, eve = home.stranger(803), home.stranger(802)
        assert alice.say(home.engine, Signal(1, alice.token, False, BOBS_PLACE, HANDLE, b"x")) == []
        answers = eve.say(home.engine, Signal(1, eve.token, False, BOBS_PLACE, HANDLE, b"x"))
        assert status(answers) is Refusal.CONFLICT

    def test_a_handle_lives_half_a_minute(self) -> None:
        home = Home()
        bob, alice = home.bob(), home.stranger(803)
        alice.say(home.engine, Signal(1, alice.token, False, BOBS_PLACE, HANDLE, b"x"))
        home.wire.now += 31.0
        assert status(bob.say(home.engine, Signal(5, bob.token, False, HANDLE, b"", b"y"))) is Refusal.NOT_REGISTERED

    def test_the_same_request_again_is_forwarded_once_while_under_way(self) -> None:
        home = Home()
        bob, alice = home.bob(), home.stranger(803)
        data = alice.seal(home.engine, Signal(1, alice.token, False, BOBS_PLACE, b"", b"x"))
        for _ in range(2):
            home.engine.receive_datagram(data, alice.address, home.wire.now)
        assert [target for _, target in home.engine.datagrams_to_send(home.wire.now)] == [bob.address]

    def test_a_peer_takes_signals_from_one_sender_at_a_rate(self) -> None:
        wire = Wire(0)
        bob = wire.add(1, mode=Mode.CLIENT)
        bob.serve_identity(BOB, wire.now)
        eve = Stranger(wire, 802)
        for number in range(100):
            eve.say(bob, Signal(number, b"", False, BOBS_PLACE, b"", b"x"))
        assert len(wire.events(bob, SignalReceived)) == 80
