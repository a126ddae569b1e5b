"""Checks of what bounds a watch: who is told, how often, for how long, and how many may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dht.constants import MAX_DATAGRAM
from dht.records import Refusal
from dht.wire import Notice, Noticed, Watch, Watched
from node.conformance.answers import note, owner, put
from node.conformance.batches import announce
from node.conformance.suite import check
from node.conformance.target import Failed, Line, Speaker, Target, Unjudged

QUIET = 1.5
"""Seconds in which a NOTICE that must not come would have come: it may be a second behind the one before."""

LONGEST = 15 * 60
"""Seconds that a subscription lives at most (docs/protocol.md, Watch)."""

MANY = 1000
"""Subscriptions of one address of which one is refused. UNSOURCED: a household has twenty peers a device."""

GIVEN_UP = 40.0
"""Seconds after which a silent subscriber is told no more. UNSOURCED: twice what three NOTICEs take"""

NOTICES = 6
"""Datagrams that a NOTICE to somebody silent costs at most: three, each sent twice (docs/protocol.md, Watch)."""


async def watch(speaker: Speaker, place: bytes, *, seq: int | None = None, lifetime: int = 100) -> Watched:
    """Subscribe with the token at hand."""
    return await speaker.ask(Watch(speaker.rid(), speaker.token, False, place, seq, lifetime), Watched)


async def watching(speaker: Speaker, place: bytes, *, seq: int | None = None, lifetime: int = 100) -> Watched:
    """The same; it has to be granted."""
    answer = await watch(speaker, place, seq=seq, lifetime=lifetime)
    if answer.status in (Refusal.FULL, Refusal.PREFIX_QUOTA):
        raise Unjudged("it has as many subscriptions as it takes")
    if answer.status != Refusal.NONE:
        raise Failed(f"a WATCH with a token got status {answer.status}")
    return answer


async def noticed(speaker: Speaker, seconds: float, *, acknowledge: bool = True) -> list[Notice]:
    """Every NOTICE that comes within so many seconds."""
    found: list[Notice] = []
    end = speaker.line.now() + seconds
    while (left := end - speaker.line.now()) > 0 and (message := await speaker.hear(left)) is not None:
        if isinstance(message, Notice):
            found.append(message)
            if acknowledge:
                speaker.say(Noticed(message.rid, b"", Refusal.NONE))
    return found


async def stored(speaker: Speaker, raw: bytes) -> None:
    """Store a record; it has to be taken."""
    status = (await put(speaker, raw)).status
    if status != Refusal.NONE:
        raise Unjudged(f"it takes no record of ours now: status {status}")


@asynccontextmanager
async def both(target: Target) -> AsyncIterator[tuple[Speaker, Speaker, Line]]:
    """Who watches and who publishes, on lines of their own and proven; and the watcher's line."""
    async with target.lines() as line, target.lines() as far:
        watcher, publisher = target.speaker(line), target.speaker(far)
        await watcher.prove()
        await publisher.prove()
        yield watcher, publisher, line


@check("watch-address", "Watch", "a NOTICE goes only to the address whose token the WATCH showed")
async def tells_only_who_asked(target: Target) -> None:
    """Somebody at another address repeats the WATCH, or shows the token of the first: no NOTICE goes there."""
    async with both(target) as (watcher, publisher, line), target.lines() as victim:
        elsewhere, by = Speaker(target, victim, watcher.key), owner(target)
        place = note(line, by).place
        request = Watch(watcher.rid(), watcher.token, False, place, None, 100)
        answer = await watcher.ask(request, Watched)
        if answer.status in (Refusal.FULL, Refusal.PREFIX_QUOTA):
            raise Unjudged("it has as many subscriptions as it takes")
        elsewhere.throw(elsewhere.seal(request))
        elsewhere.throw(elsewhere.seal(Watch(watcher.rid(), b"", False, place, None, 100)))
        await elsewhere.drain()
        if elsewhere.received > elsewhere.sent:
            raise Failed(f"a WATCH from an unproven address of {elsewhere.sent} bytes brought {elsewhere.received}")
        await stored(publisher, note(line, by).raw)
        told = await noticed(watcher, QUIET)
        if await noticed(elsewhere, 0.3, acknowledge=False):
            raise Failed("a NOTICE went to an address that had shown no token of its own")
        if not told:
            raise Failed("a WATCH from elsewhere took the place of the one that showed its token: no NOTICE came")


@check("watch-behind", "Watch", "who has less than is held is told right after its WATCH, at most every 10 s")
async def tells_who_is_behind(target: Target) -> None:
    """Whoever repeats an old WATCH gets no NOTICE for each."""
    async with both(target) as (watcher, publisher, line):
        held = note(line, owner(target), seq=4)
        await stored(publisher, held.raw)
        await watching(watcher, held.place, seq=4)
        if await noticed(watcher, 0.3):
            raise Failed("it told of a record that the subscriber said it has")
        await watching(watcher, held.place, seq=3)
        told = await noticed(watcher, QUIET)
        if [notice.record for notice in told[:1]] != [held.raw]:
            raise Failed("a WATCH of who has a lower number brought no NOTICE of what is held")
        for _ in range(5):
            await watching(watcher, held.place)
            told += await noticed(watcher, 0.3)
        if len(told) > 2:
            raise Failed(f"six WATCHes in a few seconds brought {len(told)} NOTICEs of one record")


@check("watch-lifetime", "Watch", "a subscription lives as long as was granted, 15 minutes at most")
async def forgets_watches(target: Target) -> None:
    """Asked for days, and for a second."""
    async with both(target) as (watcher, publisher, line):
        by = owner(target)
        place = note(line, by).place
        long = await watching(watcher, place, lifetime=10**6)
        if not 0 < long.lifetime <= LONGEST:
            raise Failed(f"a WATCH for {10**6} s was granted {long.lifetime} s, more than {LONGEST}")
        short = await watching(watcher, place, lifetime=1)
        if not 0 < short.lifetime <= 1:
            raise Failed(f"a WATCH for a second was granted {short.lifetime} s")
        await line.pause(2.0)
        await stored(publisher, note(line, by).raw)
        if await noticed(watcher, QUIET):
            raise Failed("it told of a record two seconds after a subscription for one had been granted")


@check("watch-gap", "Watch", "a subscriber is told at most once a second, and of the newest")
async def tells_the_newest(target: Target) -> None:
    """Ten versions in a row."""
    async with both(target) as (watcher, publisher, line):
        by = owner(target)
        await watching(watcher, note(line, by).place)
        began = line.now()
        newest, told = b"", []
        for seq in range(1, 11):
            newest = note(line, by, seq=seq).raw
            await stored(publisher, newest)
            told += await noticed(watcher, 0.05)
        told += await noticed(watcher, 2.0)
        if not told or told[-1].record != newest:
            raise Failed("ten newer records were stored, and the newest was not told of")
        most = 2 + int(line.now() - began)
        if len(told) > most:
            raise Failed(f"{len(told)} NOTICEs in {line.now() - began:.1f} s went to one subscriber")


@check("watch-topic", "Watch", "nobody is told of a topic's announcements")
async def tells_of_no_topics(target: Target) -> None:
    """Else whoever watches a topic could be sent what strangers announce."""
    async with both(target) as (watcher, publisher, _):
        topic = target.rng.randbytes(20)
        told, record = await announce(publisher, topic)
        if told.status != Refusal.NONE:
            raise Unjudged(f"it takes no announcement of ours now: status {told.status}")
        await watch(watcher, record.place)
        await announce(publisher, topic)
        if await noticed(watcher, QUIET):
            raise Failed("it told a subscriber of an announcement")


@check("watch-bounds", "Watch", "subscriptions of one address are bounded")
async def bounds_watches(target: Target) -> None:
    """Each of another place, until one is refused; all are ended again."""
    async with target.lines() as line:
        watcher = target.speaker(line)
        await watcher.prove()
        places: list[bytes] = []
        refused = None
        while refused is None and len(places) < MANY:
            place = target.rng.randbytes(20)
            status = (await watch(watcher, place)).status
            if status == Refusal.NONE:
                places.append(place)
            else:
                refused = status
        for place in places:
            await watch(watcher, place, lifetime=0)
        if refused is None:
            raise Failed(f"it took {len(places)} subscriptions of one address")
        if refused not in (Refusal.FULL, Refusal.PREFIX_QUOTA):
            raise Failed(f"one subscription too many got status {refused}, not FULL or PREFIX_QUOTA")


@check("watch-silent", "Watch", "who acknowledges no NOTICE is told three times, and then no more", thorough=True)
async def gives_up_on_the_silent(target: Target) -> None:
    """Takes some forty seconds, and bounds what a watch can be turned into against who cannot end it."""
    async with both(target) as (watcher, publisher, line):
        by = owner(target)
        await watching(watcher, note(line, by).place, lifetime=600)
        await stored(publisher, note(line, by, payload=bytes(300)).raw)
        before = watcher.received
        told = await noticed(watcher, GIVEN_UP, acknowledge=False)
        if not told:
            raise Failed("a newer record was stored, and no NOTICE came")
        if len(told) > NOTICES or watcher.received - before > NOTICES * MAX_DATAGRAM:
            raise Failed(
                f"somebody silent was sent {len(told)} NOTICEs of one record, {watcher.received - before} bytes"
            )
        await publisher.prove()
        await stored(publisher, note(line, by, seq=2).raw)
        if await noticed(watcher, QUIET, acknowledge=False):
            raise Failed("it still tells a subscriber that acknowledged none of its NOTICEs")
