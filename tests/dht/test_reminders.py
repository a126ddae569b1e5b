"""AGAIN: a home node says it once for what asked for it, to who asked, with fewer bytes; nobody else hears of it."""

from random import Random

import pytest

from dht.config import DhtConfig
from dht.constants import MAX_AGAIN, MAX_ENTRY
from dht.contact import Address, Contact
from dht.events import Mode
from dht.forwarding import registration_message
from dht.forwarding_reminders import AGAIN_RATE, Reminders
from dht.identity import IdentityKey
from dht.records import Refusal
from dht.wire import Again, AnyMessage, Ping, Registered, RegisterFor
from tests.dht.handdriven import NOW, Stranger, identity, place_of
from tests.dht.test_home_abuse import BOB, Home, status
from tests.dht.test_meeting import Meeting


def wish(
    home: Home, who: Stranger, again: int, *, lifetime: int = 355, rid: int = 5, owner: IdentityKey = BOB, token=None
) -> RegisterFor:
    """A good registration that wants to hear AGAIN."""
    token, expires = who.token if token is None else token, int(home.wire.now) + 600
    message = registration_message(who.key.public, home.engine.own_key, token, expires)
    return RegisterFor(rid, token, False, owner.public.raw, expires, owner.sign(message), lifetime, again)


def later(home: Home, seconds: float) -> list[tuple[bytes, Address]]:
    """What the home node sends of its own accord within that time."""
    sent, end = [], home.wire.now + seconds
    while (due := home.engine.next_timer()) is not None and due <= end:
        home.wire.now = max(home.wire.now, due)
        home.engine.handle_timer(home.wire.now)
        sent += home.engine.datagrams_to_send(home.wire.now)
    home.wire.now = end
    return sent


class TestOfAHomeNode:
    def test_it_comes_once_at_its_time_and_has_fewer_bytes(self) -> None:
        home = Home()
        bob = home.stranger(801)
        data = bob.seal(home.engine, wish(home, bob, 290))
        (registered,) = bob.throw(home.engine, data)
        assert isinstance(registered, Registered) and registered.lifetime == 355
        assert later(home, 289.0) == []
        ((said, target),) = later(home, 2.0)
        assert target == bob.address and bob.open(said) == Again(5, b"")
        assert len(said) < len(data)
        assert later(home, 600.0) == []

    def test_who_wants_none_gets_none(self) -> None:
        home = Home()
        bob = home.stranger(801)
        assert status(bob.say(home.engine, wish(home, bob, 0))) is Refusal.NONE
        assert status(bob.say(home.engine, home.register(bob))) is Refusal.NONE
        assert later(home, 900.0) == []

    def test_the_latest_wish_of_an_entry_replaces_the_one_before(self) -> None:
        home = Home()
        bob = home.stranger(801)
        for rid in range(100):
            bob.say(home.engine, wish(home, bob, 100, rid=rid))
        ((said, _),) = later(home, 200.0)
        assert bob.open(said) == Again(99, b"")
        bob.say(home.engine, wish(home, bob, 100, rid=100))
        bob.say(home.engine, home.register(bob))  # takes it back
        assert later(home, 200.0) == []

    def test_without_a_token_or_with_anothers_nobody_hears_anything(self) -> None:
        home = Home()
        bob, eve = home.stranger(801), home.stranger(802)
        assert status(eve.say(home.engine, wish(home, eve, 10, token=bytes(8)))) is Refusal.BAD_TOKEN
        # Recorded, and sent again from where the victim is said to be.
        recorded = bob.seal(home.engine, wish(home, bob, 10))
        home.engine.receive_datagram(recorded, ("9.9.9.9", 53), home.wire.now)
        victim = [target for _, target in home.engine.datagrams_to_send(home.wire.now) if target[0] == "9.9.9.9"]
        assert len(victim) == 1  # the refusal, as for every request
        assert later(home, 60.0) == []

    def test_a_forged_registration_earns_none(self) -> None:
        home = Home()
        eve = home.stranger(802)
        good = wish(home, eve, 10, owner=identity(3))
        forged = RegisterFor(6, eve.token, False, BOB.public.raw, good.expires, good.signature, 355, 10)
        assert status(eve.say(home.engine, forged)) is Refusal.BAD_SIGNATURE
        assert later(home, 60.0) == []

    def test_nobody_has_more_sent_than_it_sent_nor_all_at_one_moment(self) -> None:
        home = Home()
        eve = home.stranger(802)
        eve.sent = eve.received = 0
        for number in range(300):
            # As many identities as she likes, aimed at one moment.
            eve.say(home.engine, wish(home, eve, 200, owner=identity(1000 + number), rid=number))
        said = later(home, 400.0)
        assert {target for _, target in said} == {eve.address}
        assert len(said) == AGAIN_RATE * 4
        assert sum(len(data) for data, _ in said) + eve.received <= eve.sent

    def test_an_entry_lives_as_long_as_it_is_wanted_within_limits(self) -> None:
        home = Home()
        bob = home.stranger(801)
        for wanted, granted in ((0, 90), (60, 90), (355, 355), (4000, MAX_ENTRY)):
            (registered,) = bob.say(home.engine, wish(home, bob, 0, lifetime=wanted))
            assert isinstance(registered, Registered) and registered.lifetime == granted
        home.wire.now += MAX_ENTRY - 1
        place = next(iter(home.engine._inbox._forwarding._entries))
        assert home.engine._inbox.registered(place, home.wire.now) is not None
        assert home.engine._inbox.registered(place, home.wire.now + 2) is None

    def test_a_home_that_is_half_full_grants_the_ordinary_time(self) -> None:
        home = Home()
        home.engine = home.wire.add(1, config=DhtConfig(max_forwards=4))
        bob = home.stranger(801)
        lives = []
        for number in range(5):
            (answer,) = bob.say(home.engine, wish(home, bob, 0, owner=identity(number + 1)))
            assert isinstance(answer, Registered)
            lives.append((answer.status, answer.lifetime))
        assert lives == [(0, 355), (0, 355), (0, 90), (0, 90), (Refusal.FULL, 0)]
        home.wire.now += 91.0
        assert status(bob.say(home.engine, wish(home, bob, 0, owner=identity(9)))) is Refusal.NONE

    def test_memory_is_bounded_whatever_is_wished_for(self) -> None:
        reminders, rng = Reminders(), Random(1)
        contact = Contact(bytes(32), place_of(1))
        for number in range(20_000):
            reminders.set(bytes((number % 50,)) * 20, contact, number, rng.randint(0, MAX_AGAIN), NOW)
            assert len(reminders) <= 50 and len(reminders._order) <= 2 * 50 + 64
        said = reminders.take_due(NOW + MAX_AGAIN)
        assert len({rid for _, rid in said}) == len(said) <= 50
        assert reminders.due == float("inf")


class TestOfWhoIsCalled:
    """Words that a home node, or who plays one, says unasked."""

    @pytest.fixture
    def met(self) -> Meeting:
        return Meeting(DhtConfig(home_check=300.0))

    def _say(self, met: Meeting, message: AnyMessage, number: int = 900) -> None:
        eve = Stranger(met.wire, number)
        eve.throw(met.bob, eve.seal(met.bob, message))

    def test_a_word_nobody_waits_for_is_counted_and_changes_nothing(self, met: Meeting) -> None:
        (keeper,) = met.bob._homes
        before = keeper.keepalive
        awaited = keeper._silences._awaited
        for rid in (0, 1, 2**64 - 1, *([awaited.rid] if awaited is not None else [])):
            self._say(met, Again(rid, b""))
        assert met.bob.counters["again_unasked"] >= 3
        assert keeper.keepalive == before and keeper._silences._awaited is awaited

    def test_a_home_that_speaks_early_proves_nothing(self, met: Meeting) -> None:
        met.wire.advance(30.0)
        (keeper,) = met.bob._homes
        awaited = keeper._silences._awaited
        assert awaited is not None and awaited.since is not None
        engine = met.wire.engines[awaited.home.address]
        engine._exchange.send(met.bob.own_key, met.wire.address(met.bob), Again(awaited.rid, b""))
        met.wire.roundtrip()
        assert met.bob.counters["again_early"] == 1
        assert keeper._silences._awaited is awaited

    def test_one_home_that_never_says_it_costs_no_battery(self, met: Meeting) -> None:
        (keeper,) = met.bob._homes
        mute = met.bob.homes()[0]
        engine = met.wire.engines[mute.address]
        engine._inbox._reminders.set = lambda *args: None  # type: ignore[method-assign]
        met.wire.advance(3 * 3600.0)
        assert met.bob.counters["again_missed"] > 0
        assert keeper.keepalive > 100.0
        assert mute in met.bob.homes()

    def test_homes_of_an_earlier_release_are_kept_as_ever(self, met: Meeting) -> None:
        for engine in met.wire.engines.values():
            _forget_again(engine)
        homes = met.bob.homes()
        met.wire.advance(1800.0)
        (keeper,) = met.bob._homes
        assert met.bob.homes() == homes
        assert keeper.keepalive == DhtConfig().home_keepalive
        assert sum(engine.forwards() for engine in met.wire.engines.values()) >= 3
        met.wire.carried.clear()
        met.wire.advance(600.0)
        to_homes = [one for one in met.wire.carried if one.source == met.wire.address(met.bob)]
        # Every 25 s to each of three, and one question of where we are seen: nothing is tried twice.
        assert len([one for one in to_homes if one.target in {home.address for home in homes}]) <= 110

    def test_one_of_an_earlier_release_among_others_is_found_out_and_kept(self, met: Meeting) -> None:
        homes = met.bob.homes()
        _forget_again(met.wire.engines[homes[0].address])
        met.wire.advance(3600.0)
        (keeper,) = met.bob._homes
        assert met.bob.homes() == homes
        # Its entries live 90 s, and all are renewed together.
        assert keeper.keepalive > 50.0
        assert keeper._speaks.get(homes[0].key) is not True


def _forget_again(engine) -> None:
    """Make a node one that has never heard of these messages."""
    opened = engine._exchange.open

    def older(data, address, now):
        found = opened(data, address, now)
        if found is not None and isinstance(found[1], RegisterFor | Again):
            engine.counters["dropped_malformed"] += 1
            return None
        return found

    engine._exchange.open = older


def test_a_server_keeps_reminders_for_as_many_as_are_registered() -> None:
    home = Home()
    home.engine.set_mode(Mode.CLIENT, NOW)
    bob = Stranger(home.wire, 801)
    assert bob.say(home.engine, wish(home, bob, 10)) == []  # a client takes none
    assert len(home.engine._inbox._reminders) == 0
    assert bob.say(home.engine, Ping(1, b"", False, bytes(48))) != []
