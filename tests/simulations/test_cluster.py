from ipaddress import ip_address

import pytest

from dht.constants import BEP42_MASK_V4
from simulations.cluster import public_address
from simulations.errors import BadScenario, SimulationError, VirtualTimeout


def knows(cluster, count):
    return lambda: all(len(cluster.nodes[index].engine.known) >= count for index in cluster.living())


def is_pong(result, event):
    return event[:2] == ("pong", result)


def test_everybody_hears_of_everybody(make_cluster):
    cluster = make_cluster(30)
    cluster.start(spread=5.0)
    cluster.run_until(lambda: len(cluster.living()) == 30, timeout=6.0)
    assert 4.0 < cluster.queue.elapsed <= 5.0, "starts are spread, and none is later than the spread"
    cluster.run_until(knows(cluster, 30), timeout=120.0, check_every=0.5)
    assert cluster.queue.elapsed < 60


def test_the_same_seed_kills_the_same_share_without_a_word(make_cluster):
    victims = []
    for _ in range(2):
        cluster = make_cluster(30, seed=9)
        cluster.start()
        cluster.run_for(5.0)
        victims.append(cluster.kill(1 / 3))
        assert len(cluster.living()) == 20
        sent = [cluster.network.host(public_address(index)[0]).sent for index in victims[0]]
        cluster.run_for(10.0)
        assert [cluster.network.host(public_address(index)[0]).sent for index in victims[0]] == sent
        assert cluster.network.dropped["no-listener"] > 50
    assert victims[0] == victims[1]


def test_a_restarted_node_begins_anew_at_its_old_address(make_cluster):
    cluster = make_cluster(5)
    cluster.start()
    cluster.run_until(knows(cluster, 5), timeout=60.0)
    before = cluster.nodes[3].engine
    assert cluster.kill([3]) == [3]
    with pytest.raises(BadScenario, match="not running"):
        _ = cluster.nodes[3].engine
    cluster.run_for(5.0)
    cluster.restart(3)
    after = cluster.nodes[3].engine
    assert after is not before
    assert (after.address, len(after.known)) == (before.address, 2)
    assert after.rng.random() != before.rng.random()
    cluster.run_until(knows(cluster, 5), timeout=60.0)


def test_a_command_is_answered_by_its_event(make_cluster):
    cluster = make_cluster(4)
    cluster.start()
    cluster.run_for(1.0)
    target = cluster.nodes[2].address
    event = cluster.ask(1, lambda engine, now: engine.ping(target, now), is_pong, timeout=5.0)
    assert event == ("pong", 1, target)
    several = [cluster.submit(index, lambda engine, now: engine.ping(target, now), is_pong) for index in (0, 1, 3, 3)]
    cluster.wait(several, timeout=5.0)
    assert [pending.result for pending in several] == [1, 2, 1, 2]
    assert [pending.event for pending in several] == [("pong", n, target) for n in (1, 2, 1, 2)]
    assert all(0.01 < pending.took < 2.0 for pending in several)


def test_a_command_nobody_answers_times_out_in_virtual_time(make_cluster):
    cluster = make_cluster(3)
    cluster.start()
    cluster.run_for(1.0)
    cluster.kill([2])
    target = cluster.nodes[2].address
    began = cluster.queue.now
    with pytest.raises(VirtualTimeout, match="an answer to every command"):
        cluster.ask(1, lambda engine, now: engine.ping(target, now), is_pong, timeout=5.0)
    assert cluster.queue.now == began + 5.0


def test_a_command_dies_with_its_node(make_cluster):
    cluster = make_cluster(3)
    cluster.start()
    cluster.run_for(1.0)
    target = cluster.nodes[2].address

    def ping(engine, now):
        return engine.ping(target, now)

    pending = cluster.submit(1, ping, is_pong)
    cluster.kill([1])
    cluster.wait([pending])
    assert (pending.lost, pending.done) == (True, False)
    cluster.restart(1)
    cluster.queue.after(0.001, cluster.kill, [1])
    with pytest.raises(SimulationError, match="node 1 died before it answered"):
        cluster.ask(1, ping, is_pong)


def test_a_network_that_was_split_becomes_one_again(make_cluster):
    cluster = make_cluster(20)
    ips = [node.address[0] for node in cluster.nodes]
    # Node 0 is everybody's first contact; the other side has node 10 for that.
    cluster.start()
    for node in cluster.nodes[11:]:
        cluster.queue.after(0.1, lambda node=node: node.engine.known.add(cluster.nodes[10].address))
    partition = cluster.network.partition(ips[:10], ips[10:])
    cluster.run_for(60.0)
    sides = [{ip for ip, _ in cluster.nodes[index].engine.known} for index in (3, 15)]
    assert sides[0] == set(ips[:10])
    assert sides[1] == {ips[0], *ips[10:]}
    cluster.network.remove_fault(partition)
    cluster.run_until(knows(cluster, 20), timeout=120.0, check_every=1.0)


def test_every_event_reaches_the_scenario(make_cluster):
    cluster = make_cluster(6)
    seen = []
    cluster._on_event = lambda node, event, now: seen.append((node.index, event[0]))
    cluster.start()
    cluster.run_for(20.0)
    assert {index for index, kind in seen if kind == "knows"} == set(range(6))


def test_what_a_cluster_cannot_do_is_refused(make_cluster):
    cluster = make_cluster(2)
    with pytest.raises(BadScenario, match="not running: it takes no commands"):
        cluster.submit(0, lambda engine, now: None, is_pong)
    cluster.start()
    assert cluster.living() == [0, 1]
    with pytest.raises(BadScenario, match="running already"):
        cluster.restart(0)
    with pytest.raises(BadScenario, match="no share"):
        cluster.kill(1.5)
    with pytest.raises(BadScenario, match="no address"):
        public_address(1 << 24)


def test_public_addresses_are_all_different_and_spread_over_subnets():
    addresses = [public_address(index) for index in range(70_000)]
    assert len(set(addresses)) == 70_000
    assert len({ip.rpartition(".")[0] for ip, _ in addresses[:65_536]}) == 65_536


def test_public_addresses_differ_where_ids_come_from():
    """Nodes whose addresses agree under BEP 42's mask would share eight prefixes, and ids would lie in clumps."""
    masked = {int(ip_address(public_address(index)[0])) & BEP42_MASK_V4 for index in range(20_000)}
    assert len(masked) == 20_000
