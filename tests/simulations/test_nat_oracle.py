"""Random traffic through one box, beside a log of everything that left it: who is let in follows from the log."""

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.nat import place_behind
from simulations.nat_kinds import NatKind, Scope
from simulations.network import Network
from simulations.randomness import Streams

LIFETIME = 100.0
INSIDE = [(f"10.0.0.{host}", port) for host in (2, 3) for port in (4000, 4001)]
OUTSIDE = [(f"11.9.0.{host}", port) for host in (1, 2) for port in (1, 2)]
HOME = "11.0.0.1"

steps = st.lists(
    st.one_of(
        st.tuples(st.just("out"), st.sampled_from(INSIDE), st.sampled_from(OUTSIDE)),
        st.tuples(st.just("in"), st.sampled_from(OUTSIDE), st.integers(0, 7)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 40.0, 99.5, 150.0]), st.none()),
    ),
    max_size=30,
)


def seen_of(scope, address):
    """What a mapping or a filter of that scope looks at."""
    return {Scope.ENDPOINT_INDEPENDENT: None, Scope.ADDRESS: address[0], Scope.ADDRESS_AND_PORT: address}[scope]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(Scope)), st.sampled_from(list(Scope)), st.sampled_from(["preserving", "random"]), steps)
def test_a_box_lets_in_what_the_log_of_packets_allows(mapping, filtering, ports, traffic):
    network = Network(EventQueue(), Streams(1), latency=Constant(0.0))
    got = []

    def listen(at):
        return network.bind(at, lambda data, src: got.append((src, at)))

    ends = {address: listen(address) for address in (*INSIDE, *OUTSIDE)}
    kind = NatKind("test", mapping=mapping, filtering=filtering, ports=ports, lifetime=LIFETIME)
    nat = place_behind(network, kind, ["10.0.0.2", "10.0.0.3"], HOME, Random(1))
    left: list[tuple[float, Any, Any]] = []
    port_of: dict[Any, int] = {}
    owner: dict[int, Any] = {}

    def alive(key):
        return any(who == key and at > network.queue.now - LIFETIME for at, who, _ in left)

    for what, first, second in traffic:
        got.clear()
        if what == "wait":
            network.queue.run_for(first)
        elif what == "out":
            key = first, seen_of(mapping, second)
            was_alive, port_before = alive(key), port_of.get(key)
            network.send(ends[first], second, b"?")
            network.queue.run_for(0.0)
            [((ip, port), at)] = got
            assert (ip, at) == (HOME, second)
            if was_alive:
                assert port == port_before
            else:
                assert port not in owner or not alive(owner[port]), "a port that is in use is nobody else's"
            left.append((network.queue.now, key, seen_of(filtering, second)))
            port_of[key], owner[port] = port, key
        else:
            known = sorted(owner)
            port = known[second % len(known)] if known else 4000
            network.send(ends[first], (HOME, port), b"?")
            network.queue.run_for(0.0)
            asked, peer = owner.get(port), seen_of(filtering, first)
            fresh = [(who, to) for at, who, to in left if at > network.queue.now - LIFETIME]
            # A mapping that died and was made again may have another port.
            allowed = asked is not None and port_of[asked] == port and (asked, peer) in fresh
            assert got == ([(first, asked[0])] if allowed and asked else [])
    assert nat.live == sum(alive(key) for key in port_of)
