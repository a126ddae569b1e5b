"""The seals of a world: real boxes shared by a pair, and the stand-in that must change nothing but bytes."""

import random
from functools import partial

import pytest

from dht.config import DhtConfig
from dht.constants import HEADER_BYTES, MAX_DATAGRAM, MAX_MESSAGE, OVERHEAD_BYTES
from dht.contact import Contact
from dht.engine import DhtEngine
from dht.errors import BoxError
from dht.events import GetDone, JoinDone, Mode, ProbeRequested, PutDone
from dht.identity import IdentityKey, NodeKey
from dht.records import Kind, sign_record
from dht.sealing import CACHED_KEYS, Sealer
from simulations.cluster import Cluster
from simulations.events import EventQueue
from simulations.latency import LogNormal
from simulations.network import Network
from simulations.randomness import Streams
from simulations.seal import CheapSeals, RealSeals
from simulations.trace import Trace

ONE, TWO, THREE = (NodeKey.from_secret(bytes((number,)) * 32) for number in (1, 2, 3))
SEALS = [CheapSeals(7), RealSeals()]
BOTH = pytest.mark.parametrize("seals", SEALS, ids=["cheap", "real"])


def sealer(seals, key, seed=1):
    return seals.sealer(key, random.Random(seed))


@BOTH
@pytest.mark.parametrize("size", [1, 2, 100, MAX_MESSAGE])
def test_what_was_sealed_opens_and_has_the_size_of_a_box(seals, size):
    message = random.Random(size).randbytes(size)
    datagram = sealer(seals, ONE).seal(TWO.public, message)
    assert len(datagram) == size + OVERHEAD_BYTES
    # All before the box is as a node writes it: prefix, key, nonce.
    assert datagram[:HEADER_BYTES] == Sealer(ONE, random.Random(1)).seal(TWO.public, message)[:HEADER_BYTES]
    assert sealer(seals, TWO).open(datagram) == (ONE.public, message)


@BOTH
def test_a_sealer_leaves_the_randomness_as_a_real_one_does(seals):
    ours, theirs = random.Random(5), random.Random(5)
    seals.sealer(ONE, ours)
    Sealer(ONE, theirs)
    assert ours.random() == theirs.random()


@BOTH
def test_what_is_damaged_or_for_another_does_not_open(seals):
    datagram = sealer(seals, ONE).seal(TWO.public, b"message")
    for at in range(5, len(datagram)):
        with pytest.raises(BoxError):
            sealer(seals, TWO).open(datagram[:at] + bytes((datagram[at] ^ 4,)) + datagram[at + 1 :])
    for key in (ONE, THREE):
        with pytest.raises(BoxError):
            sealer(seals, key).open(datagram)
    for data in (datagram[:OVERHEAD_BYTES], datagram + bytes(MAX_DATAGRAM)):
        with pytest.raises(BoxError, match="bytes"):
            sealer(seals, TWO).open(data)


def test_another_worlds_datagram_does_not_open():
    with pytest.raises(BoxError, match="does not open"):
        sealer(CheapSeals(8), TWO).open(sealer(CheapSeals(7), ONE).seal(TWO.public, b"message"))


@BOTH
@pytest.mark.parametrize("key", [bytes(32), b"\1" + bytes(31), b"\xff" * 32], ids=["zero", "one", "not canonical"])
def test_weak_keys_are_refused(seals, key):
    with pytest.raises(BoxError):
        sealer(seals, ONE).seal(key, b"message")


@BOTH
def test_both_forget_who_spoke_longest_ago(seals):
    box = sealer(seals, ONE)
    box.open(sealer(seals, TWO).seal(ONE.public, b"message"))
    box.open(sealer(seals, THREE).seal(ONE.public, b"message"))
    box.keep(TWO.public)
    box.keep(THREE.public)
    keys = [(9 + number).to_bytes(32, "little") for number in range(CACHED_KEYS - 1)]
    for key in keys[:-1]:
        box.seal(key, b"message")
    box.open(sealer(seals, TWO, 2).seal(ONE.public, b"message"))
    box.seal(keys[-1], b"message")
    assert box.knows(TWO.public)
    assert not box.knows(THREE.public)


def test_a_pair_computes_its_key_once_and_keeps_it_no_longer():
    seals = RealSeals(waiting=2)
    one, two = sealer(seals, ONE), sealer(seals, TWO)
    there = one.seal(TWO.public, b"message")
    assert len(seals) == 1
    assert two.open(there) == (ONE.public, b"message")
    assert len(seals) == 0
    assert one.open(two.seal(ONE.public, b"back")) == (TWO.public, b"back")
    assert there == Sealer(ONE, random.Random(1)).seal(TWO.public, b"message")
    for number in range(9, 19):
        one.seal(number.to_bytes(32, "little"), b"message")
    assert len(seals) == 2


def test_a_network_key_is_part_of_a_pairs_key():
    closed = RealSeals(network_key=b"among ourselves")
    datagram = sealer(closed, ONE).seal(TWO.public, b"message")
    assert Sealer(TWO, random.Random(1), network_key=b"among ourselves").open(datagram) == (ONE.public, b"message")
    with pytest.raises(BoxError):
        Sealer(TWO, random.Random(1)).open(datagram)


def life(seals, count=50):
    """Joins, writes, reads, losses and a death; everything delivered, and every event."""
    streams, trace = Streams(4), Trace(keep_all=True)
    network = Network(EventQueue(), streams, latency=LogNormal(0.05, 0.4), loss=0.02, trace=trace)

    def make(index, address, rng, now):
        key = NodeKey.from_secret(rng.randbytes(32))
        sealer = seals.sealer(key, rng) if seals is not None else None
        engine = DhtEngine(DhtConfig(), key, rng, now, sealer=sealer)
        engine.set_mode(Mode.SERVER, now)
        return engine

    events = []

    def note(node, event, now):
        if isinstance(event, ProbeRequested):
            node.host.send_from_elsewhere(event.data, event.address)
            event = len(event.data)
        events.append((now, node.index, event))

    cluster = Cluster(network, streams, make, count, on_event=note)
    cluster.start()
    first = Contact(cluster.nodes[0].engine.own_key, cluster.nodes[0].address)

    def ends(kind):
        return lambda op, event: isinstance(event, kind) and event.op == op

    def put(record, engine, now):
        return engine.put(record, now)

    def get(place, engine, now):
        return engine.get(place, now)

    cluster.wait(
        [cluster.submit(i, lambda e, now: e.join([first], now), ends(JoinDone)) for i in range(1, count)], timeout=60
    )
    rng = streams.stream("records")
    for number in range(4):
        owner = IdentityKey.from_seed(rng.randbytes(32))
        record = sign_record(
            owner, Kind.MUTABLE, rng.randbytes(200), seq=1, expires=cluster.queue.now + 9000, salt=b"s"
        )
        cluster.wait([cluster.submit(number, partial(put, record), ends(PutDone))])
        cluster.wait([cluster.submit(9 + number, partial(get, record.place), ends(GetDone))])
    cluster.kill([20, 21, 22])
    cluster.run_for(300)
    ways = [(event.time, event.src, event.dst, event.size) for event in trace.events or ()]
    return ways, events, trace.hexdigest()


def test_a_run_under_either_seal_sends_the_same_datagrams_at_the_same_times():
    cheap, real = life(CheapSeals(1)), life(RealSeals())
    assert len(cheap[0]) > 3_000
    assert sum(isinstance(event, GetDone) and event.records != () for *_, event in cheap[1]) == 4
    assert cheap[:2] == real[:2]
    # A hash over bytes tells the seals apart, and nothing else does: real boxes are a node's own to the last bit.
    assert cheap[2] != real[2] == life(None)[2]
