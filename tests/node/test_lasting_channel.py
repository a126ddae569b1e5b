"""The channel under a link that goes on: bounds, order, and random deaths on a clock that jumps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.adapters.lasting_channel import LastingChannel
from node.adapters.lasting_greeting import GREETING_TIMEOUT, MAX_EARLY, Greeted
from node.adapters.memory_link import MemoryChannelPair
from node.adapters.stream_link import StreamLink
from node.ports import LinkEnd, LinkError, LinkFault, LinkPath, Opened
from node.protocols import continuity
from node.protocols.continuity import Continuity, Hello, Word, ack
from node.protocols.stream_frames import FrameType, pack_frame
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run
from simulations.network import Network
from simulations.randomness import Streams
from tests.contract.test_link import ALICE, BOB
from tests.linking import LINK_ID

T = TypeVar("T")
DATA = b"\x02"


def play(main: Coroutine[Any, Any, T]) -> T:
    return run(main, Network(EventQueue(), Streams(1), latency=Constant(0.01)))


class End:
    """One end, and what came out of it."""

    def __init__(self, *, initiated: bool) -> None:
        self.core = Continuity(LINK_ID, initiated=initiated)
        self.channel = LastingChannel(self.core)
        self.got: list[bytes] = []
        self.ends: list[LinkEnd] = []
        self.suspected = 0
        self.fresh = True
        self.paths: list[LinkPath] = []
        self.channel.on_message = self.got.append
        self.channel.on_closed = self.ends.append
        self.channel.on_suspect = lambda _why: self._count()
        self.channel.on_path = lambda _old, new, _why: self.paths.append(new)

    def _count(self) -> None:
        self.suspected += 1

    async def called(self, greeted: Greeted) -> None:
        try:
            hello = await greeted.hello()
        except LinkError:
            return
        assert hello is not None
        if self.fresh and not self.core.initiated:
            self.fresh = False
            self.channel.accept(greeted, hello)
            self.channel.start()
            return
        self.channel.take(greeted, hello)


class Both:
    """Both ends, and how further channels come to be."""

    def __init__(self) -> None:
        self.near, self.far = End(initiated=True), End(initiated=False)
        self.pairs: list[MemoryChannelPair] = []

    async def begin(self, delay: float = 0.01) -> None:
        pair = self.pair(delay)
        self.near.channel.begin(Greeted(Opened(pair.near, LinkPath())))
        self.near.channel.start()
        await self.far.called(Greeted(Opened(pair.far, LinkPath())))
        await asyncio.sleep(3 * delay)

    def pair(self, delay: float, capacity: int = 262_144) -> MemoryChannelPair:
        self.pairs.append(MemoryChannelPair(delay=delay, capacity=capacity))
        return self.pairs[-1]

    async def redial(self, by: int, delay: float) -> None:
        pair = self.pair(delay, 4_000)
        dialler, other = (self.near, self.far) if by == 0 else (self.far, self.near)
        called = asyncio.ensure_future(other.called(Greeted(Opened(pair.far, LinkPath()))))
        with contextlib.suppress(LinkError):
            await dialler.channel.resume(Greeted(Opened(pair.near, LinkPath())))
        await called

    async def close(self) -> None:
        await self.near.channel.close()
        await self.far.channel.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "redial", "die", "wait"]),
        st.integers(0, 1),
        st.sampled_from([0.0, 0.004, 0.01, 0.05]),
    ),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_message_arrives_once_in_order_whatever_dies(steps: list[tuple[str, int, float]]) -> None:
    async def main() -> None:
        both = Both()
        await both.begin()
        sent: tuple[list[bytes], list[bytes]] = ([], [])
        tasks: list[asyncio.Task[None]] = []
        for action, side, seconds in steps:
            if action == "send":
                for _ in range(5):
                    message = DATA + len(sent[side]).to_bytes(4, "big") + bytes(700)
                    sent[side].append(message)
                    (both.near, both.far)[side].channel.send(message)
            elif action == "redial":
                tasks.append(asyncio.ensure_future(both.redial(side, seconds)))
            elif action == "die":
                both.pairs[-1 - side % len(both.pairs)].break_path()
            await asyncio.sleep(seconds)
        await asyncio.gather(*tasks)
        await asyncio.sleep(0.2)
        await both.redial(0, 0.01)
        await asyncio.sleep(5)
        assert (both.near.ends, both.far.ends) == ([], [])
        assert (both.far.got, both.near.got) == sent
        assert not both.near.core.outstanding and not both.far.core.outstanding
        await both.close()

    play(main())


def test_a_peer_that_never_acknowledges_stops_its_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuity, "MAX_KEPT", 300_000)

    async def main() -> None:
        both = Both()
        await both.begin()
        near = both.near
        room_told: list[None] = []
        near.channel.on_room = lambda: room_told.append(None)
        monkeypatch.setattr(both.far.channel, "_acknowledge", lambda: None)
        count = 0
        while near.channel.room > 0 and count < 1000:
            near.channel.send(DATA + bytes(9_999))
            count += 1
            await asyncio.sleep(0.03)
        assert 28 <= count <= 30
        room_told.clear()
        assert both.far.channel._path is not None
        both.far.channel._path.channel.send(both.far.core.acknowledge())
        await asyncio.sleep(0.1)
        assert room_told and near.channel.room > 200_000
        await both.close()

    play(main())


@pytest.mark.parametrize(
    "message",
    [
        ack(10**6),
        Hello(Word.TAKEN, LINK_ID, 1, 0).to_bytes(),
        b"\x81\0\0\1\0\0\0\0x",
        bytes.fromhex("8400000800000000000000000000ffff"),
    ],
    ids=["too many acknowledged", "a second hello", "bad length", "a gap"],
)
def test_a_peer_that_breaks_the_rules_ends_the_link(message: bytes) -> None:
    async def main() -> None:
        both = Both()
        await both.begin()
        both.pairs[0].far.send(message)
        await asyncio.sleep(0.1)
        assert [end.fault for end in both.near.ends] == [LinkFault.PROTOCOL]
        await both.close()

    play(main())


def test_nothing_lingers_after_the_end() -> None:
    async def main() -> None:
        both = Both()
        await both.begin()
        await both.redial(0, 0.01)
        both.near.channel.send(pack_frame(FrameType.CLOSE, 0, b"\0\0"))
        await asyncio.sleep(0.05)
        assert not both.far.channel.lasting and both.far.got[-1][0] == FrameType.CLOSE
        await both.close()
        await asyncio.sleep(3)
        assert both.near.suspected == both.far.suspected == 0
        assert not any(pair.near._open or pair.far._open for pair in both.pairs)
        assert len(asyncio.all_tasks()) == 1

    play(main())


def test_more_than_may_come_before_a_channel_is_taken_ends_it() -> None:
    async def main() -> None:
        pair = MemoryChannelPair(capacity=2 * MAX_EARLY)
        greeted = Greeted(Opened(pair.near, LinkPath()))
        for _ in range(MAX_EARLY // 60_000 + 2):
            pair.far.send(DATA + bytes(60_000))
        await asyncio.sleep(0.1)
        assert greeted.end is not None and greeted.end.fault is LinkFault.PROTOCOL
        await greeted.close()
        assert not pair.near._open

    play(main())


def test_who_says_nothing_is_given_up() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        with pytest.raises(LinkError):
            await Greeted(Opened(MemoryChannelPair().near, LinkPath())).hello()
        assert loop.time() - before == pytest.approx(GREETING_TIMEOUT)

    play(main())


@pytest.mark.parametrize("lasting", [False, True])
def test_far_away_it_is_as_fast_as_the_channel_alone(lasting: bool) -> None:
    """At 50 ms the streams' windows rule: 3 of 4 MiB in each round trip."""

    async def main() -> float:
        pair = MemoryChannelPair(delay=0.025, capacity=64 * 1_048_576)
        if lasting:
            near, far = Continuity(LINK_ID, initiated=True), Continuity(LINK_ID, initiated=False)
            one, two = LastingChannel(near), LastingChannel(far)
            one.begin(Greeted(Opened(pair.near, LinkPath())))
            greeted = Greeted(Opened(pair.far, LinkPath()))
            hello = await greeted.hello()
            assert hello is not None
            two.accept(greeted, hello)
            source, target = StreamLink(one, BOB, initiated=True), StreamLink(two, ALICE, initiated=False)
        else:
            source = StreamLink(pair.near, BOB, initiated=True)
            target = StreamLink(pair.far, ALICE, initiated=False)
        stream = await source.open_stream("bulk")
        incoming = await target.accept_stream()
        loop = asyncio.get_running_loop()
        before, size = loop.time(), 40_000_000

        async def send() -> None:
            block = bytes(60_000)
            for _ in range(size // len(block)):
                await stream.write(block)
            await stream.close()

        sending = asyncio.create_task(send())
        while await incoming.read(1_000_000):
            pass
        rate = size / (loop.time() - before)
        await sending
        await source.close()
        await target.close()
        return rate

    assert play(main()) > 55_000_000
