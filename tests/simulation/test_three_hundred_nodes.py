"""Three hundred real engines on the simulated network: they join, publish, look up, lose a third, and get over it.

One network is built for all the tests that only read it; whatever breaks things builds a smaller one of its own.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from dht.config import DhtConfig
from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import Event, GetDone, JoinDone, Mode, OperationEvent, PutDone
from dht.identity import IdentityKey, NodeKey
from dht.records import Kind, SignedRecord, sign_record
from simulations.cluster import Cluster, Pending
from simulations.events import EventQueue
from simulations.hops import Address
from simulations.latency import LogNormal
from simulations.network import Network
from simulations.randomness import Streams
from simulations.trace import Trace

ROOT = Path(__file__).resolve().parents[2]
NODES = 300
RECORDS = 40
CONFIG = DhtConfig()


def make(index: int, address: Address, rng: Random, now: float) -> DhtEngine:
    engine = DhtEngine(CONFIG, NodeKey.from_secret(rng.randbytes(32)), rng, now)
    engine.set_mode(Mode.SERVER, now)
    return engine


def ends(kind: type[OperationEvent]) -> Callable[[int, Event], bool]:
    return lambda op, event: isinstance(event, kind) and event.op == op


class Swarm:
    """A joined cluster and the records put into it."""

    def __init__(self, size: int, *, seed: int = 7, loss: float = 0.0) -> None:
        self.trace = Trace()
        streams = Streams(seed)
        self.network = Network(EventQueue(), streams, latency=LogNormal(0.05, 0.4), loss=loss, trace=self.trace)
        self.cluster: Cluster[DhtEngine] = Cluster(self.network, streams, make, size)
        self.rng = streams.stream("test")
        self.records: list[SignedRecord] = []
        self.cluster.start()
        first = self.contact(0)

        def join(engine: DhtEngine, now: float) -> int:
            return engine.join([first], now)

        joins = []
        for index in range(1, size):
            joins.append(self.cluster.submit(index, join, ends(JoinDone)))
            self.cluster.run_for(0.05)
        self.cluster.wait(joins)
        self.joined = [pending.event.contacts for pending in joins]
        self.cluster.run_for(30.0)

    def contact(self, index: int) -> Contact:
        node = self.cluster.nodes[index]
        return Contact(node.engine.own_key, node.address)

    def publish(self, count: int) -> list[PutDone]:
        """Put `count` new records from random nodes, one after another."""
        done = []
        for _ in range(count):
            owner = IdentityKey.from_seed(self.rng.randbytes(32))
            expires = self.cluster.queue.now + 86_400
            record = sign_record(owner, Kind.MUTABLE, self.rng.randbytes(100), seq=1, expires=expires, salt=b"s")
            self.records.append(record)
            done.append(self.put(record))
        return done

    def found(self, seekers: list[int] | None = None, records: list[SignedRecord] | None = None) -> int:
        """How many of the records a random living node gets, to the byte."""
        count = 0
        for record in self.records if records is None else records:
            count += [one.raw for one in self.get(record.place, seekers).records] == [record.raw]
        return count

    def put(self, record: SignedRecord, who: list[int] | None = None) -> PutDone:
        event = self.ask(lambda engine, now: engine.put(record, now), PutDone, who).event
        assert isinstance(event, PutDone)
        return event

    def get(self, place: bytes, who: list[int] | None = None) -> GetDone:
        event = self.ask(lambda engine, now: engine.get(place, now), GetDone, who).event
        assert isinstance(event, GetDone)
        return event

    def ask(
        self, command: Callable[[DhtEngine, float], int], kind: type[OperationEvent], who: list[int] | None = None
    ) -> Pending:
        index = self.rng.choice(who or self.cluster.living())
        pending = self.cluster.submit(index, command, ends(kind))
        self.cluster.wait([pending])
        return pending

    def dead_contacts(self) -> tuple[int, int]:
        """Contacts of the dead in the tables of the living, and contacts in all."""
        living = {self.cluster.nodes[index].address for index in self.cluster.living()}
        tables = [self.cluster.nodes[index].engine.contacts() for index in self.cluster.living()]
        dead = sum(contact.address not in living for table in tables for contact in table)
        return dead, sum(map(len, tables))


def story(seed: int) -> str:
    """A short life of sixty nodes; its trace hash says whether two runs were one."""
    swarm = Swarm(60, seed=seed, loss=0.01)
    swarm.publish(3)
    swarm.cluster.kill(0.2)
    swarm.found()
    swarm.cluster.run_for(60.0)
    return swarm.trace.hexdigest()


class TestThreeHundred:
    def test_a_third_dies_and_everything_is_found_at_once(self) -> None:
        swarm = Swarm(NODES)
        assert min(swarm.joined) >= 1
        tables = [len(node.engine.contacts()) for node in swarm.cluster.nodes]
        assert min(tables) >= CONFIG.k // 2

        receipts = [done.receipt for done in swarm.publish(RECORDS)]
        assert all(receipt.ok for receipt in receipts)
        assert sum(receipt.stored for receipt in receipts) >= CONFIG.k * RECORDS
        assert swarm.found() == RECORDS

        # No word of farewell, no time to notice: the very next reads meet dead nodes at every step.
        killed = swarm.cluster.kill(1 / 3)
        assert len(killed) == NODES // 3
        assert swarm.found() == RECORDS
        dead, _ = swarm.dead_contacts()
        assert dead > 0

        swarm.cluster.run_for(1200.0)
        dead, known = swarm.dead_contacts()
        assert dead == 0
        assert known >= len(swarm.cluster.living()) * CONFIG.k // 2
        assert swarm.found() == RECORDS


class TestSameSeed:
    def test_two_runs_are_one_to_the_byte(self) -> None:
        first = story(3)
        assert story(3) == first
        assert story(4) != first

    def test_the_order_of_sets_and_dicts_has_no_say(self) -> None:
        call = "from tests.simulation.test_three_hundred_nodes import story; print(story(5))"
        hashes = set()
        for seed in ("0", "1", "4711"):
            run = subprocess.run(
                [sys.executable, "-c", call],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
                timeout=100,
            )
            hashes.add(run.stdout.strip())
        assert len(hashes) == 1
        assert len(hashes.pop()) == 64


class TestBadWeather:
    def test_one_datagram_in_a_hundred_is_lost_and_nothing_else(self) -> None:
        swarm = Swarm(100, loss=0.01)
        receipts = [done.receipt for done in swarm.publish(20)]
        assert all(receipt.ok for receipt in receipts)
        assert swarm.network.dropped["loss"] > 50
        assert swarm.found() == 20
        # A lost datagram costs nobody its place in a table.
        swarm.cluster.run_for(600.0)
        tables = [len(node.engine.contacts()) for node in swarm.cluster.nodes]
        assert min(tables) >= CONFIG.k // 2

    @pytest.mark.slow
    def test_halves_cut_apart_work_on_and_grow_together_again(self) -> None:
        swarm = Swarm(100)
        swarm.publish(20)
        before = list(swarm.records)
        here, there = list(range(0, 100, 2)), list(range(1, 100, 2))
        partition = swarm.network.partition([swarm.cluster.nodes[index].address[0] for index in here])
        swarm.cluster.run_for(20.0)

        # Twenty replicas over both halves: each side has its copies of what was there before, and takes new ones.
        assert swarm.found(here, before) == 20
        assert swarm.found(there, before) == 20
        newer = []
        for record, side in zip(before, [here, there] * 10, strict=True):
            owner = IdentityKey.from_seed(swarm.rng.randbytes(32))
            mine = sign_record(owner, Kind.MUTABLE, b"cut", seq=1, expires=record.expires, salt=b"s")
            assert swarm.put(mine, side).receipt.ok
            newer.append(mine)
        assert swarm.found(here, newer[::2]) == 10
        assert swarm.found(there, newer[1::2]) == 10
        assert swarm.found(there, newer[::2]) == 0

        # An hour later no side knows anybody of the other, nor do records cross by themselves.
        swarm.cluster.run_for(3600.0)
        ours = {swarm.cluster.nodes[index].address for index in here}
        known = [contact for index in there for contact in swarm.cluster.nodes[index].engine.contacts()]
        assert not [contact for contact in known if contact.address in ours]

        swarm.network.remove_fault(partition)
        swarm.cluster.run_for(120.0)
        assert swarm.found(here, newer) == 20
        assert swarm.found(there, newer) == 20
