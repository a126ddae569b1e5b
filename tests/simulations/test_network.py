import pytest

from simulations.errors import BadScenario
from simulations.faults import Blackhole
from simulations.hops import Drop, Local, Packet
from simulations.latency import Constant, Uniform
from simulations.network import RECEIVE_BUFFER, AddressInUse

A, B, C, D = "11.0.0.1", "11.0.0.2", "11.0.0.3", "11.0.0.4"


def test_a_datagram_arrives_after_the_latency_with_its_sender(wire):
    w = wire(latency=Constant(0.05))
    a, b = w.bind(A), w.bind(B, 9)
    w.network.send(a, b.address, b"hello")
    w.queue.run()
    assert w.got == [(0.05, (A, 1), (B, 9), b"hello")]
    assert (a.host.sent, a.host.bytes_sent, b.host.received, b.host.bytes_received) == (1, 5, 1, 5)
    assert w.network.dropped == {}


def test_what_nobody_listens_for_is_counted_with_its_reason(wire):
    w = wire(largest=100)
    a, b = w.bind(A), w.bind(B)
    w.network.send(a, ("11.9.9.9", 1), b"no such host")
    w.network.send(a, (B, 77), b"no such port")
    w.network.send(a, b.address, bytes(101))
    w.queue.run()
    assert w.network.dropped == {"no-host": 1, "no-listener": 1, "too-big": 1}
    assert (a.host.dropped, b.host.dropped) == ({"too-big": 1}, {"no-listener": 1})
    assert w.got == []


def test_an_address_is_bound_once_and_free_again_after_closing(wire):
    w = wire()
    a = w.bind(A, 5)
    with pytest.raises(AddressInUse, match="already bound"):
        w.bind(A, 5)
    w.network.unbind(a)
    assert w.bind(A, 5).address == (A, 5)
    assert w.bind(A, 0).address != w.bind(A, 0).address


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_losses_fall_within_what_chance_allows(wire, share):
    w = wire(seed=5, loss=share)
    a, b = w.bind(A), w.bind(B)
    count = 10_000
    for _ in range(count):
        w.network.send(a, b.address, b"x")
    w.queue.run()
    lost = w.network.dropped["loss"]
    assert lost + len(w.got) == count
    # Four standard deviations of a binomial: one seed in 16,000 would fall outside, and this one is fixed.
    assert abs(lost - count * share) < 4 * (count * share * (1 - share)) ** 0.5


def test_copies_arrive_with_a_delay_of_their_own(wire):
    w = wire(duplication=0.5, latency=Uniform(0.01, 0.1))
    a, b = w.bind(A), w.bind(B)
    for number in range(1000):
        w.network.send(a, b.address, number.to_bytes(2, "big"))
    w.queue.run()
    assert abs(len(w.got) - 1500) < 4 * (1000 * 0.25) ** 0.5
    assert len({data for _, _, _, data in w.got}) == 1000
    assert [data for _, _, _, data in w.got] != sorted(data for _, _, _, data in w.got), "jitter reorders"


def test_a_host_that_is_down_neither_sends_nor_receives(wire):
    w = wire()
    a, b = w.bind(A), w.bind(B)
    w.network.send(a, b.address, b"under way when it died")
    w.network.take_down(B)
    w.network.send(b, a.address, b"from the grave")
    w.queue.run()
    assert w.got == []
    assert w.network.dropped == {"sender-down": 1, "down": 1}
    w.network.wake(B)
    w.network.send(a, b.address, b"back")
    w.queue.run()
    assert [data for *_, data in w.got] == [b"back"]


def test_a_frozen_host_gets_its_packets_late_and_only_as_many_as_fit(wire):
    w = wire()
    a, b = w.bind(A), w.bind(B)
    w.network.freeze(B)
    chunk = bytes(50_000)
    fitting = RECEIVE_BUFFER // len(chunk)
    for _ in range(fitting + 1):
        w.network.send(a, b.address, chunk)
    w.queue.run_for(10.0)
    assert w.got == []
    assert w.network.dropped == {"buffer-full": 1}
    w.network.wake(B)
    w.queue.run()
    assert [at for at, *_ in w.got] == [10.0] * fitting
    w.network.freeze(B)
    w.network.send(a, b.address, chunk)
    w.queue.run_for(1.0)
    w.network.take_down(B)
    w.network.wake(B)
    w.queue.run()
    assert len(w.got) == fitting, "what a frozen host held is lost when it goes down"
    assert b.host.dropped == {"buffer-full": 1, "down": 1}


def test_a_partition_cuts_between_groups_until_healed(wire):
    w = wire()
    ends = {ip: w.bind(ip) for ip in (A, B, C, D)}

    def reached_from(ip):
        w.got.clear()
        for other in ends:
            w.network.send(ends[ip], (other, 1), b"?")
        w.queue.run()
        return {dst for _, _, (dst, _), _ in w.got}

    partition = w.network.partition([A, B])
    assert (reached_from(A), reached_from(C)) == ({A, B}, {C, D})
    second = w.network.partition([A, C], [B, D])
    assert (reached_from(A), reached_from(D)) == ({A}, {D})
    w.network.remove_fault(second)
    w.network.remove_fault(partition)
    assert reached_from(A) == {A, B, C, D}
    with pytest.raises(BadScenario, match="two groups"):
        w.network.partition([A], [A])


def test_the_first_fault_with_a_verdict_decides(wire):
    w = wire(latency=Constant(0.05))
    a, b, c = w.bind(A), w.bind(B), w.bind(C)
    asked = []

    def slow_to_b(src, dst, size, now):
        asked.append((src, dst, size, now))
        return 2.0 if dst == b.address else None

    def drop_all(src, dst, size, now):
        return Drop("rule")

    w.network.add_fault(slow_to_b)
    with w.network.fault(drop_all):
        w.network.send(a, b.address, b"late")
        w.network.send(a, c.address, b"never")
    w.network.send(a, c.address, b"normal")
    w.queue.run()
    assert [(at, data) for at, _, _, data in w.got] == [(0.05, b"normal"), (2.0, b"late")]
    assert w.network.dropped == {"rule": 1}
    assert asked[0] == (a.address, b.address, 4, 1000.0)


def test_a_blackhole_cuts_single_hosts(wire):
    w = wire()
    a, b, c = w.bind(A), w.bind(B), w.bind(C)
    with w.network.fault(Blackhole([B])):
        for src, dst in ((a, b), (b, a), (a, c)):
            w.network.send(src, dst.address, b"x")
        w.queue.run()
    assert [dst for _, _, dst, _ in w.got] == [c.address]
    assert w.network.dropped == {"blackhole": 2}


class Translator:
    """The smallest address translator: one inside address, one outside port."""

    def __init__(self, inside, outside):
        self.inside, self.outside = inside, outside
        self.outgoing, self.incoming = self.Out(self), self.In(self)

    class Out:
        def __init__(self, box):
            self.box = box

        def forward(self, packet: Packet, now: float):
            packet.src = self.box.outside
            return 0.001

    class In(Out):
        def forward(self, packet: Packet, now: float):
            if packet.src[0] == D:
                return Drop("filtered")
            packet.dst = self.box.inside
            return 0.002


def test_hops_rewrite_addresses_delay_and_filter(wire):
    w = wire(latency=Constant(0.05))
    inside, b, d = w.bind("10.0.0.7"), w.bind(B), w.bind(D)
    box = Translator(inside.address, (C, 700))
    inside.host.uplink = (box.outgoing,)
    w.network.host(C).downlink = (box.incoming,)
    w.network.send(inside, b.address, b"out")
    w.queue.run()
    w.network.send(b, (C, 700), b"in")
    w.network.send(d, (C, 700), b"unasked")
    w.queue.run()
    assert w.got == [
        (0.051, (C, 700), b.address, b"out"),
        (0.103, b.address, inside.address, b"in"),
    ]
    assert w.network.dropped == {"filtered": 1}


class Beside:
    """A hop that knows a shorter way."""

    def forward(self, packet: Packet, now: float):
        return Local(0.002)


def test_a_hop_may_keep_a_packet_from_crossing_the_core(wire):
    w = wire(latency=Constant(0.05), loss=1.0)
    a, b = w.bind(A), w.bind(B)
    a.host.uplink = (Late(0.001), Beside(), Translator.In(None))
    with w.network.fault(lambda src, dst, size, now: Drop("rule")):
        w.network.send(a, b.address, b"short cut")
        w.queue.run()
    assert w.got == [(0.003, a.address, b.address, b"short cut")]
    b.host.downlink = (Beside(),)
    w.network.send(a, b.address, b"?")
    with pytest.raises(BadScenario, match="only an uplink hop can keep a packet local"):
        w.queue.run()


class Late:
    def __init__(self, seconds):
        self.seconds = seconds

    def forward(self, packet, now):
        return self.seconds


def test_carrier_addresses_are_given_once(wire):
    network = wire().network
    given = [network.carrier_ip() for _ in range(70_000)]
    assert len(set(given)) == 70_000
    assert (given[0], given[255], given[65_536]) == ("100.64.0.0", "100.64.0.255", "100.65.0.0")


def test_a_loop_of_translators_ends(wire):
    w = wire()
    a = w.bind(A)
    w.network.host(B).downlink = (Translator((C, 1), (B, 1)).incoming,)
    w.network.host(C).downlink = (Translator((B, 1), (C, 1)).incoming,)
    w.network.send(a, (B, 1), b"round and round")
    w.queue.run()
    assert w.network.dropped == {"too-many-rewrites": 1}


class Backwards:
    def delay(self, src, dst, rng):
        return -0.1

    def forward(self, packet, now):
        return -0.1


def test_nothing_sends_a_packet_into_the_past(wire):
    def give_up(w):
        with pytest.raises(BadScenario, match=r"-0\.1 as a delay"):
            w.network.send(w.bind(A), (B, 1), b"x")

    give_up(wire(latency=Backwards()))
    ruled, hopped = wire(), wire()
    ruled.network.add_fault(lambda src, dst, size, now: -0.1)
    give_up(ruled)
    hopped.network.host(A).uplink = (Backwards(),)
    give_up(hopped)


@pytest.mark.parametrize("option", ["loss", "duplication"])
def test_a_probability_beyond_one_is_refused(wire, option):
    with pytest.raises(BadScenario, match=option):
        wire(**{option: 1.5})
