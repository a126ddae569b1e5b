"""A topic's mesh by hand: broadcasts over members in between, repairs, floods, and neighbours that take nothing."""

from random import Random
from typing import Any, cast

import pytest

from dht.errors import LocalError
from dht.identity import IdentityKey, PublicKey
from node.protocols.topic_mesh import (
    ASK_AFTER,
    AUTHOR_BURST,
    KEPT_MESSAGES,
    MAX_MISSING,
    NEIGHBOUR_RATE,
    STRANGER_BURST,
    TELL_AFTER,
    Delivery,
    Lost,
    Received,
    Told,
    TopicMesh,
)
from node.protocols.topic_messages import (
    LENGTH,
    MAX_DATA,
    MAX_HOPS,
    Broadcast,
    Direct,
    Have,
    Hello,
    Leave,
    Prune,
    TopicRefusal,
    Want,
    decode_topic_message,
    sign_broadcast,
)
from node.protocols.topic_outbox import MAX_MESSAGES, STUCK_AFTER
from node.protocols.topic_seen import MAX_AGE, MAX_AUTHORS, WINDOW, Novelty, SeenMessages

NOW = 1_800_000_000.0
TAG = b"t" * 32


def taken(mesh, peer, now=NOW) -> bytes:
    """The next message for a neighbour, without its length."""
    data = mesh.take(peer, now)
    assert isinstance(data, bytes)
    return data[LENGTH.size :]


def identity(number: int) -> IdentityKey:
    return IdentityKey.from_seed(number.to_bytes(32, "big"))


class Net:
    """Meshes joined by hand, messages in flight for no time at all."""

    def __init__(self, count, edges):
        self.now = NOW
        self.meshes = [TopicMesh(identity(number + 1), TAG) for number in range(count)]
        self.keys = [identity(number + 1).public for number in range(count)]
        self.got: dict[int, list[Any]] = {number: [] for number in range(count)}
        self.carried = 0
        self.cut = set()
        for one, other in edges:
            self.meshes[one].add(self.keys[other], NOW)
            self.meshes[other].add(self.keys[one], NOW)

    def settle(self, seconds=0.0):
        until = self.now + seconds
        while True:
            self._flow()
            timers = [at for mesh in self.meshes if (at := mesh.next_timer()) is not None]
            due = min(timers, default=until + 1)
            if due > until:
                self.now = until
                return
            self.now = max(self.now, due)
            for mesh in self.meshes:
                mesh.handle_timer(self.now)

    def _flow(self):
        moved = True
        while moved:
            moved = False
            for number, mesh in enumerate(self.meshes):
                for peer in mesh.waiting():
                    other = self.keys.index(peer)
                    while (data := mesh.take(peer, self.now)) is not None:
                        moved = True
                        self.carried += 1
                        if (number, other) not in self.cut:
                            self.meshes[other].receive_message(data[LENGTH.size :], self.keys[number], self.now)
                while (event := mesh.next_event()) is not None:
                    self.got[number].append(event)

    def heard(self, number):
        return [event.data for event in self.got[number] if isinstance(event, Received)]


def test_a_message_reaches_members_with_whom_there_is_no_link():
    line = Net(6, [(number, number + 1) for number in range(5)])
    outcome = line.meshes[0].broadcast(b"hello", NOW)
    assert outcome == {line.keys[1]: Delivery.QUEUED}
    line.settle()
    assert [line.heard(number) for number in range(6)] == [[], *[[b"hello"]] * 5]
    event = line.got[5][0]
    assert (event.author, event.via, event.direct) == (line.keys[0], line.keys[4], False)


def test_a_dense_mesh_becomes_a_tree_and_stays_whole():
    rng = Random(1)
    count = 30
    edges = {
        tuple(sorted((one, other))) for one in range(count) for other in rng.sample(range(count), 4) if one != other
    }
    net = Net(count, edges)
    costs = []
    for number in range(6):
        net.carried = 0
        net.meshes[number].broadcast(b"%d" % number, net.now)
        net.settle(5)
        costs.append(net.carried)
        assert all(net.heard(other).count(b"%d" % number) == (other != number) for other in range(count))
    # In full along a tree of 29 branches; ids over the other edges, some of them both ways.
    assert costs[-1] < 2 * len(edges) < costs[0]


def test_who_missed_a_message_asks_for_it():
    net = Net(3, [(0, 1), (1, 2), (0, 2)])
    for number in range(3):  # Pruned to a tree first.
        net.meshes[number].broadcast(b"first %d" % number, net.now)
        net.settle(2)
    lazy = [
        (one, other)
        for one in range(3)
        for other in range(3)
        if one != other and not net.meshes[one]._neighbours[net.keys[other]].eager
    ]
    assert lazy
    eager = next((0, other) for other in (1, 2) if net.meshes[0]._neighbours[net.keys[other]].eager)
    net.cut.add(eager)
    net.meshes[0].broadcast(b"lost on the way", net.now)
    net.settle(TELL_AFTER + 4 * ASK_AFTER)
    assert [number for number in (1, 2) if b"lost on the way" not in net.heard(number)] == []


def test_an_id_told_is_asked_for_and_answered_from_memory():
    net = Net(2, [(0, 1)])
    net.meshes[0]._neighbours[net.keys[1]].eager = False
    assert net.meshes[0].broadcast(b"quiet", NOW) == {net.keys[1]: Delivery.TOLD}
    net.settle(TELL_AFTER + ASK_AFTER + 0.1)
    assert net.heard(1) == [b"quiet"] and net.meshes[1].counters["asked"] == 1
    assert net.meshes[0]._neighbours[net.keys[1]].eager


def test_a_message_counts_once_and_its_second_bearer_is_pruned():
    mesh, message = TopicMesh(identity(1), TAG), sign_broadcast(identity(9), TAG, int(NOW * 1e6), b"x")
    for number in (2, 3):
        mesh.add(identity(number).public, NOW)
    for number in (2, 3):
        mesh.receive_message(message.to_bytes(), identity(number).public, NOW)
    assert isinstance(mesh.next_event(), Received) and mesh.next_event() is None
    said = []
    while (data := mesh.take(identity(3).public, NOW)) is not None:
        said.append(decode_topic_message(data[LENGTH.size :]))
    assert said[-1] == Prune() and isinstance(said[0], Broadcast) and said[0].hops == 1


@pytest.mark.parametrize("what", ["forged", "other topic", "altered", "after the greeting", "rubbish"])
def test_who_hands_on_what_does_not_hold_is_let_go_of(what):
    mesh, peer = TopicMesh(identity(1), TAG), identity(2).public
    mesh.add(peer, NOW)
    good = sign_broadcast(identity(9), TAG, int(NOW * 1e6), b"x")
    data = {
        "forged": Broadcast(identity(8).public, good.number, good.signature, b"x").to_bytes(),
        "other topic": sign_broadcast(identity(9), b"u" * 32, int(NOW * 1e6), b"x").to_bytes(),
        "altered": good.to_bytes() + b"y",
        "after the greeting": Hello(bytes(32)).to_bytes(),
        "rubbish": b"\x99",
    }[what]
    mesh.receive_message(data, peer, NOW)
    event = mesh.next_event()
    assert isinstance(event, Lost) and event.peer == peer and peer not in mesh
    mesh.receive_message(good.to_bytes(), peer, NOW)  # Nothing more is taken from it.
    assert mesh.next_event() is None


def test_hops_are_limited():
    mesh, peer = TopicMesh(identity(1), TAG), identity(2).public
    for number in (2, 3):
        mesh.add(identity(number).public, NOW)
    for at, hops in enumerate((MAX_HOPS, MAX_HOPS + 1)):
        message = sign_broadcast(identity(9), TAG, int(NOW * 1e6) + at, b"x")
        mesh.receive_message(
            Broadcast(message.author, message.number, message.signature, b"x", hops).to_bytes(), peer, NOW
        )
    assert mesh.counters["hops"] == 1 and mesh.take(identity(3).public, NOW) is None


def test_nobody_talks_a_topic_down():
    mesh, peer = TopicMesh(identity(1), TAG), identity(2).public
    mesh.add(peer, NOW)
    for at in range(300):
        mesh.receive_message(sign_broadcast(identity(9), TAG, int(NOW * 1e6) + at, b"x").to_bytes(), peer, NOW)
    assert mesh.counters["author_rate"] == 300 - AUTHOR_BURST == 200
    for number in range(1000, 1200):
        mesh.receive_message(sign_broadcast(identity(number), TAG, int(NOW * 1e6), b"x").to_bytes(), peer, NOW)
    assert mesh.counters["strangers"] == 200 - (STRANGER_BURST - 1)


def test_a_neighbour_that_says_too_much_is_read_no_faster():
    mesh, peer = TopicMesh(identity(1), TAG), identity(2).public
    mesh.add(peer, NOW)
    for _ in range(700):
        mesh.receive_message(Direct(b"x").to_bytes(), peer, NOW)
    assert mesh.pause(peer, NOW) == pytest.approx(200 / NEIGHBOUR_RATE, abs=0.01)
    assert mesh.pause(peer, NOW + 5) == 0


def test_our_own_flood_is_refused_before_others_would_leave_it_out():
    mesh = TopicMesh(identity(1), TAG)
    outcomes = [mesh.broadcast(b"x", NOW) for _ in range(80)]
    assert outcomes.count(None) == 80 - AUTHOR_BURST / 2
    with pytest.raises(LocalError, match="send a file"):
        mesh.broadcast(bytes(MAX_DATA + 1), NOW)


def test_a_full_queue_is_said_and_the_message_still_told_later():
    mesh, peer = TopicMesh(identity(1), TAG), identity(2).public
    mesh.add(peer, NOW)
    for _ in range(MAX_MESSAGES):
        assert mesh.direct(peer, b"x", NOW) is Delivery.QUEUED
    assert mesh.direct(peer, b"x", NOW) is Delivery.FULL
    assert mesh.broadcast(b"all", NOW) == {peer: Delivery.FULL}
    assert mesh.direct(identity(3).public, b"x", NOW) is Delivery.NOT_CONNECTED
    for _ in range(MAX_MESSAGES):
        mesh.take(peer, NOW)
    mesh.handle_timer(NOW + 1)
    assert isinstance(decode_topic_message(taken(mesh, peer)), Have)


def test_a_neighbour_that_takes_nothing_is_let_go_of():
    mesh, peer = TopicMesh(identity(1), TAG), identity(2).public
    mesh.add(peer, NOW)
    mesh.direct(peer, b"x", NOW)
    assert mesh.next_timer() == NOW + STUCK_AFTER
    mesh.handle_timer(NOW + STUCK_AFTER)
    event = mesh.next_event()
    assert isinstance(event, Lost) and event.reason is TopicRefusal.TOO_SLOW


def test_made_up_ids_take_bounded_memory_and_what_is_kept_is_bounded():
    mesh, peer = TopicMesh(identity(1), TAG), identity(2).public
    mesh.add(peer, NOW)
    for at in range(40):
        ids = tuple(identity(9).public.raw + (int(NOW * 1e6) + 64 * at + each).to_bytes(8, "big") for each in range(64))
        mesh.receive_message(Have(ids).to_bytes(), peer, NOW)
    assert len(mesh._missing) == MAX_MISSING
    for at in range(10):
        mesh.handle_timer(NOW + at)
    assert not mesh._missing
    for at in range(600):
        mesh.broadcast(b"x", NOW + at)
    assert len(mesh._kept) == KEPT_MESSAGES
    mesh.receive_message(Want((identity(9).public.raw + bytes(8),)).to_bytes(), peer, NOW)


def test_leave_and_members_are_told():
    mesh, peer = TopicMesh(identity(1), TAG), identity(2).public
    mesh.add(peer, NOW)
    mesh.tell_members(peer, (b"record",), NOW)
    other = TopicMesh(identity(2), TAG)
    other.add(identity(1).public, NOW)
    other.receive_message(taken(mesh, peer), identity(1).public, NOW)
    assert other.next_event() == Told(identity(1).public, (b"record",))
    other.receive_message(Leave(TopicRefusal.MADE_ROOM).to_bytes(), identity(1).public, NOW)
    assert other.next_event() == Lost(identity(1).public, TopicRefusal.MADE_ROOM, "it left")


def test_replays_and_other_times_are_old():
    seen, author = SeenMessages(), identity(1).public
    at = int(NOW * 1e6)
    assert seen.judge(author, at, NOW) is Novelty.NEW
    for each in range(WINDOW + 10):
        seen.add(author, at + each)
    assert seen.judge(author, at + WINDOW, NOW) is Novelty.SEEN
    assert seen.judge(author, at, NOW) is Novelty.OLD and seen.judge(author, at - 5, NOW) is Novelty.OLD
    assert seen.judge(identity(2).public, int((NOW - MAX_AGE - 1) * 1e6), NOW) is Novelty.OLD
    assert seen.judge(identity(2).public, int((NOW + MAX_AGE) * 1e6), NOW) is Novelty.OLD
    seen._authors.update((cast(PublicKey, number), (0, set())) for number in range(MAX_AUTHORS))
    seen.add(identity(3).public, at)
    assert len(seen) == MAX_AUTHORS + 1 and not seen.knows(author)
