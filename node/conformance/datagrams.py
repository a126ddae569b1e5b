"""Checks of what surrounds messages: versions, tags, boxes, nonces, sizes; and of messages that are none.

Nearly all of them say that something must bring no answer at all.
"""

from __future__ import annotations

import msgspec
from nacl import bindings

from dht.constants import MAX_DATAGRAM, MAX_MESSAGE, NONCE_BYTES, OVERHEAD_BYTES, PROTOCOL_VERSION
from dht.contact import Contact, pack_address, unpack_address
from dht.errors import DecodeError
from dht.identity import NodeKey
from dht.wire import DownHint, FindNode, Message, Nodes, Ping, Pong, Probe, Value, encode_message
from node.conformance.suite import check
from node.conformance.target import PING_PAD, Failed, Speaker, Target, Unjudged

CLOCK = 2 * 3600
"""Seconds a clock may be off before records look expired (docs/protocol.md, Records)."""

SMALL_ORDER = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
"""A Curve25519 point of order 8 (RFC 7748 security considerations; D. J. Bernstein's list)."""

NO_SECRET = bytes.fromhex("351f86faa3b988468a850122b65b0acece9c4826806aeee63de9c0da2bd7f91e")
"""HSalsa20 of 32 zero bytes: the box key that anybody can compute for a sender's key of small order."""


def ping(speaker: Speaker, pad: int = PING_PAD) -> Ping:
    """A fresh PING."""
    return Ping(speaker.rid(), b"", False, bytes(pad))


@check("ping", "Messages", "a padded PING is answered by a PONG with the asker's endpoint, the time and a token")
async def answers_ping(target: Target) -> None:
    """The one question every node answers, a client too."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        pong = await speaker.ping()
        if len(pong.token) != 8:
            raise Failed(f"the token in its PONG has {len(pong.token)} bytes, not 8")
        try:
            seen = unpack_address(pong.observed)
        except DecodeError as error:
            raise Failed(f"the endpoint in its PONG is none: {error}") from None
        if line.address is not None and pack_address(line.address) != pong.observed:
            raise Failed(f"it saw us at {seen[0]}:{seen[1]}, we are at {line.address[0]}:{line.address[1]}")
        if abs(pong.time - line.now()) > CLOCK:
            raise Failed(f"its clock is {pong.time - line.now():+.0f} s off ours: more than records bear")


@check("unknown-version", "Datagrams", "a datagram of another version is dropped")
async def drops_other_versions(target: Target) -> None:
    """The first byte."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        for version in (0xD0, 0xD2, 0xFF, 0x40, 0x00):
            data = speaker.seal(ping(speaker))
            assert data[0] == PROTOCOL_VERSION
            await speaker.silent(f"a datagram of version {version:#04x}", bytes((version,)) + data[1:])


@check("wrong-tag", "Datagrams", "a datagram of another network is dropped")
async def drops_other_networks(target: Target) -> None:
    """Bytes 1-4."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        data = speaker.seal(ping(speaker))
        for at in range(1, 5):
            other = bytes(byte ^ (index == at) for index, byte in enumerate(data))
            await speaker.silent(f"a network tag that differs in byte {at}", other)


@check("malformed-box", "Datagrams", "a box that does not open is dropped")
async def drops_broken_boxes(target: Target) -> None:
    """Altered, cut short, without anything inside."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        data = speaker.seal(ping(speaker))
        for at in (40, 61, 76, 77, len(data) - 1):
            other = bytearray(data)
            other[at] ^= 1
            await speaker.silent(f"a datagram altered in byte {at}", bytes(other))
        for length in (0, 1, 5, 37, 61, 76, 77, len(data) - 1):
            await speaker.silent(f"a datagram cut to {length} bytes", data[:length])


@check("datagram-size", "Datagrams", "a datagram of more than 1,232 bytes is dropped")
async def drops_what_is_too_long(target: Target) -> None:
    """One byte too many; the largest that is allowed is answered."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        overhead = len(encode_message(ping(speaker, 256))) - 256
        largest = ping(speaker, MAX_MESSAGE - overhead)
        assert len(speaker.seal(largest)) == MAX_DATAGRAM
        await speaker.ask(largest, Pong)
        for more in (1, 100):
            data = speaker.seal(encode_message(ping(speaker, MAX_MESSAGE - overhead)) + bytes(more))
            await speaker.silent(f"a datagram of {len(data)} bytes", data)
            # One that is right but for its length: its padding is longer.
            raw = msgspec.msgpack.encode([1, speaker.rid(), b"", False, bytes(MAX_MESSAGE - overhead + more)])
            await speaker.silent(f"a PING of {len(raw) + OVERHEAD_BYTES} bytes", speaker.seal(raw))


@check("direction", "Datagrams", "a datagram whose nonce has the first bit of the other direction is dropped")
async def drops_the_other_direction(target: Target) -> None:
    """Both directions share a key: without it a node's own words could be sent back to it."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        shared = speaker._sealer.derive(target.key)
        data = speaker.seal(ping(speaker))
        header, nonce = data[:37], bytearray(target.rng.randbytes(NONCE_BYTES))
        nonce[0] = data[37] & 0x80 ^ 0x80 | nonce[0] & 0x7F
        box = bindings.crypto_box_easy_afternm(encode_message(ping(speaker)), bytes(nonce), shared)
        await speaker.silent("a datagram of the other direction", header + bytes(nonce) + box)


@check("sent-back", "Datagrams", "a node's own datagram, sent back to it, is dropped")
async def drops_its_own(target: Target) -> None:
    """With its key in the header, as it came; and with ours put in its place."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        await speaker.drain()
        speaker.say(ping(speaker))
        answer = await line.receive(1.0)
        if answer is None:
            raise Failed("no answer to PING")
        await speaker.silent("its own datagram", answer)
        await speaker.silent("its own datagram under our key", answer[:5] + speaker.key.public + answer[37:])


@check("weak-key", "Datagrams", "a sender's key of small order, or not in its one encoding, is dropped")
async def drops_weak_keys(target: Target) -> None:
    """Under such a key anybody can seal."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        data = speaker.seal(ping(speaker))
        for key in (bytes(32), bytes([1]) + bytes(31), SMALL_ORDER, b"\xff" * 32):
            nonce = bytearray(target.rng.randbytes(NONCE_BYTES))
            nonce[0] = nonce[0] & 0x7F | (0x80 if key > target.key else 0)
            box = bindings.crypto_box_easy_afternm(encode_message(ping(speaker)), bytes(nonce), NO_SECRET)
            await speaker.silent(f"a sender key {key[:2].hex()}…", data[:5] + key + bytes(nonce) + box)


@check("unknown-message", "Messages", "a message of a number that is not defined is dropped")
async def drops_unknown_messages(target: Target) -> None:
    """Numbers of another time."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        for number in (0, 100, 127, 255, 2**32):
            raw = msgspec.msgpack.encode([number, speaker.rid(), b"", False, bytes(20)])
            await speaker.silent(f"message number {number}", speaker.seal(raw))


@check("malformed-message", "Messages", "what is not exactly a message is dropped")
async def drops_malformed_messages(target: Target) -> None:
    """Bytes that are no msgpack, other types, fields too many or too few."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        rid = speaker.rid()
        good = [3, rid, b"", False, bytes(20)]
        for what, raw in {
            "a byte that msgpack never uses": b"\xc1",
            "a number in place of an array": msgspec.msgpack.encode(5),
            "a map": msgspec.msgpack.encode({"a": 1}),
            "an empty array": b"\x90",
            "random bytes": target.rng.randbytes(100),
            "1,000 nested arrays": b"\x91" * 1000,
            "an array that says 2^32-1 fields": bytes.fromhex("ddffffffff0300c400c2"),
            "a byte after the message": msgspec.msgpack.encode(good) + b"\0",
            "a field too many": msgspec.msgpack.encode([*good, b"", 0]),
            "a field missing": msgspec.msgpack.encode(good[:-1]),
            "text for bytes": msgspec.msgpack.encode([*good[:-1], "a" * 20]),
            "a number for a boolean": msgspec.msgpack.encode([3, rid, b"", 1, bytes(20)]),
            "a negative request id": msgspec.msgpack.encode([3, -1, b"", False, bytes(20)]),
            "nil for a request id": msgspec.msgpack.encode([3, None, b"", False, bytes(20)]),
        }.items():
            await speaker.silent(what, speaker.seal(raw))


@check("field-sizes", "Messages", "ids, tokens and places of another length than theirs are dropped")
async def drops_wrong_sizes(target: Target) -> None:
    """Oversized and undersized ids."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        rid, token = speaker.rid(), await speaker.prove()
        for what, fields in {
            "a target of 21 bytes": [3, rid, token, False, bytes(21), bytes(700)],
            "a target of 19 bytes": [3, rid, token, False, bytes(19), bytes(700)],
            "a target of 1,000 bytes": [3, rid, token, False, bytes(1000)],
            "a place of 21 bytes": [5, rid, token, False, bytes(21), True, 0, bytes(700)],
            "a place of no bytes": [5, rid, token, False, b"", True, 0, bytes(700)],
            "a token of 9 bytes": [3, rid, bytes(9), False, bytes(20), bytes(700)],
            "a page of 65,536": [5, rid, token, False, bytes(20), True, 65536, bytes(700)],
            "a record of 1,001 bytes": [7, rid, token, False, bytes(1001), 60, False],
            "a lifetime of 2^32 seconds": [7, rid, token, False, bytes(100), 2**32, False],
            "a recipient of 21 bytes": [9, rid, token, False, bytes(21), b"", b"blob"],
            "a blob of 901 bytes": [9, rid, token, False, bytes(20), b"", bytes(901)],
            "an owner of 33 bytes": [11, rid, token, False, bytes(33), 0, bytes(64)],
            "a nonce of 9 bytes": [13, rid, token, False, bytes(9), bytes(30)],
            "a watched place of 21 bytes": [17, rid, token, False, bytes(21), None, 100],
        }.items():
            await speaker.silent(what, speaker.seal(msgspec.msgpack.encode(fields)))


@check("optional-fields", "Messages", "trailing fields with a default may be left out")
async def takes_short_forms(target: Target) -> None:
    """A PING without padding, from an address whose PONG may be as long: one that is proven."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        token = await speaker.prove()
        request = Ping(speaker.rid(), token, False)
        raw = msgspec.msgpack.encode([1, request.rid, token, False])
        for _ in range(3):
            speaker.throw(speaker.seal(raw))
            message = await speaker.hear()
            if isinstance(message, Pong) and message.rid == request.rid:
                return
        raise Failed("no answer to a PING that leaves out its padding")


@check("unasked", "Messages", "replies to no question, probes and hints bring no answer")
async def ignores_what_it_did_not_ask(target: Target) -> None:
    """Whatever is no request."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        rid = speaker.rid()
        others: list[Message] = [
            Pong(rid, bytes(8), bytes(6), int(line.now())),
            Nodes(rid, bytes(8), b"", b""),
            Value(rid, bytes(8), [], 0, b"", b""),
            Probe(rid, b"", bytes(8)),
            DownHint(rid, b"", bytes(38), b""),
        ]
        for message in others:
            await speaker.silent(f"an unasked {type(message).__name__}", speaker.seal(message))


@check("replay", "Datagrams", "a request sent twice is answered twice the same way, and no more than twice")
async def bears_replays(target: Target) -> None:
    """Boxes are no handshake: a recorded request may come again, from elsewhere too."""
    async with target.lines() as line, target.lines() as elsewhere:
        speaker = target.speaker(line)
        request = ping(speaker)
        data = speaker.seal(request)
        await speaker.ask(request, Pong)
        await speaker.drain()
        for _ in range(5):
            speaker.throw(data)
        answers = 0
        while (message := await speaker.hear(0.3)) is not None:
            answers += message.rid == request.rid
        if answers > 5:
            raise Failed(f"five copies of one request brought {answers} answers")
        other = Speaker(target, elsewhere, speaker.key)
        other.throw(data)
        await other.drain()
        if other.received > other.sent:
            raise Failed(f"a request repeated from elsewhere brought {other.received} bytes for {other.sent}")


@check("wrong-endpoint", "Messages", "a reply counts only from the endpoint asked, under its key, with its request id")
async def takes_replies_only_from_whom_it_asked(target: Target) -> None:
    """It asks back a server that asks it, and puts it into its table when that answers. So it is told of a server whose
    answers come from elsewhere, or under another key or number, and must not name it to others."""
    for what, honest in (
        ("another endpoint", False),
        ("another key", False),
        ("another number", False),
        ("itself", True),
    ):
        async with target.lines() as line, target.lines() as elsewhere:
            server = target.speaker(line)
            question = await _asked_back(server)
            if question is None:
                raise Unjudged("it asked none of our servers back: its table may be full of nearer ones")
            speaker, rid = server, question.rid
            if what == "another endpoint":
                speaker = Speaker(target, elsewhere, server.key)
            elif what == "another key":
                speaker = Speaker(target, line, NodeKey.from_secret(target.rng.randbytes(32)))
            elif what == "another number":
                rid ^= 1
            speaker.say(Nodes(rid, b"", b"", b""))
            await server.drain()
            named = await _names(target, server)
            if named and not honest:
                raise Failed(f"an answer from {what} than it had asked for was believed")
            if honest and not named:
                raise Unjudged("it did not take our server into its table even when that answered rightly")


async def _asked_back(server: Speaker) -> FindNode | None:
    """Ask as a server that is near the target would; its question back."""
    for _ in range(3):
        request = FindNode(server.rid(), b"", True, server.target.rng.randbytes(20), bytes(900))
        server.say(request)
        while (message := await server.hear()) is not None:
            if isinstance(message, FindNode):
                return message
    return None


async def _names(target: Target, server: Speaker) -> bool:
    """Whether the node names our server to somebody who asks for its place."""
    async with target.lines() as line:
        asker = target.speaker(line)
        pong = await server.ping()
        contact = Contact(server.key.public, unpack_address(pong.observed))
        token = await asker.prove()
        nodes = await asker.ask(FindNode(asker.rid(), token, False, contact.id), Nodes)
        return contact.packed in nodes.nodes4 or contact.packed in nodes.nodes6
