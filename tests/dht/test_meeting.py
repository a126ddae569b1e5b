"""Being reached without an open port: registering, signals through home nodes, and answers."""

import pytest

from dht.config import DhtConfig
from dht.errors import LocalError
from dht.events import HomesChanged, Mode, SignalDone, SignalReceived
from dht.meeting_homes import FURTHER
from dht.records import Refusal, peer_place
from tests.dht.handdriven import Wire, identity, place_of

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
