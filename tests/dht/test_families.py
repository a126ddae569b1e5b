"""Two families of addresses: a table and an id for each, and records that are found from either."""

import pytest

from dht.config import DhtConfig
from dht.contact import Address, Contact, unpack_contacts
from dht.engine import DhtEngine
from dht.events import FindNodeDone, GetDone, JoinDone, Mode, PutAcknowledged, PutDone
from dht.identity import node_id
from dht.maintenance import BOTH_WAYS
from dht.records import Refusal
from dht.wire import WANT_V4, WANT_V6, FindNode, Get, Nodes, Put, Value, wanted_families
from tests.dht.handdriven import NOW, Stranger, Wire, place6_of, place_of, record


def is_v6(contact: Contact) -> bool:
    return ":" in contact.ip


def mixed(v4: int = 6, v6: int = 4, dual: int = 5, config: DhtConfig | None = None) -> Wire:
    """The first has both families, and is the first contact of all; then come those with one."""
    wire = Wire()
    number = 0
    for stack, count in (("dual", dual), ("v4", v4), ("v6", v6)):
        for _ in range(count):
            number += 1
            address = place6_of(number) if stack == "v6" else place_of(number)
            second = place6_of(number) if stack == "dual" else None
            engine = wire.add(number, address=address, second=second, config=config)
            engine.set_own_addresses(tuple(one for one in (address, second) if one), wire.now)
    wire.join_all()
    wire.advance(120.0)
    return wire


def of(wire: Wire, stack: str) -> list[DhtEngine]:
    return [
        engine
        for address, engine in wire.engines.items()
        if stack == ("dual" if address in wire.second else "v6" if ":" in address[0] else "v4")
    ]


def read(wire: Wire, reader: DhtEngine, *, seq: int = 1) -> GetDone:
    reader.get(record(seq=seq).place, wire.now)
    wire.advance(5.0)
    return wire.last(reader, GetDone)


class TestTables:
    def test_each_family_has_its_own_and_an_id_of_its_own(self) -> None:
        wire = mixed()
        dual = of(wire, "dual")[1]
        four, six = dual.families.all
        assert (four.ipv6, six.ipv6) == (False, True)
        assert four.own_id == node_id(dual.own_key, wire.address(dual)[0])
        assert six.own_id == node_id(dual.own_key, wire.second[wire.address(dual)][0]) != four.own_id
        assert not any(is_v6(contact) for contact in four.table)
        assert all(is_v6(contact) for contact in six.table)
        assert len(four.table) == 10
        assert len(six.table) == 8
        assert set(dual.contacts()) == {*four.table, *six.table}
        assert dual.public_addresses == (wire.address(dual), wire.second[wire.address(dual)])

    @pytest.mark.parametrize("stack", ["v4", "v6"])
    def test_who_has_one_family_hears_of_no_other(self, stack: str) -> None:
        wire = mixed()
        for engine in of(wire, stack):
            assert len(engine.families.all) == 1
            assert {is_v6(contact) for contact in engine.contacts()} == {stack == "v6"}
            assert len(engine.contacts()) == (8 if stack == "v6" else 10)
        crossed = [one for one in wire.carried if (":" in one.source[0]) != (":" in one.target[0])]
        assert crossed == []

    def test_the_second_family_is_learned_by_way_of_the_first(self) -> None:
        wire = mixed()
        late = wire.add(50, second=place6_of(50))
        # Its first contact has IPv4 alone to it: nobody gave it an IPv6 address to begin with.
        late.join([Contact(of(wire, "dual")[0].own_key, place_of(1))], wire.now)
        wire.advance(60.0)
        _, six = late.families.all
        assert len(six.table) == 9
        assert late.counters["families_met"] > 0
        assert wire.last(late, JoinDone).contacts > 0

    def test_strangers_of_the_other_family_open_no_more_than_one(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        for number in range(900, 940):
            address = place6_of(number) if number % 2 else place_of(number)
            Stranger(wire, number, address=address).say(engine, FindNode(1, b"", False, bytes(20), bytes(800)))
        assert len(engine.families.all) == 2

    @pytest.mark.parametrize("ipv6", [False, True])
    def test_subnet_limits_hold_in_each(self, ipv6: bool) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        seat = engine.families.of("2a0e::1" if ipv6 else "11.0.0.1", wire.now)
        for number in range(30):
            ip = f"2a0e:9:9:{number:x}::1" if ipv6 else f"11.9.9.{number + 1}"
            seat.table.offer(Contact((number + 1).to_bytes(32, "big"), (ip, 4000)))
        assert len(seat.table) == engine.config.bucket_prefix_limit
        other = engine.families.other(seat)
        assert other is None or not len(other.table)

    def test_a_dead_one_leaves_its_own_table_alone(self) -> None:
        wire = mixed()
        dual, other = of(wire, "dual")[1:3]
        four, six = dual.families.all
        # Its IPv6 dies, its IPv4 goes on: answers over one say nothing of the other.
        gone = wire.second[wire.address(other)]
        wire.lost = lambda datagram: gone in (datagram.source, datagram.target)
        wire.advance(BOTH_WAYS * dual.config.liveness_interval + 60.0)
        assert four.table.get(other.own_key) is not None
        assert six.table.get(other.own_key) is None

    def test_who_lives_over_one_is_asked_more_rarely_over_the_other(self) -> None:
        config = DhtConfig(dial_back_interval=1e6, refresh_interval=1e6)
        wire = mixed(v4=0, v6=0, dual=6, config=config)
        wire.advance(config.liveness_interval)
        wire.carried.clear()
        wire.advance(BOTH_WAYS * config.liveness_interval)
        over = [":" in one.source[0] for one in wire.carried]
        # Everybody has everybody in both tables: one of the two ways is enough to see that they live.
        assert 0 < min(sum(over), len(over) - sum(over)) < 0.5 * max(sum(over), len(over) - sum(over))
        assert all(len(seat.table) == 5 for engine in wire.engines.values() for seat in engine.families.all)

    def test_a_family_this_machine_has_lost_rests_until_it_is_back(self) -> None:
        wire = mixed()
        dual = of(wire, "dual")[1]
        first, second = wire.address(dual), wire.second[wire.address(dual)]
        dual.set_own_addresses((second,), wire.now)
        dual.network_changed(wire.now)
        wire.lost = lambda datagram: first in (datagram.source, datagram.target)
        wire.carried.clear()
        assert dual.own_id == node_id(dual.own_key, second[0])
        wire.advance(3600.0)
        asked = [one for one in wire.carried if one.source == second]
        assert asked
        assert dual.counters["timeouts"] == 0
        dual.put(record(), wire.now)
        wire.advance(5.0)
        assert wire.last(dual, PutDone).receipt.families == ()
        # It is back: the contacts of before are still there.
        wire.lost = lambda datagram: False
        dual.set_own_addresses((first, second), wire.now)
        dual.network_changed(wire.now)
        assert len(dual.families.all[0].table) == 10
        dual.get(record().place, wire.now)
        wire.advance(5.0)
        assert {is_v6(contact) for contact in wire.last(dual, GetDone).closest} == {False, True}


class TestWant:
    @pytest.mark.parametrize(
        ("pad", "ipv6", "wanted"),
        [
            (b"", False, WANT_V4),
            (b"", True, WANT_V6),
            (bytes(20), True, WANT_V6),
            (b"\x01", True, WANT_V4),
            (b"\x02" + bytes(30), False, WANT_V6),
            (b"\x03", False, WANT_V4 | WANT_V6),
            (b"\xfc", False, WANT_V4),
            (b"\xff", True, WANT_V4 | WANT_V6),
        ],
    )
    def test_the_first_byte_of_the_pad_says_it(self, pad: bytes, ipv6: bool, wanted: int) -> None:
        assert wanted_families(FindNode(1, b"", True, bytes(20), pad), ipv6) == wanted
        assert wanted_families(Get(1, b"", True, bytes(20), True, 0, pad), ipv6) == wanted

    def test_a_put_has_none(self) -> None:
        assert wanted_families(Put(1, b"", True, b"", 1, True), True) == WANT_V6

    @pytest.mark.parametrize(
        ("address", "want", "families"),
        [
            (place_of(900), 0, {False}),
            (place6_of(900), 0, {True}),
            (place_of(900), WANT_V6, {True}),
            (place6_of(900), WANT_V4, {False}),
            (place6_of(900), WANT_V4 | WANT_V6, {False, True}),
        ],
    )
    def test_an_answer_names_the_families_wanted(self, address: Address, want: int, families: set[bool]) -> None:
        wire = mixed()
        stranger = Stranger(wire, address=address)
        dual = of(wire, "dual")[0]
        pad = bytes([want]) + bytes(760)
        (nodes,) = stranger.say(dual, FindNode(1, b"", False, bytes(20), pad))
        assert isinstance(nodes, Nodes)
        assert {is_v6(contact) for contact in unpack_contacts(nodes.nodes4, nodes.nodes6)} == families
        # The same of a GET, now with a token and no padding.
        (value,) = stranger.say(dual, Get(2, stranger.token, False, bytes(20), True, 0, pad[:1]))
        assert isinstance(value, Value)
        assert {is_v6(contact) for contact in unpack_contacts(value.nodes4, value.nodes6)} == families

    def test_both_fill_the_answer_half_and_half(self) -> None:
        wire = mixed(v4=18, v6=18, dual=3)
        stranger = Stranger(wire)
        dual = of(wire, "dual")[0]
        stranger.say(dual, FindNode(1, b"", False, bytes(20), bytes(760)))
        (nodes,) = stranger.say(dual, FindNode(2, stranger.token, False, bytes(20), b"\x03"))
        assert isinstance(nodes, Nodes)
        assert (len(nodes.nodes4) // 38, len(nodes.nodes6) // 50) == (10, 10)


class TestRecords:
    @pytest.mark.parametrize("reader", ["v4", "v6", "dual"])
    @pytest.mark.parametrize("writer", ["v4", "v6", "dual"])
    def test_each_kind_finds_what_each_kind_stored(self, writer: str, reader: str) -> None:
        wire = mixed()
        publisher = of(wire, writer)[0]
        publisher.put(record(), wire.now)
        wire.advance(40.0)
        done = read(wire, of(wire, reader)[-1])
        assert done.records == (record(),)
        publisher.put(record(seq=2), wire.now)
        wire.advance(40.0)
        assert read(wire, of(wire, reader)[-1]).records == (record(seq=2),)

    def test_a_receipt_names_the_families(self) -> None:
        wire = mixed()
        dual = of(wire, "dual")[1]
        dual.put(record(), wire.now)
        wire.advance(5.0)
        receipt = wire.last(dual, PutDone).receipt
        four, six = receipt.families
        assert not any(is_v6(verdict.contact) for verdict in four.verdicts)
        assert all(is_v6(verdict.contact) for verdict in six.verdicts)
        assert (four.stored, six.stored) == (11, 9)
        assert (receipt.stored, receipt.needed) == (20, four.needed + six.needed)
        assert four.ok
        assert six.ok
        assert receipt.ok

    def test_many_are_put_in_both(self) -> None:
        wire = mixed()
        dual = of(wire, "dual")[1]
        records = [record(salt=bytes([salt])) for salt in range(20)]
        ops = dual.put_many(records, wire.now)
        wire.advance(10.0)
        done = {event.op: event.receipt for event in wire.events(dual, PutDone)}
        assert sorted(done) == ops
        for receipt in done.values():
            assert [family.stored for family in receipt.families] == [11, 9]
        assert len(wire.events(dual, PutAcknowledged)) == len(ops)

    def test_one_family_is_success_and_the_other_is_seen_to_have_failed(self) -> None:
        wire = mixed()
        dual = of(wire, "dual")[1]
        wire.lost = lambda datagram: ":" in datagram.source[0]
        dual.put(record(), wire.now)
        wire.advance(10.0)
        receipt = wire.last(dual, PutDone).receipt
        four, six = receipt.families
        assert (receipt.ok, four.ok, six.ok) == (True, True, False)
        assert {verdict.refusal for verdict in six.verdicts} <= {Refusal.TIMEOUT, Refusal.NONE}
        assert wire.last(dual, PutAcknowledged).receipt.ok

    def test_the_newest_wins_whichever_family_has_it(self) -> None:
        wire = mixed(dual=1)
        (dual,) = of(wire, "dual")
        of(wire, "v4")[0].put(record(seq=1), wire.now)
        of(wire, "v6")[0].put(record(seq=2), wire.now)
        wire.advance(1.0)  # Nothing has been carried over yet.
        assert read(wire, dual).records == (record(seq=2),)

    def test_a_way_out_that_has_just_died_holds_a_read_up_no_longer_than_it_took(self) -> None:
        wire = mixed()
        dual = of(wire, "dual")[1]
        of(wire, "v4")[0].put(record(), wire.now)
        wire.advance(1.0)
        dual._store._remove(dual._store.entries()[0])
        wire.lost = lambda datagram: ":" in datagram.source[0]
        began = wire.now
        dual.get(record().place, wire.now)
        while not wire.events(dual, GetDone):
            wire.advance(0.05)
        assert wire.last(dual, GetDone).records == (record(),)
        assert wire.now - began < 1.0

    def test_a_swap_is_decided_in_one_family_and_then_written_to_the_other(self) -> None:
        wire = mixed()
        one, two = of(wire, "dual")[1:3]
        one.put(record(seq=1), wire.now, expected_seq=None)
        wire.advance(5.0)
        one.put(record(seq=2, payload=b"one"), wire.now, expected_seq=1)
        wire.advance(5.0)
        assert wire.last(one, PutDone).receipt.ok
        two.put(record(seq=2, payload=b"two"), wire.now, expected_seq=0)
        wire.advance(5.0)
        assert not wire.last(two, PutDone).receipt.ok
        assert Refusal.CAS_MISMATCH in {verdict.refusal for verdict in wire.last(two, PutDone).receipt.verdicts}
        wire.advance(60.0)
        for stack in ("v4", "v6"):
            assert read(wire, of(wire, stack)[0], seq=2).records == (record(seq=2, payload=b"one"),)

    def test_nodes_of_both_are_found(self) -> None:
        wire = mixed()
        dual = of(wire, "dual")[1]
        dual.find_node(bytes(20), wire.now, explain=True)
        wire.advance(5.0)
        done = wire.last(dual, FindNodeDone)
        assert {is_v6(contact) for contact in done.closest} == {False, True}
        assert {is_v6(asked.contact) for asked in done.trace} == {False, True}
        assert [one.long_id for one in done.closest] == sorted(one.long_id for one in done.closest)


class TestRole:
    def test_an_open_family_does_not_make_a_server_of_the_other(self) -> None:
        wire = mixed()
        late = wire.add(50, second=place6_of(50), mode=None)
        # Nothing comes in unasked over IPv4, as behind a router.
        late.join(wire.contacts(of(wire, "dual")[0]), wire.now)
        wire.advance(1.0)
        four, six = late.families.all
        six.outlook.reachability.on_dial_back_round(1, 1)
        late.families.on_mode(six)
        assert (late.mode, four.server, six.server) == (Mode.SERVER, False, True)
        wire.advance(60.0)
        for engine in wire.engines.values():
            known = [contact for contact in engine.contacts() if contact.key == late.own_key]
            assert not any(not is_v6(contact) for contact in known)

    def test_a_role_that_is_set_holds_in_each(self) -> None:
        wire = mixed()
        late = wire.add(51, second=place6_of(51), mode=Mode.SERVER)
        assert all(seat.server for seat in late.families.all)
        late.set_mode(Mode.CLIENT, wire.now)
        assert not any(seat.server for seat in late.families.all)
        assert late.mode is Mode.CLIENT


def test_records_live_on_in_each_family_when_the_bridge_is_gone() -> None:
    wire = mixed(dual=2)
    of(wire, "v4")[0].put(record(expires=NOW + 86_400), wire.now)
    wire.advance(60.0)
    for dual in of(wire, "dual"):
        wire.kill(dual)
    wire.advance(7200.0)
    assert read(wire, of(wire, "v6")[-1]).records[0].place == record().place
