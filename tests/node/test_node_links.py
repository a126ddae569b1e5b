"""Links that go on over one channel after another: who opens which channel, and what comes of it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable

import pytest

from dht.identity import IdentityKey
from node.adapters.memory_link import MemoryChannelPair
from node.adapters.stream_link import StreamLink, link_over
from node.node_events import EventLog, LinkEnded, PathChanged, PathLost
from node.node_links import CROSSING, Links
from node.ports import Link, LinkError, LinkFault, LinkPath, Opened, Stream
from node.protocols.liveness import SUSPENDED_FOR
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run
from simulations.network import Network
from simulations.randomness import Streams

KEYS = sorted((IdentityKey.from_seed(bytes([number]) * 32).public for number in (1, 2)), key=lambda key: key.raw)
DIRECT, RELAYED = LinkPath("host", None, "host", ("192.0.2.1", 4)), LinkPath("relay", None, "relay", None, (KEYS[0],))


class Two:
    """Two nodes' links, the lower key's first, and the channels between them."""

    def __init__(self) -> None:
        self.rng = random.Random(5)
        self.logs = [EventLog(), EventLog()]
        self.ends = [self.new_end(0), self.new_end(1)]
        self.suspected = [0, 0]
        self.pairs: list[MemoryChannelPair] = []

    def new_end(self, side: int) -> Links:
        loop = asyncio.get_running_loop()
        links = Links(self.logs[side], loop.time, loop.time, self.rng.randbytes, own=KEYS[side])

        def suspect(_peer: object) -> None:
            self.suspected[side] += 1

        links.on_suspect = suspect
        return links

    def open(self, by: int = 0, path: LinkPath = DIRECT, delay: float = 0.02) -> list[Awaitable[Link]]:
        """A channel that `by` opened, about to be joined at both ends; the lower key's join first."""
        pair = MemoryChannelPair(delay=delay)
        self.pairs.append(pair)
        return [
            self.ends[side].join(KEYS[1 - side], Opened(channel, path), initiated=side == by)
            for side, channel in enumerate((pair.near, pair.far))
        ]

    async def meet(self, by: int = 0, path: LinkPath = DIRECT) -> list[Link]:
        """Both ends' links, which both ends know to stand."""
        links = list(await asyncio.gather(*self.open(by, path)))
        await links[by].ping()
        return links

    def links(self) -> list[Link | None]:
        return [end.get(KEYS[1 - side]) for side, end in enumerate(self.ends)]

    def events(self, side: int, kind: type) -> list[str]:
        return [event.text for event in self.logs[side].recent() if isinstance(event, kind)]

    def silence(self) -> None:
        """The newest channel carries nothing any more, and says nothing of it."""
        for channel in (self.pairs[-1].near, self.pairs[-1].far):
            channel.send = lambda message: None  # type: ignore[method-assign]


def play(script: Callable[[Two], Awaitable[None]]) -> None:
    async def main() -> None:
        two = Two()
        await script(two)
        for end in two.ends:
            await end.close()

    run(main(), Network(EventQueue(), Streams(1), latency=Constant(0.01)))


class Download:
    """Bytes under way from one end to the other, and their digest at both."""

    def __init__(self, source: Link, target: Link, size: int = 3_000_000) -> None:
        self.arrived = hashlib.sha256()
        self.count = 0
        self.data = random.Random(size).randbytes(size)
        self._ended = asyncio.Event()
        target.register("data", self._take)
        self._sending = asyncio.create_task(self._send(source))

    async def _send(self, source: Link) -> None:
        stream = await source.open_stream("data")
        for at in range(0, len(self.data), 30_000):
            await stream.write(self.data[at : at + 30_000])
        await stream.close()

    async def _take(self, stream: Stream) -> None:
        while data := await stream.read():
            self.arrived.update(data)
            self.count += len(data)
        self._ended.set()

    async def done(self) -> None:
        async with asyncio.timeout(120):
            await self._sending
            await self._ended.wait()
        assert self.arrived.digest() == hashlib.sha256(self.data).digest() and self.count == len(self.data)


def test_a_link_goes_on_over_another_channel_when_its_own_dies() -> None:
    async def script(two: Two) -> None:
        near, far = await two.meet()
        up, down = Download(near, far), Download(far, near, 2_000_000)
        for by in (0, 1, 0):
            await asyncio.sleep(0.1)
            two.pairs[-1].break_path()
            await asyncio.sleep(0.05)
            assert [end.suspended(KEYS[1 - side]) for side, end in enumerate(two.ends)] == [True, True]
            assert await two.meet(by, RELAYED) == [near, far]
            assert not two.ends[0].suspended(KEYS[1])
        await up.done()
        await down.done()
        assert two.suspected == [3, 3] and len(two.events(0, PathLost)) == 3
        assert near.stats.path == RELAYED and "the path was broken" in two.events(0, PathChanged)[0]
        assert len(two.events(1, PathChanged)) == 3 and not two.events(1, LinkEnded)
        assert near.stats.bytes_sent > 3_000_000
        info = two.ends[0].info()[0]
        assert (info.type, info.address) == ("relay", None) and not near.stats.path.direct

    play(script)


def test_a_better_path_is_taken_while_the_old_one_lives() -> None:
    async def script(two: Two) -> None:
        near, far = await two.meet(path=RELAYED)
        up, down = Download(near, far), Download(far, near)
        await asyncio.sleep(0.2)
        assert await two.meet(1) == [near, far]
        assert two.suspected == [0, 0] and near.stats.path.direct and far.stats.path.direct
        await up.done()
        await down.done()
        await asyncio.sleep(3)
        assert not two.pairs[0].near._open and not two.pairs[0].far._open, "the old channel is closed"
        assert "a better path" in two.events(0, PathChanged)[0]

    play(script)


def test_both_may_open_a_channel_at_once() -> None:
    async def script(two: Two) -> None:
        near, far = await two.meet()
        up, down = Download(near, far), Download(far, near)
        for delays in ((0.02, 0.02), (0.05, 0.01), (0.01, 0.05)):
            await asyncio.sleep(0.05)
            two.pairs[-1].break_path()
            opening = [*two.open(0, delay=delays[0]), *two.open(1, delay=delays[1])]
            joined = await asyncio.gather(*opening, return_exceptions=True)
            # Whoever waits at the channel that does not count may see it close.
            assert {link for link in joined if not isinstance(link, LinkError)} == {near, far}
            assert not two.ends[0].suspended(KEYS[1]) and not two.ends[1].suspended(KEYS[0])
            await asyncio.sleep(0.1)
        await up.done()
        await down.done()
        await asyncio.sleep(3)
        assert sum(pair.near._open and pair.far._open for pair in two.pairs) == 1

    play(script)


def test_a_link_without_another_path_is_lost() -> None:
    async def script(two: Two) -> None:
        near, far = await two.meet()
        two.pairs[-1].break_path()
        before = asyncio.get_running_loop().time()
        end = await near.closed
        assert end.fault is LinkFault.LOST and "broken" in end.detail
        assert SUSPENDED_FOR <= asyncio.get_running_loop().time() - before <= SUSPENDED_FOR + 2
        assert (await far.closed).fault is LinkFault.LOST
        assert two.links() == [None, None] and len(two.events(0, LinkEnded)) == 1

    play(script)


@pytest.mark.parametrize("busy", [True, False])
def test_a_silent_path_is_suspected_in_three_seconds_where_somebody_waits(busy: bool) -> None:
    async def script(two: Two) -> None:
        near, far = await two.meet()
        if busy:
            Download(near, far, 50_000_000)
            await asyncio.sleep(0.5)
        else:
            await near.ping()
        two.silence()
        await asyncio.sleep(3.6)
        assert two.suspected == [1, 1]
        assert "silent" in two.events(0, PathLost)[0]

    play(script)


def test_a_path_that_speaks_again_is_used_on() -> None:
    async def script(two: Two) -> None:
        near, _ = await two.meet()
        await near.ping()
        two.ends[0].suspect(KEYS[1], "left the network")
        two.ends[0].suspect(KEYS[1], "left the network")
        assert two.ends[0].suspended(KEYS[1]) and two.suspected == [1, 0]
        await near.ping()
        await asyncio.sleep(0.5)
        assert not two.ends[0].suspended(KEYS[1]) and not near.closed.done()

    play(script)


def test_a_slow_path_whose_queue_moves_is_not_suspected() -> None:
    async def script(two: Two) -> None:
        near, far = await two.meet()
        await near.ping()
        download = Download(near, far, 300_000)
        # 25 kB/s: a message of 64 KiB takes longer than a dead path is given.
        loop, free_at = asyncio.get_running_loop(), 0.0
        near_end = two.pairs[-1].near

        def send(message: bytes) -> None:
            nonlocal free_at
            near_end._under_way += len(message)
            for at in range(0, len(message), 1200):
                free_at = max(free_at, loop.time()) + min(1200, len(message) - at) / 25_000
                last = at + 1200 >= len(message)
                loop.call_at(free_at, leave, len(message[at : at + 1200]), message if last else b"")

        def leave(size: int, message: bytes) -> None:
            if message:
                near_end._under_way += len(message) - size
                near_end._deliver(message)
            else:
                near_end._under_way -= size

        near_end.send = send  # type: ignore[method-assign]
        await download.done()
        assert two.suspected[0] == 0

    play(script)


def test_a_peer_that_restarted_gets_a_new_link() -> None:
    async def script(two: Two) -> None:
        near, far = await two.meet()
        two.silence()
        two.ends[1] = two.new_end(1)
        again, other = await asyncio.wait_for(two.meet(), 5)
        assert again is not near and other is not far and await again.ping() < 1
        assert (await near.closed).fault is LinkFault.FORGOTTEN
        assert two.links() == [again, other] and len(two.events(0, LinkEnded)) == 1
        await far.close()

    play(script)


@pytest.mark.parametrize("by", [0, 1])
def test_a_newer_link_of_the_peer_takes_the_older_ones_place(by: int) -> None:
    async def script(two: Two) -> None:
        links = await two.meet(by)
        await asyncio.sleep(CROSSING)
        two.silence()
        two.ends[by] = two.new_end(by)
        newer = await two.meet(by)
        assert newer[1 - by] is not links[1 - by] and two.links() == newer
        assert await newer[0].ping() < 1
        await links[by].close()

    play(script)


def test_of_two_links_begun_at_once_that_of_the_lower_key_stays() -> None:
    async def script(two: Two) -> None:
        one, two_ends = two.open(0), two.open(1)
        mine, theirs = await asyncio.gather(one[0], two_ends[1])
        await asyncio.gather(one[1], two_ends[0])
        await asyncio.sleep(1)
        assert two.links()[0] is mine and two.links()[1] is not theirs
        assert await mine.ping() < 1

    play(script)


def test_two_channels_of_one_attempt_make_one_link_in_whatever_order_they_arrive() -> None:
    async def script(two: Two) -> None:
        slow, quick = two.open(0, RELAYED, delay=0.3), two.open(0, DIRECT, delay=0.01)
        joined = await asyncio.gather(slow[0], quick[0], slow[1], quick[1])
        assert joined[0] is joined[1] and joined[2] is joined[3]
        assert joined[0].stats.path == DIRECT and await joined[0].ping() < 0.1

    play(script)


def test_a_goodbye_ends_a_link_at_once_and_suspects_nobody() -> None:
    async def script(two: Two) -> None:
        near, far = await two.meet()
        await near.close()
        assert (await near.closed).fault is LinkFault.CLOSED_BY_US
        assert (await far.closed).fault is LinkFault.CLOSED_BY_PEER
        await asyncio.sleep(1)
        assert two.suspected == [0, 0] and not two.events(1, PathLost)

    play(script)


def test_a_node_stops_at_once_also_while_a_link_waits_for_a_path() -> None:
    async def script(two: Two) -> None:
        near, _ = await two.meet()
        two.pairs[-1].break_path()
        await asyncio.sleep(0.1)
        silent = MemoryChannelPair()
        joining = asyncio.ensure_future(two.ends[0].join(KEYS[1], Opened(silent.near, DIRECT), initiated=True))
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        before = loop.time()
        await two.ends[0].close()
        assert loop.time() - before < 1 and near.closed.done()
        with pytest.raises(LinkError):
            await joining

    play(script)


@pytest.mark.parametrize("dials", [True, False])
def test_a_peer_of_an_older_release_gets_a_link_of_one_channel(dials: bool) -> None:
    async def script(two: Two) -> None:
        pair = MemoryChannelPair(delay=0.02)
        old: StreamLink = link_over(Opened(pair.far, DIRECT), KEYS[0], initiated=not dials)
        link = await two.ends[0].join(KEYS[1], Opened(pair.near, DIRECT), initiated=dials)
        await Download(link, old).done()
        await Download(old, link).done()
        pair.break_path()
        assert (await link.closed).fault is LinkFault.LOST and two.suspected == [0, 0]
        await old.close()

    play(script)


def test_a_peer_that_says_nothing_gets_no_link() -> None:
    async def script(two: Two) -> None:
        pair = MemoryChannelPair()
        with pytest.raises(LinkError) as seen:
            await two.ends[0].join(KEYS[1], Opened(pair.near, DIRECT), initiated=False)
        assert seen.value.end.fault is LinkFault.LOST and not pair.near._open

    play(script)
