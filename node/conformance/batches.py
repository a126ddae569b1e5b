"""Checks of what came for many records at once: PUT_MANY, HAVE, and topics where somebody new has to wait."""

from __future__ import annotations

import msgspec

from dht.constants import MAX_BATCH, MAX_PRINTS, PRINT_BYTES
from dht.contact import PACKED_V4, PACKED_V6
from dht.records import Kind, Refusal, SignedRecord, sign_record
from dht.wire import WANT_V4, WANT_V6, FindNode, Get, Have, Nodes, PutMany, Stored, StoredMany, Value, Want
from node.conformance.answers import PADDING, contacts_of, note, owner, put
from node.conformance.suite import check
from node.conformance.target import Failed, Line, Speaker, Target, Unjudged

MASSES = 400
"""PUT_MANYs sent at once, 16 items each. UNSOURCED: 6,400 requests, far more than a second of anybody's honest work."""

ANNOUNCEMENTS = 160
"""Members announced until somebody has to wait. UNSOURCED: more than what any place of a topic holds here (128)."""

LONGEST_WAIT = 300 + 4
"""Seconds that somebody new may be told to wait: beyond 300 it is refused (docs/protocol.md, A crowded topic); the
token's stamp goes by fours."""


async def put_many(speaker: Speaker, *raws: bytes) -> StoredMany:
    """Store records in one go, with the token at hand."""
    request = PutMany(speaker.rid(), speaker.token, False, [(raw, 600) for raw in raws], False)
    return await speaker.ask(request, StoredMany)


@check("put-many", "Put many", "each record of a PUT_MANY gets its own verdict, in order, as if it had come in a PUT")
async def judges_each(target: Target) -> None:
    """Two that are good among some that are not."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        await speaker.prove()
        first, second = note(line, owner(target), seq=3), note(line, owner(target), seq=9)
        altered = note(line, owner(target)).raw
        altered = altered[:-1] + bytes((altered[-1] ^ 1,))
        sent = (b"", first.raw, altered, b"\2" + first.raw[1:], second.raw)
        answer = await put_many(speaker, *sent)
        got = [tuple(verdict) for verdict in answer.verdicts]
        if any(status in (Refusal.FULL, Refusal.PREFIX_QUOTA) for status, _ in got):
            raise Unjudged("it takes no record of ours now")
        right = [(Refusal.MALFORMED, 0), (Refusal.NONE, 3), (Refusal.BAD_SIGNATURE, 0), (Refusal.UNKNOWN_VERSION, 0)]
        right.append((Refusal.NONE, 9))
        if got != right:
            told = [(int(status), seq) for status, seq in right]
            raise Failed(f"its verdicts on none, good, altered, of another version, good are {got}, not {told}")
        for record in (first, second):
            value = await speaker.ask(Get(speaker.rid(), speaker.token, False, record.place, False), Value)
            if list(value.records) != [record.raw]:
                raise Failed("a record of which it said in a STORED_MANY that it holds it is not given back")
        by = owner(target)
        newer, older = note(line, by, seq=2), note(line, by, seq=1)
        verdicts = [status for status, _ in (await put_many(speaker, newer.raw, older.raw)).verdicts]
        if verdicts != [Refusal.NONE, Refusal.OLDER]:
            raise Failed(f"a record and an older version behind it got {verdicts}, not NONE and OLDER")


@check("put-many-sizes", "Messages", "a PUT_MANY has 1-16 pairs of a record and its lifetime; any other is dropped")
async def drops_other_batches(target: Target) -> None:
    """None, seventeen, halves of pairs; sixteen are taken, but for what they are."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        token = await speaker.prove()
        rid, pair = speaker.rid(), [b"", 60]
        for what, items in {
            "no item": [],
            "17 items": [pair] * (MAX_BATCH + 1),
            "an item without a lifetime": [[b""]],
            "an item of three": [[b"", 60, 60]],
            "a record in place of an item": [b""],
            "a record of 1,001 bytes": [[bytes(1001), 60]],
            "a lifetime of 2^32 seconds": [[b"", 2**32]],
        }.items():
            raw = msgspec.msgpack.encode([23, rid, token, False, items, False])
            await speaker.silent(f"a PUT_MANY of {what}", speaker.seal(raw))
        answer = await put_many(speaker, *[b""] * MAX_BATCH)
        if [status for status, _ in answer.verdicts] != [Refusal.MALFORMED] * MAX_BATCH:
            raise Failed(f"a PUT_MANY of sixteen items that are no records got {len(answer.verdicts)} verdicts")


@check("put-many-rate", "Put many", "each record of a PUT_MANY counts as a request against the rate", thorough=True)
async def counts_each(target: Target) -> None:
    """Sixteen to a datagram, in masses: some verdict must be RATE_LIMITED."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        await speaker.prove()
        items = [(b"", 60)] * MAX_BATCH
        for _ in range(MASSES):
            speaker.say(PutMany(speaker.rid(), speaker.token, False, items, False))
        judged = limited = 0
        while (message := await speaker.hear(0.5)) is not None:
            if isinstance(message, StoredMany):
                refused = sum(status == Refusal.RATE_LIMITED for status, _ in message.verdicts)
                limited += refused
                judged += len(message.verdicts) - refused
        if not judged:
            raise Failed("after PUT_MANYs in masses it answers nothing at all")
        if not limited and judged > MASSES * MAX_BATCH // 2:
            raise Failed(f"{judged} records in {MASSES} PUT_MANYs sent at once were judged, not one RATE_LIMITED")
        if not limited:
            raise Unjudged(f"only {judged} of {MASSES * MAX_BATCH} verdicts came")


@check("compare-sizes", "Messages", "a HAVE names 1-128 records of 8 bytes each; of none or more it is dropped")
async def compares_so_many(target: Target) -> None:
    """And a WANT has a bit for each, also where nothing is held; its spare bits are zero."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        token = await speaker.prove()
        for what, prints in (
            ("no fingerprint", b""),
            ("half a fingerprint", bytes(PRINT_BYTES // 2)),
            ("129 fingerprints", bytes(PRINT_BYTES * (MAX_PRINTS + 1))),
        ):
            raw = msgspec.msgpack.encode([21, speaker.rid(), token, False, prints])
            await speaker.silent(f"a HAVE of {what}", speaker.seal(raw))
        for count, right in ((1, b"\x80"), (9, b"\xff\x80"), (MAX_PRINTS, b"\xff" * 16)):
            prints = target.rng.randbytes(PRINT_BYTES * count)
            want = await speaker.ask(Have(speaker.rid(), speaker.token, False, prints), Want)
            if want.bits != right:
                raise Failed(f"of {count} fingerprints that nobody has it wants the bits {want.bits.hex() or 'none'}")


@check(
    "families-wanted", "Two families", "contacts are named of the family asked over, unless the first byte of the pad"
)
async def names_one_family(target: Target) -> None:
    """Without a wish, with one that means nothing, with one for either and for both."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        pong = await speaker.ping()
        ours, size = (WANT_V4, PACKED_V4) if len(pong.observed) == 6 else (WANT_V6, PACKED_V6)
        for first, meant in ((b"", ours), (b"\0", ours), (b"\x04", ours), (bytes((ours | 8,)), ours), (b"\3", 3)):
            wanted = target.rng.randbytes(20)
            padded = first + bytes(PADDING) if first else b""
            nodes = await speaker.ask(FindNode(speaker.rid(), speaker.token, False, wanted, padded), Nodes)
            contacts_of(nodes, wanted)
            other = nodes.nodes6 if ours == WANT_V4 else nodes.nodes4
            if meant == ours and other:
                raise Failed(f"asked with a pad that begins {first.hex() or 'nowhere'}, it names the other family, too")
            if meant == ours and len(nodes.nodes4 or nodes.nodes6) % size:
                raise Failed("its contacts are not of the family they stand for")


async def announce(speaker: Speaker, topic: bytes) -> tuple[Stored, SignedRecord]:
    """Announce a new member of a topic."""
    by = owner(speaker.target)
    record = sign_record(by, Kind.TOPIC, b"member", seq=1, expires=speaker.line.now() + 600, salt=topic)
    return await put(speaker, record.raw), record


async def crowded(target: Target, line: Line, topic: bytes) -> tuple[list[SignedRecord], Speaker, Stored, SignedRecord]:
    """Announce members, each under a key of its own, until one has to wait. Returns those taken, who has to wait, what
    it was told, and its announcement."""
    taken: list[SignedRecord] = []
    for _ in range(ANNOUNCEMENTS):
        speaker = target.speaker(line)
        await speaker.prove()
        stored, record = await announce(speaker, topic)
        if stored.status == Refusal.WAIT:
            return taken, speaker, stored, record
        if stored.status == Refusal.PREFIX_QUOTA:
            raise Unjudged(f"it takes only {len(taken)} members of one network: try from the node's own machine")
        if stored.status != Refusal.NONE:
            raise Failed(f"after {len(taken)} members of a topic the next one got status {stored.status}, never WAIT")
        taken.append(record)
    raise Failed(f"it took {len(taken)} members of one topic at once and let nobody wait")


@check("wait", "A crowded topic", "at a crowded topic somebody new is told WAIT and for how long, and nothing is kept")
async def lets_wait(target: Target) -> None:
    """Who is there already renews at once; asking again at once does not help."""
    async with target.lines() as line:
        topic = target.rng.randbytes(20)
        taken, speaker, told, record = await crowded(target, line, topic)
        if not 0 < told.seq <= LONGEST_WAIT:
            raise Failed(f"its WAIT says {told.seq} s, not 1 to {LONGEST_WAIT}")
        if len(told.token) != 8:
            raise Failed("its WAIT does not bring a token to come back with")
        value = await speaker.ask(Get(speaker.rid(), speaker.token, False, record.place, False), Value)
        if record.raw in value.records or value.total > len(taken):
            raise Failed("it told somebody to wait and kept the announcement all the same")
        status = (await put(speaker, record.raw)).status
        if status != Refusal.WAIT:
            raise Failed(f"asked again at once, it gave status {status} to who has to wait for {told.seq} s")
        for member in (taken[0], taken[-1]):
            status = (await put(speaker, member.raw)).status
            if status != Refusal.NONE:
                raise Failed(f"who is announced already and renews got status {status}")


@check(
    "wait-token", "A crowded topic", "the token says how long its holder has waited: then it is taken, others are not"
)
async def takes_who_has_waited(target: Target) -> None:
    """Some six seconds."""
    async with target.lines() as line:
        topic = target.rng.randbytes(20)
        _, speaker, told, record = await crowded(target, line, topic)
        if not 0 < told.seq <= 30:
            raise Unjudged(f"it would have us wait for {told.seq} s")
        token = told.token
        await line.pause(told.seq)
        fresh = Speaker(target, line, speaker.key)
        await fresh.prove()
        status = (await put(fresh, record.raw)).status
        if status != Refusal.WAIT:
            raise Failed(f"who shows a new token in place of the one that waited got status {status}, not WAIT")
        speaker.token = token
        stored = await put(speaker, record.raw)
        if stored.status != Refusal.NONE:
            raise Failed(
                f"who waited for the {told.seq} s it was told, and shows its token, got status {stored.status}"
            )
