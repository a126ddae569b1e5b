"""The outcome table of RFC 4787, lifetimes, hairpins, chains: packets sent through the boxes, and what arrives."""

import itertools
from dataclasses import replace
from random import Random

import pytest

from simulations.errors import BadScenario
from simulations.latency import Constant
from simulations.nat import LAST_PORT, Gate, make_carrier, place_behind
from simulations.nat_kinds import KINDS, MOST_MAPPINGS, NatKind, Scope

EIM, ADM, APDM = Scope.ENDPOINT_INDEPENDENT, Scope.ADDRESS, Scope.ADDRESS_AND_PORT
X, X2, HOME, HOME2 = "10.0.0.2", "10.0.0.3", "11.0.0.1", "11.0.0.2"
Y, Z = "11.9.0.1", "11.9.0.2"
WAY = 0.05


def kind(mapping=EIM, filtering=EIM, **more):
    return NatKind("test", mapping=mapping, filtering=filtering, **more)


@pytest.fixture
def world(wire):
    return wire(latency=Constant(WAY))


def arrivals(w, source, dst, data=b"?"):
    """Who got it, and from where they saw it come."""
    w.got.clear()
    w.network.send(source, dst, data)
    w.queue.run()
    return [(src, at) for _, src, at, _ in w.got]


@pytest.mark.parametrize(
    ("mapping", "same"),
    [(EIM, (True, True)), (ADM, (True, False)), (APDM, (False, False))],
)
@pytest.mark.parametrize("ports", ["preserving", "sequential", "random"])
def test_which_packets_share_an_outside_port(world, mapping, same, ports):
    x, ends = world.bind(X, 4000), [world.bind(Y, 1), world.bind(Y, 2), world.bind(Z, 1)]
    nat = place_behind(world.network, kind(mapping, ports=ports), [X], HOME, Random(1))
    seen = [arrivals(world, x, end.address)[0][0] for end in ends]
    assert {ip for ip, _ in seen} == {HOME}
    assert (seen[0] == seen[1], seen[0] == seen[2]) == same
    assert seen == [nat.external(x.address, end.address) for end in ends]
    if ports == "preserving":
        assert seen[0][1] == 4000
    assert nat.made == nat.live == len(set(seen))


@pytest.mark.parametrize("mapping", list(Scope))
@pytest.mark.parametrize(
    ("filtering", "allowed"),
    [(EIM, {"Y:1", "Y:2", "Z:1"}), (ADM, {"Y:1", "Y:2"}), (APDM, {"Y:1"})],
)
def test_who_may_send_to_a_mapping_made_for_one_address(world, mapping, filtering, allowed):
    x = world.bind(X)
    ends = {"Y:1": world.bind(Y, 1), "Y:2": world.bind(Y, 2), "Z:1": world.bind(Z, 1)}
    nat = place_behind(world.network, kind(mapping, filtering), [X], HOME, Random(1))
    assert nat.external(x.address, (Y, 1)) is None
    [(outside, _)] = arrivals(world, x, (Y, 1))
    through = {name for name, end in ends.items() if arrivals(world, end, outside) == [(end.address, x.address)]}
    assert through == allowed
    assert nat.filtered == 3 - len(allowed)
    refused = {"nat-filtered": nat.filtered} if nat.filtered else {}
    assert world.network.dropped == refused
    arrivals(world, ends["Y:1"], (HOME, outside[1] + 1))
    assert world.network.dropped == {**refused, "nat-no-mapping": 1}


def test_inside_addresses_mean_nothing_outside(world):
    world.bind(X)
    y = world.bind(Y)
    place_behind(world.network, "endpoint-independent", [X], HOME, Random(1))
    assert arrivals(world, y, (X, 1)) == []
    assert world.network.dropped == {"unreachable": 1}


def test_hosts_behind_one_box_reach_each_other_without_the_core(wire):
    w = wire(latency=Constant(WAY), loss=1.0)
    x, x2 = w.bind(X), w.bind(X2)
    nat = place_behind(w.network, "port-restricted", [X, X2], HOME, Random(1))
    assert arrivals(w, x, x2.address) == [(x.address, x2.address)]
    assert w.got[0][0] == pytest.approx(nat.kind.delay)
    assert nat.made == 0


@pytest.mark.parametrize("name", ["port-restricted", "endpoint-independent"])
def test_hairpinning_is_done_or_refused(world, name):
    x, x2, y = world.bind(X), world.bind(X2), world.bind(Y)
    nat = place_behind(world.network, name, [X, X2], HOME, Random(1))
    arrivals(world, x2, y.address)
    outside = nat.external(x2.address, y.address)
    assert outside is not None
    got = arrivals(world, x, outside)
    if name == "port-restricted":
        assert got == [] and world.network.dropped == {"nat-no-hairpin": 1} and nat.refused == 1
    else:
        assert got == [(nat.external(x.address, outside), x2.address)], "seen from the outside address (REQ-9a)"


def test_a_mapping_dies_unused_and_use_from_inside_prolongs_it(world):
    x, y = world.bind(X), world.bind(Y)
    nat = place_behind(world.network, "endpoint-independent", [X], HOME, Random(1))
    [(outside, _)] = arrivals(world, x, y.address)
    made = world.queue.now - WAY
    world.queue.run(made + 119.0 - WAY)
    assert arrivals(world, y, outside) != []
    world.queue.run(made + 120.0 - WAY)
    assert nat.external(x.address, y.address) == outside
    assert arrivals(world, y, outside) == [], "a packet from outside is no use of it"
    assert nat.external(x.address, y.address) is None
    assert (nat.live, nat.made, nat.filtered) == (0, 1, 1)
    arrivals(world, x, y.address)
    world.queue.run_for(100.0)
    [(outside, _)] = arrivals(world, x, y.address)
    world.queue.run_for(100.0)
    assert arrivals(world, y, outside) != []
    assert (nat.made, nat.expired) == (2, 1)


def test_packets_from_outside_prolong_a_mapping_where_the_kind_says_so(world):
    x, y = world.bind(X), world.bind(Y)
    nat = place_behind(world.network, kind(EIM, APDM, refresh_inbound=True), [X], HOME, Random(1))
    [(outside, _)] = arrivals(world, x, y.address)
    for _ in range(5):
        world.queue.run_for(100.0)
        assert arrivals(world, y, outside) != []
    assert nat.made == 1


def test_a_permission_dies_by_itself_while_its_mapping_lives(world):
    x, y, z = world.bind(X), world.bind(Y), world.bind(Z)
    place_behind(world.network, "address-restricted", [X], HOME, Random(1))
    [(outside, _)] = arrivals(world, x, y.address)
    for _ in range(2):
        world.queue.run_for(100.0)
        assert arrivals(world, x, z.address) != []
    assert arrivals(world, z, outside) != []
    assert arrivals(world, y, outside) == []


def test_ports_run_out_and_come_back(world):
    x = world.bind(X)
    nat = place_behind(world.network, kind(APDM, APDM, ports="random", most=100), [X], HOME, Random(1))
    for port in range(150):
        world.network.send(x, (Y, 1 + port), b"?")
    assert world.network.dropped == {"nat-full": 50}
    assert (nat.live, nat.made, nat.refused) == (100, 100, 50)
    world.queue.run_for(121.0)
    for port in range(30):
        world.network.send(x, (Z, 1 + port), b"?")
    assert world.network.dropped["nat-full"] == 50
    assert (nat.live, nat.made, nat.expired) == (30, 130, 100)


def test_dead_mappings_and_permissions_are_swept_before_they_pile_up(world):
    x = world.bind(X)
    for box, ip in ((kind(APDM, APDM), HOME), (kind(EIM, APDM), HOME2)):
        host = world.network.host(X)
        host.uplink = host.downlink = ()
        nat = place_behind(world.network, box, [X], ip, Random(1))
        for number in range(5_000):
            world.network.send(x, (Y, 1 + number), b"?")
            world.queue.now += 1.0
        assert nat.held <= 2 * 2 * 120 + 2, "twice what is alive, at most"


def test_preserving_takes_the_next_port_when_two_hosts_want_one(world):
    x, x2, y = world.bind(X, LAST_PORT), world.bind(X2, LAST_PORT), world.bind(Y)
    place_behind(world.network, "port-restricted", [X, X2], HOME, Random(1))
    assert arrivals(world, x, y.address)[0][0] == (HOME, LAST_PORT)
    assert arrivals(world, x2, y.address)[0][0] == (HOME, 1024)


def test_a_firewall_filters_without_translating(world):
    x, x2, y = world.bind(X), world.bind(X2), world.bind(Y)
    nat = place_behind(world.network, "firewall", [X, X2], "", Random(1))
    assert arrivals(world, y, x.address) == []
    assert arrivals(world, x, y.address) == [(x.address, y.address)]
    assert nat.external(x.address, y.address) == x.address
    assert arrivals(world, y, x.address) == [(y.address, x.address)]
    assert arrivals(world, y, x2.address) == []
    assert arrivals(world, x, x2.address) == [(x.address, x2.address)]
    assert (nat.filtered, world.network.dropped) == (2, {"nat-filtered": 2})


def test_where_udp_is_blocked_nothing_passes_either_way(world):
    x, x2, y = world.bind(X), world.bind(X2), world.bind(Y)
    place_behind(world.network, "udp-blocked", [X, X2], "", Random(1))
    assert arrivals(world, x, y.address) == arrivals(world, y, x.address) == []
    assert world.network.dropped == {"udp-blocked": 2}
    assert arrivals(world, x, x2.address) == [(x.address, x2.address)]


def test_kind_none_leaves_a_host_as_it_is(world):
    x, y = world.bind(X), world.bind(Y)
    nat = place_behind(world.network, "none", [X], X, Random(1))
    assert x.host.uplink == x.host.downlink == ()
    assert arrivals(world, y, x.address) != []
    assert nat.external(x.address, y.address) == x.address


def test_two_translators_in_a_row_need_both_to_agree(world):
    x, y, z = world.bind(X, 4000), world.bind(Y), world.bind(Z)
    nat = place_behind(world.network, "double", [X], HOME, Random(1))
    assert nat.public_ip == "100.64.0.0" and nat.outermost.public_ip == HOME
    assert arrivals(world, x, y.address) == [((HOME, 4000), y.address)]
    assert nat.external(x.address, y.address) == (HOME, 4000)
    assert arrivals(world, y, (HOME, 4000)) == [(y.address, x.address)]
    assert arrivals(world, z, (HOME, 4000)) == []
    assert arrivals(world, z, ("100.64.0.0", 4000)) == []
    assert world.network.dropped == {"nat-filtered": 1, "unreachable": 1}
    world.queue.run_for(121.0)
    assert nat.external(x.address, y.address) is None


def test_many_homes_share_one_carrier(world):
    carrier = make_carrier(world.network, "carrier", HOME, Random(1))
    hosts = [world.bind(f"10.0.{n}.2", 4000) for n in range(20)]
    homes = [
        place_behind(world.network, "port-restricted", [h.address[0]], "", Random(n), carrier=carrier)
        for n, h in enumerate(hosts)
    ]
    y = world.bind(Y)
    seen = [arrivals(world, host, y.address)[0][0] for host in hosts]
    assert len(set(seen)) == 20 and {ip for ip, _ in seen} == {HOME}
    assert arrivals(world, y, seen[7]) == [(y.address, hosts[7].address)]
    # One customer to another by the outside address: the carrier turns the packet round, the home box filters.
    assert arrivals(world, hosts[0], seen[1]) == []
    assert homes[1].filtered == 1
    sent = world.queue.now - 1000.0
    assert arrivals(world, hosts[1], seen[0]) == [(seen[1], hosts[0].address)]
    assert world.got[0][0] - sent == pytest.approx(carrier.kind.delay), "it does not cross the core"
    assert carrier.live == 20


def test_the_same_seed_gives_the_same_ports(wire):
    def seen():
        w = wire()
        x = w.bind(X)
        nat = place_behind(w.network, "symmetric", [X], HOME, Random(9))
        for port in range(50):
            w.network.send(x, (Y, 1 + port), b"?")
        return [nat.external(x.address, (Y, 1 + port)) for port in range(50)]

    assert seen() == seen()
    assert len({port for _, port in seen()}) == 50


def test_impossible_placements_are_refused(world):
    network = world.network
    with pytest.raises(BadScenario, match=r"no NAT kind 'cone': expected one of none, endpoint-independent"):
        place_behind(network, "cone", [X], HOME, Random(1))
    place_behind(network, "symmetric", [X], HOME, Random(1))
    with pytest.raises(BadScenario, match="belongs to another translator"):
        place_behind(network, "symmetric", [X2], HOME, Random(1))
    with pytest.raises(BadScenario, match=r"stands behind 11\.0\.0\.2 already"):
        place_behind(network, "symmetric", [X2, X2], HOME2, Random(1))
    carrier = make_carrier(network, "carrier", Y, Random(1))
    with pytest.raises(BadScenario, match="'firewall' cannot stand behind"):
        place_behind(network, "firewall", [X2], "", Random(1), carrier=carrier)
    with pytest.raises(BadScenario, match="'cgnat' cannot be a carrier's: expected one of endpoint-independent"):
        make_carrier(network, "cgnat", Z, Random(1))
    with pytest.raises(BadScenario, match="lifetime"):
        replace(KINDS["symmetric"], lifetime=0.0)
    with pytest.raises(BadScenario, match="most"):
        replace(KINDS["symmetric"], most=MOST_MAPPINGS + 1)
    with pytest.raises(BadScenario, match="delay"):
        replace(KINDS["symmetric"], delay=-1.0)


def test_a_home_that_has_sent_nothing_holds_no_tables(world):
    homes = [
        place_behind(world.network, name, [f"10.1.{n}.1"], f"11.1.{n}.1", Random(1))
        for n, name in enumerate(["port-restricted", "symmetric"])
    ]
    assert [(home._by_key, home._by_port) for home in homes] == [(None, None)] * 2
    assert not hasattr(homes[0], "__dict__") and not hasattr(Gate(homes[0]), "__dict__")


def test_chains_and_single_boxes_make_up_all_kinds():
    assert {name for name, known in KINDS.items() if known.behind} == {"cgnat", "cgnat-symmetric", "double"}
    pairs = itertools.product(KINDS.values(), repeat=2)
    assert all(a is b or a != b for a, b in pairs)
