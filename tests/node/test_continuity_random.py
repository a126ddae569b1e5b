"""Links over channels that die and change: no message lost, none twice, whatever both ends do at once."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from node.protocols.continuity import Continuity, Control, Hello, Taken, Verdict, Way, decode_control, is_control

LINK = bytes(range(16))


class Cable:
    """A channel: two queues, and how each end sees it."""

    def __init__(self) -> None:
        self.queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.alive = [True, True]
        self.ways: list[Way | None] = [None, None]
        self.answered = [False, False]

    def send(self, side: int, message: bytes) -> None:
        if self.alive[side]:
            self.queues[side].append(message)


class World:
    """Two ends of a link and the cables between them; each end does what the shell around it would do."""

    def __init__(self) -> None:
        self.ends = (Continuity(LINK, initiated=True), Continuity(LINK, initiated=False))
        self.cables: list[Cable] = []
        self.got: tuple[list[bytes], list[bytes]] = ([], [])
        self.said = [0, 0]
        self.later: list[Cable | None] = [None, None]
        self.hellos: list[Hello | None] = [None, None]
        cable = Cable()
        self.cables.append(cable)
        hello = self.ends[0].begin()
        cable.ways[0] = self.ends[0].current
        cable.send(0, hello.to_bytes())

    def say(self, side: int) -> None:
        message = b"\x02" + self.said[side].to_bytes(4, "big")
        self.said[side] += 1
        way = self.ends[side].keep(message)
        if way is not None:
            self.cable_of(side, way).send(side, message)

    def cable_of(self, side: int, way: Way) -> Cable:
        return next(cable for cable in self.cables if cable.ways[side] is way)

    def pump(self, side: int) -> None:
        way = self.ends[side].current
        while way is not None and way.backlog:
            self.cable_of(side, way).send(side, way.backlog.popleft())

    def dial(self, side: int) -> None:
        end = self.ends[side]
        if not end.confirmed and end.current is None:
            return
        if end.pending is not None:
            self.drop(side, self.cable_of(side, end.pending))
        way, hello = end.dial()
        cable = Cable()
        cable.ways[side] = way
        self.cables.append(cable)
        cable.send(side, hello.to_bytes())

    def drop(self, side: int, cable: Cable) -> None:
        """One end closes a cable, or sees it die; what is under way from it may still arrive."""
        if not cable.alive[side]:
            return
        cable.alive[side] = False
        cable.queues[1 - side].clear()
        way, end = cable.ways[side], self.ends[side]
        if way is not None:
            pending = end.pending is way
            end.lost(way)
            if pending:
                self.reconsider(side)

    def reconsider(self, side: int) -> None:
        cable, self.later[side] = self.later[side], None
        hello = self.hellos[side]
        if cable is not None and hello is not None:
            self.asked(side, cable, hello)

    def deliver(self, side: int, cable: Cable) -> None:
        """Hand `side` the next message of a cable."""
        queue = cable.queues[1 - side]
        if not queue or not cable.alive[side]:
            return
        message, end, way = queue.popleft(), self.ends[side], cable.ways[side]
        if not is_control(message):
            assert way is not None
            if end.take(way, len(message)):
                self.got[side].append(message)
            return
        decoded = decode_control(message)
        assert decoded is not None
        kind, value = decoded
        if isinstance(value, Hello):
            if way is None:
                self.asked(side, cable, value)
                return
            assert end.answered(way, value)
            if way.opening:
                cable.send(side, way.opening)
                for other in self.cables:
                    if other is not cable and other.ways[side] is not None:
                        self.drop(side, other)
                self.refuse_later(side)
                self.pump(side)
        elif kind is Control.ACK:
            end.on_ack(value)
        else:
            assert way is not None and kind is Control.FROM
            end.begins(way, value)

    def asked(self, side: int, cable: Cable, hello: Hello) -> None:
        end = self.ends[side]
        verdict = end.asked(hello)
        if verdict is Verdict.LATER:
            self.refuse_later(side)
            self.later[side], self.hellos[side] = cable, hello
        elif not isinstance(verdict, Taken):
            self.drop(side, cable)
        else:
            cable.ways[side] = verdict.way
            if verdict.left is not None:
                self.drop(side, self.cable_of(side, verdict.left))
            cable.send(side, verdict.reply.to_bytes())
            cable.send(side, verdict.way.opening)
            self.refuse_later(side)
            self.pump(side)

    def refuse_later(self, side: int) -> None:
        cable, self.later[side] = self.later[side], None
        if cable is not None:
            self.drop(side, cable)

    def acknowledge(self, side: int) -> None:
        end = self.ends[side]
        if end.current is not None:
            self.cable_of(side, end.current).send(side, end.acknowledge())

    def settle(self) -> None:
        """Everything arrives; whoever has no path gets one."""
        for _ in range(20):
            for cable in list(self.cables):
                for side in (0, 1):
                    while cable.queues[1 - side] and cable.alive[side]:
                        self.deliver(side, cable)
            for side in (0, 1):
                # What the other end has closed is seen as dead, after all that came before.
                for cable in self.cables:
                    if not cable.alive[1 - side] and not cable.queues[1 - side]:
                        self.drop(side, cable)
            if not any(any(cable.queues[1 - side] and cable.alive[side] for side in (0, 1)) for cable in self.cables):
                if all(end.current is not None for end in self.ends):
                    return
                self.dial(0)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "dial", "drop", "deliver", "deliver", "deliver", "ack"]), st.integers(0, 99)
    ),
    max_size=80,
)


@settings(max_examples=400, deadline=None)
@given(ACTIONS)
def test_nothing_is_lost_or_doubled_whatever_dies_and_whoever_switches(actions: list[tuple[str, int]]) -> None:
    world = World()
    # A link that the other end has not heard of ends with its first channel: let it begin.
    world.deliver(1, world.cables[0])
    world.deliver(0, world.cables[0])
    for action, number in actions:
        side, cable = number % 2, world.cables[-1 - (number // 2) % min(len(world.cables), 4)]
        match action:
            case "say":
                world.say(side)
            case "dial":
                world.dial(side)
            case "drop":
                world.drop(side, cable)
            case "deliver":
                world.deliver(side, cable)
            case "ack":
                world.acknowledge(side)
    world.settle()
    for side in (0, 1):
        wanted = [b"\x02" + number.to_bytes(4, "big") for number in range(world.said[side])]
        assert world.got[1 - side] == wanted
        assert world.ends[1 - side].received == world.said[side]
