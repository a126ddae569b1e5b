"""A home node and whoever wants something of it that it must not give: registrations of others, floods, reflections."""

from random import Random

import pytest

from dht.config import DhtConfig
from dht.engine import DhtEngine
from dht.errors import DecodeError
from dht.events import Mode, SignalReceived
from dht.forwarding import registration_message
from dht.identity import IdentityKey
from dht.records import Refusal, peer_place
from dht.wire import AnyMessage, Ping, Register, Registered, Signal, Signaled
from node.protocols.signaling_seal import SignalKind, seal, unseal
from tests.dht.handdriven import NOW, Stranger, Wire, identity, place_of

BOB = identity(1)
BOBS_PLACE = peer_place(BOB.public)
HANDLE = bytes(range(100, 120))


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
        home.engine.datagrams_to_send(home.wire.now)
        received, to_bob, to_eve, others = 0, 0, 0, []
        for number in range(200):
            recipient = BOBS_PLACE if number % 2 else number.to_bytes(20, "big")
            # Ids are random numbers of 64 bits. She does not serve: who says so is asked whether it is true.
            rid = 2**63 + number
            message = Signal(rid, eve.token, False, recipient, number.to_bytes(20, "little"), bytes(number % 64))
            data = eve.seal(home.engine, message)
            # Bob is silent, and she repeats herself: what goes on then is her own repetition.
            for _ in range(1 + number % 4):
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
        assert 0 < to_bob <= received
        assert 0 < to_eve <= received
        assert to_bob + to_eve <= received

    @pytest.mark.parametrize("size", [0, 900])
    def test_no_signal_has_more_sent_than_it_brought(self, size: int) -> None:
        home = Home()
        bob, eve = home.bob(), home.stranger(802)
        bob.say(home.engine, Ping(3, bob.token, False, b""))
        home.engine.datagrams_to_send(home.wire.now)
        data = eve.seal(home.engine, Signal(2**64 - 1, eve.token, False, BOBS_PLACE, HANDLE, bytes(size)))
        home.engine.receive_datagram(data, eve.address, home.wire.now)
        ((sent, target),) = home.engine.datagrams_to_send(home.wire.now)
        assert target == bob.address
        assert len(sent) <= len(data)
        forwarded = bob.open(sent)
        ack = bob.seal(home.engine, Signaled(forwarded.rid, b"", Refusal.NONE))
        home.engine.receive_datagram(ack, bob.address, home.wire.now)
        ((answer, target),) = home.engine.datagrams_to_send(home.wire.now)
        assert target == eve.address
        assert status([eve.open(answer)]) is Refusal.NONE
        # All that left against all that came; her token's next value is what the answer has beyond his.
        assert len(sent) + len(answer) <= len(data) + len(ack) + 8

    def test_what_goes_through_a_home_node_is_sealed_and_only_the_peer_opens_it(self) -> None:
        home = Home()
        bob, eve, alice = home.bob(), home.stranger(802), identity(2)
        secret = b"v=0 candidate 192.168.7.23 9999"
        blob = seal(SignalKind.OFFER, alice, BOB.public, bytes(16), secret, home.wire.now, Random(1))
        data = eve.seal(home.engine, Signal(2**63, eve.token, False, BOBS_PLACE, HANDLE, blob))
        home.engine.receive_datagram(data, eve.address, home.wire.now)
        ((sent, _),) = home.engine.datagrams_to_send(home.wire.now)
        forwarded = bob.open(sent)
        assert isinstance(forwarded, Signal)
        # What the home node holds in its hands, once its own boxes are open, says neither who calls nor what.
        assert forwarded.blob == blob
        for told in (secret, secret[:12], alice.public.raw, BOB.public.raw):
            assert told not in blob
        with pytest.raises(DecodeError):
            unseal(blob, identity(3), identity(3).curve25519_secret())
        opened = unseal(blob, BOB, BOB.curve25519_secret())
        assert (opened.sender, opened.payload) == (alice.public, secret)
        # Nor can the home node make one up: what it alters does not open.
        with pytest.raises(DecodeError):
            unseal(blob[:-1] + bytes([blob[-1] ^ 1]), BOB, BOB.curve25519_secret())

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

    def test_the_same_request_again_is_forwarded_again_once(self) -> None:
        home = Home()
        bob, alice = home.bob(), home.stranger(803)
        data = alice.seal(home.engine, Signal(1, alice.token, False, BOBS_PLACE, b"", b"x"))
        for _ in range(4):
            home.engine.receive_datagram(data, alice.address, home.wire.now)
        assert [target for _, target in home.engine.datagrams_to_send(home.wire.now)] == [bob.address] * 2

    def test_a_silent_peer_is_sent_nothing_that_did_not_come(self) -> None:
        home = Home()
        bob, alice = home.bob(), home.stranger(803)
        data = alice.seal(home.engine, Signal(2**63, alice.token, False, BOBS_PLACE, b"", b"x"))
        home.engine.receive_datagram(data, alice.address, home.wire.now)
        heard: list[tuple[str, int]] = []
        for _ in range(50):
            home.wire.now += 0.1
            home.engine.handle_timer(home.wire.now)
            heard += [target for _, target in home.engine.datagrams_to_send(home.wire.now)]
        assert heard.count(bob.address) == 1
        assert heard.count(alice.address) == 1  # that it was not reached

    def test_a_peer_takes_signals_from_one_sender_at_a_rate(self) -> None:
        wire = Wire(0)
        bob = wire.add(1, mode=Mode.CLIENT)
        bob.serve_identity(BOB, wire.now)
        eve = Stranger(wire, 802)
        for number in range(100):
            eve.say(bob, Signal(number, b"", False, BOBS_PLACE, b"", b"x"))
        assert len(wire.events(bob, SignalReceived)) == 80
