"""How a node learns its address and its role from others, and what follows when they change."""

from random import Random

import pytest

from dht.config import DhtConfig
from dht.contact import Address, Contact, pack_address
from dht.engine import DhtEngine
from dht.events import (
    AddressChanged,
    ClockSuspect,
    Event,
    GetDone,
    JoinDone,
    Mode,
    ModeChanged,
    ProbeRequested,
    PutDone,
)
from dht.identity import NodeKey, node_id
from dht.wire import Ping, Pong, Probe
from simulations.cluster import Cluster, Node
from simulations.events import EventQueue
from simulations.hops import Drop, Packet
from simulations.network import Network
from simulations.randomness import Streams
from tests.dht.handdriven import NOW, Stranger, Wire, place_of, record


def tell(wire: Wire, engine: DhtEngine, voters: list[tuple[int, Address]], *, clock: int = int(NOW)) -> None:
    """Have voters say where they saw the engine."""
    for number, observed in voters:
        voter = Stranger(wire, number)
        engine.ping(voter.contact, wire.now)
        (datagram,) = [datagram for datagram in wire.waiting() if datagram.target == voter.address]
        ping = voter.open(datagram.data)
        assert isinstance(ping, Ping)
        voter.say(engine, Pong(ping.rid, b"", pack_address(observed), clock))


SEEN = ("11.77.1.1", 4000)
OTHER = ("11.99.1.1", 4000)


class TestAddress:
    def test_three_voters_elect_an_address(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        tell(wire, engine, [(900, SEEN), (901, SEEN)])
        assert wire.events(engine, AddressChanged) == []
        tell(wire, engine, [(902, SEEN)])
        assert engine.public_address == SEEN
        assert wire.events(engine, AddressChanged) == [AddressChanged(SEEN)]

    def test_the_id_follows_the_address(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        before = engine.own_id
        tell(wire, engine, [(900, SEEN), (901, SEEN), (902, SEEN)])
        assert engine.own_id == node_id(engine.own_key, SEEN[0]) != before

    def test_one_network_cannot_elect(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        for host in range(1, 9):
            voter = Stranger(wire, 900 + host, address=(f"11.50.50.{host}", 4000))
            engine.ping(voter.contact, wire.now)
            ping = voter.open(wire.waiting()[0].data)
            voter.say(engine, Pong(ping.rid, b"", pack_address(SEEN), int(NOW)))
        assert engine.public_address is None

    def test_a_near_tie_elects_nobody(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        tell(wire, engine, [(900, SEEN), (901, OTHER), (902, SEEN), (903, OTHER), (904, SEEN), (905, OTHER)])
        assert engine.public_address is None

    def test_a_new_majority_moves_it_and_its_contacts_and_records_stay(self) -> None:
        wire = Wire(5)
        wire.join_all()
        engine = next(iter(wire.engines.values()))
        contacts = set(engine.contacts())
        engine.restore([], [(record().raw, NOW + 3600)], wire.now)
        tell(wire, engine, [(900 + number, OTHER) for number in range(9)])
        assert engine.public_address == OTHER
        assert engine.own_id == node_id(engine.own_key, OTHER[0])
        assert set(engine.contacts()) == contacts
        assert engine.held_records() == 1

    def test_records_are_found_after_a_holder_has_moved(self) -> None:
        wire = Wire(6)
        wire.join_all()
        writer, mover, *_, seeker = wire.engines.values()
        writer.put(record(), wire.now)
        wire.advance(1.0)
        assert wire.last(writer, PutDone).receipt.stored == 6
        old = wire.address(mover)
        assert wire.events(mover, AddressChanged) == [AddressChanged(old)]
        # The same engine, the same key, behind another address from now on; the other holders die.
        new = place_of(200)
        wire.engines[new] = wire.engines.pop(old)
        wire._events[new] = wire._events.pop(old)
        mover.join([], wire.now)
        wire.advance(60.0)
        assert mover.public_address == new
        for engine in list(wire.engines.values()):
            if engine not in (mover, seeker, writer):
                wire.kill(engine)
        wire.advance(5.0)
        seeker.get(record().place, wire.now, quorum=3)
        wire.advance(5.0)
        done = wire.last(seeker, GetDone)
        assert (done.records, done.copies) == ((record(),), 3)  # its own, the writer's and the mover's
        assert new in {contact.address for contact in seeker.contacts()}

    def test_private_addresses_told_by_public_nodes_do_not_count(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        tell(wire, engine, [(900 + number, ("192.168.1.2", 4000)) for number in range(5)])
        assert engine.public_address is None


class TestClock:
    def test_a_wrong_clock_is_said_once(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        tell(wire, engine, [(900, SEEN), (901, SEEN)], clock=int(NOW) + 7200)
        assert engine.clock_offset is None
        tell(wire, engine, [(902, SEEN), (903, SEEN)], clock=int(NOW) + 7200)
        assert engine.clock_offset == pytest.approx(7200.5)
        assert [event.offset for event in wire.events(engine, ClockSuspect)] == [pytest.approx(7200.5)]

    def test_one_liar_does_not_turn_it(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        tell(wire, engine, [(900, SEEN), (901, SEEN)])
        tell(wire, engine, [(902, SEEN)], clock=0)
        assert engine.clock_offset == pytest.approx(0.5)
        assert wire.events(engine, ClockSuspect) == []


class TestMode:
    def test_an_engine_begins_as_a_client(self) -> None:
        wire = Wire(1, mode=None)
        (engine,) = wire.engines.values()
        assert engine.mode is Mode.CLIENT
        assert engine.mode_reason == "no peer has reached this port from outside yet"

    def test_what_is_set_stays(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        assert (engine.mode, engine.mode_reason) == (Mode.SERVER, "set by configuration")
        assert wire.last(engine, ModeChanged).mode is Mode.SERVER
        engine.set_mode(Mode.CLIENT, wire.now)
        assert engine.mode is Mode.CLIENT

    def test_a_probe_nobody_asked_for_changes_nothing(self) -> None:
        wire = Wire(1, mode=None)
        (engine,) = wire.engines.values()
        Stranger(wire).say(engine, Probe(1, b"", bytes(8)))
        assert engine.mode is Mode.CLIENT
        assert engine.counters == {"probe_unasked": 1}


class Firewall:
    """Lets in only what comes from where something was sent to: the commonest home router."""

    def __init__(self) -> None:
        self.open: set[Address] = set()
        self.refused = 0

    class _Up:
        def __init__(self, wall: "Firewall") -> None:
            self.wall = wall

        def forward(self, packet: Packet, now: float) -> float | Drop:
            self.wall.open.add(packet.dst)
            return 0.0

    class _Down:
        def __init__(self, wall: "Firewall") -> None:
            self.wall = wall

        def forward(self, packet: Packet, now: float) -> float | Drop:
            if packet.src in self.wall.open:
                return 0.0
            self.wall.refused += 1
            return Drop("firewall")


def make(index: int, address: Address, rng: Random, now: float) -> DhtEngine:
    engine = DhtEngine(DhtConfig(dial_back_interval=100.0), NodeKey.from_secret(rng.randbytes(32)), rng, now)
    engine.set_mode(Mode.SERVER if index < 6 else None, now)
    return engine


def probe(node: Node[DhtEngine], event: Event, now: float) -> None:
    if isinstance(event, ProbeRequested) and node.host is not None:
        node.host.send_from_elsewhere(event.data, event.address)


class TestDialBack:
    """Twelve nodes, the last six of which do not know their role; one of these is behind a firewall."""

    @pytest.fixture
    def cluster(self) -> Cluster[DhtEngine]:
        streams = Streams(5)
        network = Network(EventQueue(), streams)
        return Cluster(network, streams, make, 12, on_event=probe)

    @staticmethod
    def join(cluster: Cluster[DhtEngine]) -> None:
        first = Contact(cluster.nodes[0].engine.own_key, cluster.nodes[0].address)
        for node in cluster.nodes[1:]:
            assert node.host is not None
            cluster.ask(
                node.index,
                lambda engine, now: engine.join([first], now),
                lambda op, event: isinstance(event, JoinDone) and event.op == op,
            )

    @staticmethod
    def wall(cluster: Cluster[DhtEngine], index: int) -> Firewall:
        firewall = Firewall()
        host = cluster.network.host(cluster.nodes[index].address[0])
        host.uplink, host.downlink = (Firewall._Up(firewall),), (Firewall._Down(firewall),)
        return firewall

    def test_the_reachable_become_servers_and_the_hidden_one_stays_a_client(self, cluster: Cluster[DhtEngine]) -> None:
        firewall = self.wall(cluster, 9)
        cluster.start()
        self.join(cluster)
        cluster.run_for(120.0)
        modes = {node.index: node.engine.mode for node in cluster.nodes}
        assert [index for index, mode in modes.items() if mode is Mode.CLIENT] == [9]
        assert firewall.refused >= 3
        hidden = cluster.nodes[9].engine
        assert "could reach this port from outside" in hidden.mode_reason
        assert hidden.public_address == cluster.nodes[9].address
        assert all(hidden.own_key not in {c.key for c in node.engine.contacts()} for node in cluster.nodes)

    def test_a_server_that_is_cut_off_withdraws_after_three_rounds(self, cluster: Cluster[DhtEngine]) -> None:
        cluster.start()
        self.join(cluster)
        cluster.run_for(120.0)
        modes = [cluster.nodes[8].engine.mode]
        self.wall(cluster, 8)
        for seconds in (130.0, 400.0):
            cluster.run_for(seconds)
            modes.append(cluster.nodes[8].engine.mode)
        # One bad round is no reason, three are.
        assert modes == [Mode.SERVER, Mode.SERVER, Mode.CLIENT]
        assert "this port" in cluster.nodes[8].engine.mode_reason

    def test_a_client_that_comes_into_the_open_becomes_a_server(self, cluster: Cluster[DhtEngine]) -> None:
        self.wall(cluster, 9)
        cluster.start()
        self.join(cluster)
        cluster.run_for(120.0)
        before = cluster.nodes[9].engine.mode
        host = cluster.network.host(cluster.nodes[9].address[0])
        host.uplink = host.downlink = ()
        cluster.run_for(130.0)
        assert (before, cluster.nodes[9].engine.mode) == (Mode.CLIENT, Mode.SERVER)
