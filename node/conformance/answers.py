"""Checks of what is answered: look-ups, records, refusals, STUN; and that nobody unproven gets more than he sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from dht.constants import MAX_CONTACTS
from dht.contact import PACKED_V4, PACKED_V6, Contact, unpack_contact, unpack_contacts
from dht.errors import DecodeError
from dht.identity import IdentityKey
from dht.records import (
    CLOCK_TOLERANCE,
    MAX_LIFETIME,
    Kind,
    Refusal,
    SignedRecord,
    fingerprint,
    immutable_record,
    sign_record,
)
from dht.stun import BINDING_SUCCESS, HEADER, binding_request, binding_response, is_stun
from dht.wire import FindNode, Get, Have, Nodes, Ping, Pong, Put, Request, Stored, Value, Want, Watch
from node.conformance.suite import check
from node.conformance.target import Failed, Line, Speaker, Target, Unjudged

PADDING = 900
"""Bytes of padding with which a FIND_NODE makes room for 20 IPv4 contacts."""


def owner(target: Target) -> IdentityKey:
    """A fresh identity."""
    return IdentityKey.from_seed(target.rng.randbytes(32))


def note(
    line: Line, by: IdentityKey, *, seq: int = 1, payload: bytes = b"conformance", lives: float = 600.0
) -> SignedRecord:
    """A record of ours that nobody misses ten minutes later."""
    return sign_record(by, Kind.MUTABLE, payload, seq=seq, expires=line.now() + lives, salt=b"conformance")


async def put(speaker: Speaker, raw: bytes, *, expected: int | None = None, lifetime: int = 600) -> Stored:
    """Store bytes, with the token at hand."""
    request = Put(speaker.rid(), speaker.token, False, raw, lifetime, False, expected)
    return await speaker.ask(request, Stored)


def contacts_of(message: Nodes | Value | Stored, asked: bytes) -> list[Contact]:
    """The contacts of a reply. Raises `Failed` where they are malformed or out of order."""
    try:
        found = unpack_contacts(message.nodes4, message.nodes6)
    except DecodeError as error:
        raise Failed(f"the contacts in its {type(message).__name__} are malformed: {error}") from None
    for packed, size in ((message.nodes4, PACKED_V4), (message.nodes6, PACKED_V6)):
        family = [unpack_contact(packed[at : at + size]) for at in range(0, len(packed), size)]
        if len(family) > MAX_CONTACTS:
            raise Failed(f"{len(family)} contacts of one family, at most {MAX_CONTACTS} are allowed")
        if None in family:
            raise Failed("it names a contact that nobody can reach: port 0, or an address of no single host")
        distances = [each.long_id ^ int.from_bytes(asked, "big") for each in family if each is not None]
        if distances != sorted(distances):
            raise Failed("its contacts are not in the order of their distance, nearest first")
        if len(set(distances)) != len(distances):
            raise Failed("it names one contact twice")
    return found


@check(
    "find-node", "Messages", "FIND_NODE is answered with well-formed contacts, nearest first, the asker not among them"
)
async def finds_nodes(target: Target) -> None:
    """With a token, and padded without one."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        wanted = target.rng.randbytes(20)
        padded = FindNode(speaker.rid(), b"", False, wanted, bytes(PADDING))
        found = contacts_of(await speaker.ask(padded, Nodes), wanted)
        proven = FindNode(speaker.rid(), speaker.token, False, wanted)
        again = contacts_of(await speaker.ask(proven, Nodes), wanted)
        if any(each.key == speaker.key.public for each in found + again):
            raise Failed("it names us to ourselves")
        if any(each.key == target.key for each in found + again):
            raise Failed("it names itself")
        if len(again) < len(found):
            raise Failed(f"a proven asker got {len(again)} contacts, an unproven one {len(found)}")


@check("get-nothing", "Messages", "GET of a place that holds nothing is answered without a record, with contacts")
async def reads_nothing(target: Target) -> None:
    """A place nobody stored at."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        await speaker.prove()
        place = target.rng.randbytes(20)
        value = await speaker.ask(Get(speaker.rid(), speaker.token, False, place, True), Value)
        if value.records or value.total:
            raise Failed(f"a random place holds {value.total} records and {len(value.records)} came")
        contacts_of(value, place)


@check("put-get", "Records", "a record that is stored is given back byte for byte; a newer one takes its place")
async def keeps_records(target: Target) -> None:
    """A mutable record in two versions, and an immutable one."""
    async with target.lines() as line:
        speaker, by = target.speaker(line), owner(target)
        await speaker.prove()
        first, second = note(line, by), note(line, by, seq=2, payload=b"newer")
        for record in (first, second, immutable_record(target.rng.randbytes(40), expires=line.now() + 600)):
            stored = await put(speaker, record.raw)
            if stored.status in (Refusal.FULL, Refusal.PREFIX_QUOTA):
                raise Unjudged(f"it takes no record of ours now: {Refusal(stored.status).name}")
            if stored.status != Refusal.NONE:
                raise Failed(f"it refused a good record of kind {record.kind.name} with status {stored.status}")
            if stored.seq != record.seq:
                raise Failed(f"it says that it holds number {stored.seq} after storing number {record.seq}")
            value = await speaker.ask(Get(speaker.rid(), speaker.token, False, record.place, True), Value)
            if list(value.records) != [record.raw] or value.total != 1:
                raise Failed(f"it gave {len(value.records)} records of {value.total} back, and not the one it stored")


@check("compare", "Keeping copies", "HAVE is answered with a bit for each fingerprint, set where the record is lacked")
async def compares(target: Target) -> None:
    """A record it was given just now among ten that nobody has."""
    async with target.lines() as line:
        speaker, record = target.speaker(line), note(line, owner(target))
        await speaker.prove()
        if (await put(speaker, record.raw)).status != Refusal.NONE:
            raise Unjudged("it takes no record of ours now: see the check `put-get`")
        prints = [fingerprint(target.rng.randbytes(100)) for _ in range(10)]
        prints.insert(3, fingerprint(record.raw))
        want = await speaker.ask(Have(speaker.rid(), speaker.token, False, b"".join(prints)), Want)
        bits = "".join(f"{byte:08b}" for byte in want.bits)
        if bits != "11101111" + "11100000":
            raise Failed(f"of eleven fingerprints, of which it holds the fourth alone, it wants {bits or 'no bits'}")


@check("refusals", "Refusal codes", "a record that does not hold is refused with the code that says why")
async def refuses(target: Target) -> None:
    """One record for each code that a single node can be brought to."""
    async with target.lines() as line:
        speaker, by = target.speaker(line), owner(target)
        await speaker.prove()
        good = note(line, by, seq=5)
        if (await put(speaker, good.raw)).status in (Refusal.FULL, Refusal.PREFIX_QUOTA):
            raise Unjudged("it takes no record of ours now")
        raw, at = good.raw, len(good.raw) - 64
        cases: list[tuple[str, Refusal, bytes, int | None]] = [
            ("no record at all", Refusal.MALFORMED, b"", None),
            ("a record cut short", Refusal.MALFORMED, raw[:-1], None),
            ("a record with a byte more", Refusal.MALFORMED, raw + b"\0", None),
            ("a record of version 2", Refusal.UNKNOWN_VERSION, b"\2" + raw[1:], None),
            ("a record of kind 200", Refusal.UNKNOWN_VERSION, raw[:1] + b"\xc8" + raw[2:], None),
            ("a signature altered", Refusal.BAD_SIGNATURE, raw[:-1] + bytes((raw[-1] ^ 1,)), None),
            ("a payload altered", Refusal.BAD_SIGNATURE, raw[: at - 1] + bytes((raw[at - 1] ^ 1,)) + raw[at:], None),
            ("an owner of small order", Refusal.WEAK_KEY, raw[:2] + b"\1" + bytes(31) + raw[34:], None),
            ("a record that has expired", Refusal.EXPIRED, note(line, by, seq=6, lives=-CLOCK_TOLERANCE - 9).raw, None),
            ("too long a life", Refusal.TOO_LONG, note(line, by, seq=6, lives=MAX_LIFETIME + 9e3).raw, None),
            ("a lower number", Refusal.OLDER, note(line, by, seq=4).raw, None),
            ("other bytes of one number", Refusal.CONFLICT, note(line, by, seq=5, payload=b"other").raw, None),
            ("another number expected", Refusal.CAS_MISMATCH, note(line, by, seq=6).raw, 4),
            ("the same record again", Refusal.NONE, raw, None),
            ("the number expected", Refusal.NONE, note(line, by, seq=6).raw, 5),
        ]
        for what, expected, sent, current in cases:
            status = (await put(speaker, sent, expected=current)).status
            if status != expected:
                raise Failed(f"{what}: status {status}, expected {expected.value} ({expected.name})")


@check("amplification", "Tokens", "an address that has shown no token never gets more bytes than it sent")
async def never_sends_more(target: Target) -> None:
    """Every question, short and padded, with and without the claim to be a server; and a place that holds a record."""
    async with target.lines() as line:
        speaker, by = target.speaker(line), owner(target)
        await speaker.prove()
        held = note(line, by, payload=bytes(700))
        await put(speaker, held.raw)
        for pad in (0, 10, 48, 100, 400, 900):
            for server in (False, True):
                await _spent_no_more(target, partial(_ping, server, pad))
                await _spent_no_more(target, partial(_find, server, pad))
                await _spent_no_more(target, partial(_get, server, pad, held.place))
        await _spent_no_more(target, lambda s: Put(s.rid(), b"", True, held.raw, 60, True))
        await _spent_no_more(target, lambda s: Put(s.rid(), b"", True, b"", 60, True))
        await _spent_no_more(target, lambda s: Watch(s.rid(), b"", True, held.place, None, 100))


def _ping(server: bool, pad: int, speaker: Speaker) -> Request:
    return Ping(speaker.rid(), b"", server, bytes(pad))


def _find(server: bool, pad: int, speaker: Speaker) -> Request:
    return FindNode(speaker.rid(), b"", server, bytes(20), bytes(pad))


def _get(server: bool, pad: int, place: bytes, speaker: Speaker) -> Request:
    return Get(speaker.rid(), b"", server, place, True, 0, bytes(pad))


async def _spent_no_more(target: Target, made: Callable[[Speaker], Request]) -> None:
    async with target.lines() as line:
        speaker = target.speaker(line)
        request = made(speaker)
        speaker.say(request)
        await speaker.drain()
        if speaker.received > speaker.sent:
            name = type(request).__name__
            raise Failed(f"{speaker.received} bytes came for a {name} of {speaker.sent} from an unproven address")


@check("padded-first", "Tokens", "a first question that is padded enough is answered, and brings a token")
async def answers_padded_questions(target: Target) -> None:
    """Padding buys an answer; it does not have to be a token that does."""
    async with target.lines() as line:
        for number in range(3):
            speaker = target.speaker(line)
            request: Request = (
                Ping(speaker.rid(), b"", False, bytes(48)),
                FindNode(speaker.rid(), b"", False, bytes(20), bytes(PADDING)),
                Get(speaker.rid(), b"", False, bytes(20), True, 0, bytes(1000)),
            )[number]
            await speaker.ask(request, (Pong, Nodes, Value)[number])
            if len(speaker.token) != 8:
                raise Failed(f"its answer to a padded {type(request).__name__} brings no token of 8 bytes")


@check("stun", "STUN on the same port", "a Binding request is answered with XOR-MAPPED-ADDRESS")
async def answers_stun(target: Target) -> None:
    """RFC 8489, on the port of the DHT."""
    async with target.lines() as line:
        transaction = hashlib.blake2b(target.rng.randbytes(16), digest_size=12).digest()
        for _ in range(3):
            line.send(binding_request(transaction))
            answer = await line.receive(1.0)
            if answer is not None:
                break
        else:
            raise Failed("no answer to a STUN Binding request")
        if not is_stun(answer) or HEADER.unpack_from(answer)[0] != BINDING_SUCCESS or answer[8:20] != transaction:
            raise Failed("its answer is no Binding success response with our transaction id")
        if line.address is not None and answer != binding_response(binding_request(transaction), line.address):
            raise Failed("its XOR-MAPPED-ADDRESS is not where we are, or it says more than that")
        if len(answer) not in (32, 44):
            raise Failed(f"its answer has {len(answer)} bytes, not 32 or 44")


@check("stun-strict", "STUN on the same port", "STUN that is no plain Binding request brings no answer")
async def ignores_other_stun(target: Target) -> None:
    """Attributes that have to be understood, other methods, wrong lengths."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        plain = binding_request(bytes(12))
        for what, data in {
            "a STUN request with an attribute to be understood": b"\0\1\0\4" + plain[4:] + b"\0\6\0\0",
            "a STUN response": b"\1\1" + plain[2:],
            "a STUN indication": b"\0\x11" + plain[2:],
            "a STUN request that says more than it has": b"\0\1\0\x08" + plain[4:],
            "a STUN request with a byte more": plain + b"\0",
        }.items():
            line.send(data)
            answer = await line.receive(0.1)
            if answer is not None and is_stun(answer):
                raise Failed(f"it answered {what}")
        await speaker.ping()
