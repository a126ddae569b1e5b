"""Look-ups that begin from contacts drawn at random rather than from the nearest."""

from dataclasses import replace

import pytest

from dht.config import DhtConfig
from dht.engine import DhtEngine
from dht.events import GetDone
from dht.operation_walk import FIRST_HOPS
from tests.dht.handdriven import Wire, record

CONFIG = DhtConfig(bucket_prefix_limit=40, table_prefix_limit=100)


@pytest.fixture(scope="module")
def wire() -> Wire:
    made = Wire(40, config=CONFIG)
    made.join_all()
    (writer,) = list(made.engines.values())[:1]
    writer.put(record(), made.now)
    made.advance(5.0)
    return made


def begin_read(wire: Wire, reader: DhtEngine, *, random_start: bool, paths: int = 1) -> None:
    reader.config = replace(CONFIG, random_start=random_start)
    reader.get(record().place, wire.now, paths=paths)


def first_asked(wire: Wire, reader: DhtEngine, *, random_start: bool, paths: int = 1) -> list[int]:
    """The ranks, in the reader's own table, of those whom a read asks first."""
    number = int.from_bytes(record().place, "big")
    ranks = {contact.address: rank for rank, contact in enumerate(reader.table.neighbours(number, len(reader.table)))}
    begin_read(wire, reader, random_start=random_start, paths=paths)
    asked = wire.waiting()
    wire.deliver(asked)
    wire.advance(5.0)
    return sorted(ranks[datagram.target] for datagram in asked if datagram.source == wire.address(reader))


@pytest.mark.parametrize("paths", [1, 4])
def test_begins_from_a_few_drawn_at_random(wire: Wire, paths: int) -> None:
    reader = list(wire.engines.values())[-1]
    drawn = [first_asked(wire, reader, random_start=True, paths=paths) for _ in range(8)]
    assert {len(ranks) for ranks in drawn} <= set(range(1, FIRST_HOPS * paths + 1))
    assert len({tuple(ranks) for ranks in drawn}) > 4
    assert max(rank for ranks in drawn for rank in ranks) >= 6  # beyond those whom an ordinary read would ask first
    assert wire.last(reader, GetDone).records


def test_begins_from_the_nearest_unless_told(wire: Wire) -> None:
    reader = list(wire.engines.values())[-2]
    ranks = first_asked(wire, reader, random_start=False)
    assert ranks == list(range(len(ranks))) and len(ranks) >= 6


def test_goes_on_from_the_whole_table_where_those_drawn_are_dead(wire: Wire) -> None:
    reader = list(wire.engines.values())[-3]
    known = {contact.address for contact in reader.table}
    begin_read(wire, reader, random_start=True)
    for datagram in wire.waiting():
        assert datagram.target in known  # and is lost
    wire.advance(20.0)
    assert wire.last(reader, GetDone).records
