"""Writes the frozen vectors of the DHT anew: `python tests/vectors/make_vectors.py`.

Decides which records, messages and contacts are frozen. Everything in it is fixed, so the same code gives the same
bytes; `test_frozen.py` fails where the files differ. A difference means that nodes of two releases no longer
understand each other: change a vector only together with a version number.
"""

import json
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from dht import wire  # noqa: E402
from dht.contact import Contact  # noqa: E402
from dht.identity import IdentityKey, NodeKey  # noqa: E402
from dht.limits import waiting_time  # noqa: E402
from dht.records import (  # noqa: E402
    CLOCK_TOLERANCE,
    MAX_LIFETIME,
    Kind,
    Refusal,
    SignedRecord,
    fingerprint,
    immutable_record,
    peer_place,
    sign_record,
    topic_salt,
)
from dht.sealing import PUBLIC_NETWORK, Sealer, network_tag  # noqa: E402

NOW = 1_800_000_000
OWNER = IdentityKey.from_seed(bytes(range(32)))
OTHER = IdentityKey.from_seed(bytes(range(32, 64)))
NODE = NodeKey.from_secret(bytes(range(64, 96)))

SIGNATURE = 64
OWNER_AT = 2
SMALL_ORDER = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
"""A point of order 8 (Chalkias et al. 2020, table 1)."""


def signed(
    payload: bytes = b"hello",
    *,
    kind: Kind = Kind.MUTABLE,
    seq: int = 7,
    salt: bytes = b"note",
    expires: float = NOW + 60,
) -> SignedRecord:
    """A record of the owner's, with what a test wants different."""
    return sign_record(OWNER, kind, payload, seq=seq, expires=expires, salt=salt)


def replaced(raw: bytes, at: int, new: bytes) -> bytes:
    """`raw` with the bytes at `at` overwritten."""
    return raw[:at] + new + raw[at + len(new) :]


def valid_records() -> dict[str, SignedRecord]:
    """One record of each kind, and the largest."""
    return {
        "peer": signed(b"addresses", kind=Kind.PEER, salt=b""),
        "mutable": signed(),
        "mutable, longest salt, highest sequence number": signed(seq=2**63 - 1, salt=bytes(64)),
        "mutable, empty payload": signed(b""),
        "mutable, 1000 bytes": signed(bytes(1000 - 53 - 4 - SIGNATURE)),
        "immutable": immutable_record(b"hello", expires=NOW),
        "immutable, 1000 bytes": immutable_record(bytes(990), expires=NOW),
        "topic": signed(kind=Kind.TOPIC, salt=topic_salt("chess")),
        "list": signed(kind=Kind.LIST, salt=b"main"),
    }


def refused_records() -> list[tuple[Refusal, str, bytes, dict[str, Any]]]:
    """Refusal, what is wrong, bytes, and what else the check is given: one or more for each way to be refused."""
    good = signed().raw
    signature_at = len(good) - SIGNATURE
    immutable = immutable_record(b"hello", expires=NOW).raw
    long_salt = good[:50] + b"\x41" + bytes(65) + good[-SIGNATURE - 7 :]
    return [
        (Refusal.MALFORMED, "no bytes", b"", {}),
        (Refusal.MALFORMED, "last byte missing", good[:-1], {}),
        (Refusal.MALFORMED, "a byte too many", good + b"\0", {}),
        (Refusal.MALFORMED, "an immutable record that says more than it has", immutable[:-1], {}),
        (Refusal.MALFORMED, "an immutable record of 2^64-1 bytes", replaced(immutable, 2, b"\xff" * 8), {}),
        (Refusal.MALFORMED, "only a signed record's head", good[:51], {}),
        (Refusal.MALFORMED, "a sequence number of 2^63", replaced(good, 34, struct.pack(">Q", 2**63)), {}),
        (Refusal.MALFORMED, "a payload length beyond the end", replaced(good, 55, b"\xff\xff"), {}),
        (
            Refusal.MALFORMED,
            "a mutable record without a salt",
            replaced(signed(kind=Kind.PEER, salt=b"").raw, 1, b"\2"),
            {},
        ),
        (Refusal.MALFORMED, "a peer record with a salt", replaced(good, 1, b"\1"), {}),
        (Refusal.MALFORMED, "a topic whose salt has 4 bytes", replaced(good, 1, b"\4"), {}),
        (Refusal.UNKNOWN_VERSION, "version 2", replaced(good, 0, b"\2"), {}),
        (Refusal.UNKNOWN_VERSION, "kind 0", replaced(good, 1, b"\0"), {}),
        (Refusal.UNKNOWN_VERSION, "kind 6", replaced(good, 1, b"\6"), {}),
        (Refusal.OVERSIZED, "1001 bytes", good + bytes(1001 - len(good)), {}),
        (Refusal.OVERSIZED, "a salt of 65 bytes", long_salt, {}),
        (Refusal.BAD_SIGNATURE, "payload altered", replaced(good, signature_at - 1, b"!"), {}),
        (Refusal.BAD_SIGNATURE, "sequence number raised", replaced(good, 41, b"\x09"), {}),
        (Refusal.BAD_SIGNATURE, "expiry moved", replaced(good, 49, bytes((good[49] + 1,))), {}),
        (Refusal.BAD_SIGNATURE, "another owner's name on it", replaced(good, OWNER_AT, OTHER.public.raw), {}),
        (Refusal.BAD_SIGNATURE, "S raised by one", replaced(good, len(good) - 32, bytes((good[-32] ^ 1,))), {}),
        (Refusal.WEAK_KEY, "an owner of order 8", replaced(good, OWNER_AT, SMALL_ORDER), {}),
        (Refusal.WEAK_KEY, "an owner not canonically encoded", replaced(good, OWNER_AT, b"\xff" * 32), {}),
        (Refusal.WEAK_KEY, "R of order 8", replaced(good, signature_at, SMALL_ORDER), {}),
        (
            Refusal.WEAK_KEY,
            "R not canonically encoded",
            replaced(good, signature_at, b"\xed" + b"\xff" * 30 + b"\x7f"),
            {},
        ),
        (Refusal.EXPIRED, "expires now", signed(expires=NOW).raw, {}),
        (Refusal.EXPIRED, "expired at the epoch", signed(expires=0).raw, {}),
        (Refusal.TOO_LONG, "a second too long", signed(expires=NOW + MAX_LIFETIME + CLOCK_TOLERANCE + 1).raw, {}),
        (Refusal.TOO_LONG, "expires in 2^64-1", replaced(good, 42, b"\xff" * 8), {}),
        (Refusal.WRONG_PLACE, "a note at the place of a peer record", good, {"place": peer_place(OWNER.public).hex()}),
        (Refusal.WRONG_PLACE, "an immutable value elsewhere", immutable, {"place": bytes(20).hex()}),
        (Refusal.OLDER, "one sequence number lower", good, {"held": signed(seq=8).raw.hex()}),
        (Refusal.CONFLICT, "same number, other payload", good, {"held": signed(b"other").raw.hex()}),
        (Refusal.CONFLICT, "same number, other expiry", good, {"held": signed(expires=NOW + 90).raw.hex()}),
        (Refusal.CAS_MISMATCH, "6 is held, 5 expected", good, {"held": signed(seq=6).raw.hex(), "expected_seq": 5}),
    ]


ON_RECORDS: Final = tuple(Refusal)[: Refusal.WRONG_PLACE + 1]
"""What can be wrong with a record itself."""

SAID_IN: Final[dict[str, tuple[Refusal, ...]]] = {
    "STORED": (
        *ON_RECORDS,
        *(Refusal.OLDER, Refusal.CONFLICT, Refusal.CAS_MISMATCH, Refusal.BAD_TOKEN, Refusal.OWNER_QUOTA),
        *(Refusal.PREFIX_QUOTA, Refusal.FULL, Refusal.WAIT),
    ),
    "SIGNALED": (
        *(Refusal.NONE, Refusal.CONFLICT, Refusal.BAD_TOKEN, Refusal.RATE_LIMITED, Refusal.NOT_REGISTERED),
        *(Refusal.UNREACHED, Refusal.NOT_SERVER),
    ),
    "REGISTERED": (Refusal.NONE, Refusal.BAD_SIGNATURE, Refusal.EXPIRED, Refusal.BAD_TOKEN, Refusal.FULL),
    "DIALED": (Refusal.NONE, Refusal.BAD_TOKEN, Refusal.RATE_LIMITED),
    "WATCHED": (Refusal.NONE, Refusal.BAD_TOKEN, Refusal.PREFIX_QUOTA, Refusal.FULL),
    "NOTICED": (*ON_RECORDS, Refusal.OLDER, Refusal.CONFLICT, Refusal.RATE_LIMITED, Refusal.NOT_REGISTERED),
}
"""Which refusals each answer may bear."""


def refusals() -> dict[str, dict[str, wire.Message]]:
    """Each answer with each refusal it may bear. The fields beside it are those that go with one."""
    rid, token, near = 0x0123456789ABCDEF, b"token+8!", Contact(NODE.public, ("203.0.113.9", 4701)).packed
    make: dict[str, Callable[[Refusal], wire.Message]] = {
        "STORED": lambda said: wire.Stored(rid, token, said, 23 if said is Refusal.WAIT else 7, near, b""),
        "SIGNALED": lambda said: wire.Signaled(rid, token, said),
        "REGISTERED": lambda said: wire.Registered(rid, token, said, 0 if said else 90),
        "DIALED": lambda said: wire.Dialed(rid, token, said),
        "WATCHED": lambda said: wire.Watched(rid, token, said, 0 if said else 720),
        "NOTICED": lambda said: wire.Noticed(rid, token, said),
    }
    return {name: {said.name: make[name](said) for said in SAID_IN[name]} for name in SAID_IN}


def waiting() -> list[dict[str, float]]:
    """How long somebody new waits at a crowded topic."""
    cases = [
        (t, s, n, near) for t in (0, 64, 65, 96, 128) for s in (0.0, 0.75) for n in (0.0, 1.0) for near in (0, 1, 4)
    ]
    return [
        {"announced": t, "store": s, "network": n, "near": near}
        | {"wait": waiting_time(base=15.0, topic=t / 128, store=s, network=n, near=near)}
        for t, s, n, near in cases
    ]


def messages() -> dict[str, wire.Message]:
    """One of each message, every field with a value of its own."""
    rid, token = 0x0123456789ABCDEF, b"tokentok"
    near = Contact(NODE.public, ("124.31.75.21", 4701)).packed
    near6 = Contact(NODE.public, ("2001:b829:2123:be84:e16c:d6ae:5290:49f1", 4701)).packed
    place, record = bytes(range(20)), signed().raw
    return {
        "PING": wire.Ping(rid, token, True, b"\0\0"),
        "PONG": wire.Pong(rid, token, near[32:], NOW),
        "FIND_NODE": wire.FindNode(rid, token, False, place),
        "NODES": wire.Nodes(rid, token, near, near6),
        "GET": wire.Get(rid, token, True, place, True, 16, b"\0"),
        "VALUE": wire.Value(rid, token, [record], 1, near, b""),
        "PUT": wire.Put(rid, token, True, record, 3600, False, 6),
        "STORED": wire.Stored(rid, token, Refusal.CONFLICT, 7, near, b""),
        "SIGNAL": wire.Signal(rid, token, False, place, place[::-1], b"sealed"),
        "SIGNALED": wire.Signaled(rid, token, Refusal.UNREACHED),
        "REGISTER": wire.Register(rid, token, False, OWNER.public.raw, NOW, OWNER.sign(b"register")),
        "REGISTERED": wire.Registered(rid, token, Refusal.NONE, 90, near6[32:]),
        "DIAL_BACK": wire.DialBack(rid, token, True, b"nonce123"),
        "DIALED": wire.Dialed(rid, token, Refusal.RATE_LIMITED),
        "PROBE": wire.Probe(rid, b"", b"nonce123"),
        "DOWN_HINT": wire.DownHint(rid, token, near, near6),
        "WATCH": wire.Watch(rid, token, True, place, 7, 720),
        "WATCHED": wire.Watched(rid, token, Refusal.NONE, 720),
        "NOTICE": wire.Notice(rid, token, True, record),
        "NOTICED": wire.Noticed(rid, token, Refusal.NOT_REGISTERED),
        "HAVE": wire.Have(rid, token, True, fingerprint(record) + b"printed!"),
        "WANT": wire.Want(rid, token, b"\x40"),
        "PUT_MANY": wire.PutMany(rid, token, True, [(record, 3600), (b"short", 0)], True),
        "STORED_MANY": wire.StoredMany(rid, token, [(Refusal.NONE, 7), (Refusal.MALFORMED, 0)], near, near6),
        "REGISTER_FOR": wire.RegisterFor(rid, token, False, OWNER.public.raw, NOW, OWNER.sign(b"register"), 355, 290),
        "AGAIN": wire.Again(rid, b""),
    }


def wanted() -> list[dict[str, object]]:
    """Requests, the family they came over, and the families of which contacts are wanted."""
    rid, token, place = 0x0123456789ABCDEF, b"tokentok", bytes(range(20))
    pads = (b"", b"\0", b"\x01", b"\x02", b"\x03", b"\xf8", b"\x02\0\0", b"\0\x03")
    both = [wire.FindNode(rid, token, False, place, pad) for pad in pads]
    requests = [*both, wire.Get(rid, token, False, place, True, 0, b"\x03"), wire.FindNode(rid, b"", True, place)]
    return [
        {
            "message": wire.encode_message(request).hex(),
            "over": 6 if ipv6 else 4,
            "wanted": [family for family, bit in ((4, 1), (6, 2)) if wire.wanted_families(request, ipv6) & bit],
        }
        for request in requests
        for ipv6 in (False, True)
    ]


BROKEN_MESSAGES = {
    "no bytes": "",
    "a byte that msgpack never uses": "c1",
    "a number, not an array": "05",
    "a map, not an array": "8101c400",
    "an empty array": "90",
    "number 0": "9400 00 c400 c3",
    "number 21": "9415 00 c400 c3",
    "number -1": "94ff 00 c400 c3",
    "number 2^64-1": "94cfffffffffffffffff 00 c400 c3",
    "number 1.0": "94cb3ff0000000000000 00 c400 c3",
    "number '1'": "94a131 00 c400 c3",
    "a field missing": "9301 00 c400",
    "a field too many": "9601 00 c400 c3 c400 00",
    "a trailing byte": "9401 00 c400 c3 00",
    "a float for the request id": "9401 cb3ff0000000000000 c400 c3",
    "a negative request id": "9401 ff c400 c3",
    "nil for the request id": "9401 c0 c400 c3",
    "text for the token": "9401 00 a0 c3",
    "an extension for the token": "9401 00 d40500 c3",
    "a token of 9 bytes": "9401 00 c409000000000000000000 c3",
    "a token that says 2^32-1 bytes": "9401 00 c6ffffffff c3",
    "an array that says 2^32-1 fields": "ddffffffff 01 00 c400 c3",
    "1 for true": "9401 00 c400 01",
    "a target of 19 bytes": "9503 00 c400 c3 c413" + "00" * 19,
    "a target of 21 bytes": "9503 00 c400 c3 c415" + "00" * 21,
    "21 IPv4 contacts": "9504 00 c400 c5031e" + "00" * 798 + "c400",
    "17 records": "9706 00 c400 dc0011" + "c400" * 17 + "00 c400 c400",
    "a record of 1001 bytes": "9607 00 c400 c3 c503e9" + "00" * 1001 + "00",
    "a sequence number of 2^63": "9608 00 c400 00 cf8000000000000000 c400 c400",
    "a status of 256": "940a 00 c400 cd0100",
    "a signal of 901 bytes": "9709 00 c400 c3 c414" + "00" * 20 + "c400 c50385" + "00" * 901,
    "a signature of 63 bytes": "970b 00 c400 c3 c420" + "00" * 32 + "00 c43f" + "00" * 63,
    "a registration with a reminder after 301 s": "9919 00 c400 c3 c420"
    + "00" * 32
    + "00 c440"
    + "00" * 64
    + "cd0172 cd012d",
    "a registration with a reminder and no lifetime": "9719 00 c400 c3 c420" + "00" * 32 + "00 c440" + "00" * 64,
    "an ordinary registration with a lifetime": "980b 00 c400 c3 c420" + "00" * 32 + "00 c440" + "00" * 64 + "cd0172",
    "an unasked word with a field too many": "941a 00 c400 00",
    "a watched place of 19 bytes": "9711 00 c400 c3 c413" + "00" * 19 + "c0 00",
    "a watched sequence number of 2^63": "9711 00 c400 c3 c414" + "00" * 20 + "cf8000000000000000 00",
    "a watch for -1 seconds": "9711 00 c400 c3 c414" + "00" * 20 + "c0 ff",
    "a watch for 2^32 seconds": "9711 00 c400 c3 c414" + "00" * 20 + "c0 cf0000000100000000",
    "a watch without a lifetime": "9611 00 c400 c3 c414" + "00" * 20 + "c0",
    "a subscription with text for its status": "9512 00 c400 a0 00",
    "a notice of 1001 bytes": "9513 00 c400 c3 c503e9" + "00" * 1001,
    "a notice without a record": "9413 00 c400 c3",
    "an acknowledged notice without a status": "9314 00 c400",
    "nested 1,000 deep": "91" * 1000 + "01",
    "nested 1,000 deep inside a message": "9401" + "91" * 1000 + "01",
}
"""Hex (spaces between fields) of bytes that are no message, by what is wrong with them."""

CONTACT_ADDRESSES = [
    ("124.31.75.21", 4701),
    ("127.0.0.1", 1),
    ("10.0.0.1", 65535),
    ("2001:b829:2123:be84:e16c:d6ae:5290:49f1", 4701),
    ("::1", 80),
]


SEALING_SEED = 1
ONE_SECRET = bytes(range(64, 96))
OTHER_SECRET = bytes(range(96, 128))


def sealed() -> list[dict[str, str]]:
    """Datagrams between two nodes, both ways, in the public network and in a private one."""
    found: list[dict[str, str]] = []
    for what, sender, receiver, network_key, message in (
        ("there", ONE_SECRET, OTHER_SECRET, b"", b"hello"),
        ("and back", OTHER_SECRET, ONE_SECRET, b"", b"hello"),
        ("in a private network", ONE_SECRET, OTHER_SECRET, b"secret", b"hello"),
        ("the shortest", ONE_SECRET, OTHER_SECRET, b"", b"\x00"),
    ):
        sealer = Sealer(NodeKey.from_secret(sender), random.Random(SEALING_SEED), network_key=network_key)
        datagram = sealer.seal(NodeKey.from_secret(receiver).public, message)
        found.append(
            {"what": what, "sender_secret": sender.hex(), "receiver_secret": receiver.hex()}
            | {"network_key": network_key.hex(), "message": message.hex(), "datagram": datagram.hex()}
        )
    return found


def tags() -> list[dict[str, str]]:
    """Network tags by name and key."""
    return [
        {"what": what, "name": name.decode(), "network_key": key.hex(), "tag": network_tag(key, name).hex()}
        for what, name, key in (
            ("public", PUBLIC_NETWORK, b""),
            ("another name", b"rookery/test", b""),
            ("private", PUBLIC_NETWORK, b"secret"),
        )
    ]


def build() -> dict[str, Any]:
    """Every generated file's content by name."""
    contacts = [Contact(NODE.public, address) for address in CONTACT_ADDRESSES]
    return {
        "records.json": {
            "source": "make_vectors.py; the layout is in docs/protocol.md",
            "now": NOW,
            "seed": OWNER.seed.hex(),
            "owner": OWNER.public.raw.hex(),
            "valid": [
                {"what": what, "raw": record.raw.hex(), "kind": record.kind.name, "place": record.place.hex()}
                | {"seq": record.seq, "salt": record.salt.hex(), "payload": record.payload.hex()}
                for what, record in valid_records().items()
            ],
            "refused": [
                {"refusal": refusal.name, "what": what, "raw": raw.hex(), **more}
                for refusal, what, raw, more in refused_records()
            ],
        },
        "wire.json": {
            "source": "make_vectors.py; the messages are in docs/protocol.md",
            "messages": {name: wire.encode_message(message).hex() for name, message in messages().items()},
            "refusals": {
                name: {said: wire.encode_message(message).hex() for said, message in each.items()}
                for name, each in refusals().items()
            },
            "wanted": wanted(),
            "broken": {what: text.replace(" ", "") for what, text in BROKEN_MESSAGES.items()},
        },
        "waiting.json": {
            "source": "make_vectors.py; the formula is in docs/protocol.md. `announced` of 128; `store` and `network` "
            "say how full the store, and the network's share of it, are; `near`: of the same network; `wait`: seconds",
            "cases": waiting(),
        },
        "sealing.json": {
            "source": "make_vectors.py; the layout is in docs/protocol.md. The first 16 bytes of a nonce are drawn "
            "from Python's random.Random(seed), the rest is a counter",
            "seed": SEALING_SEED,
            "datagrams": sealed(),
            "tags": tags(),
        },
        "contacts.json": {
            "source": "make_vectors.py; the packing is in docs/protocol.md",
            "key": NODE.public.hex(),
            "secret": NODE.secret.hex(),
            "contacts": [
                {"ip": contact.ip, "port": contact.port, "packed": contact.packed.hex()}
                | {"id": contact.id.hex(), "text": contact.text}
                for contact in contacts
            ],
        },
    }


def main() -> None:
    """Write the files."""
    for name, content in build().items():
        (HERE / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
