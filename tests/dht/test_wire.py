"""Messages: frozen bytes, strict decoding, and that the largest of each fits a datagram."""

import json
import random
import runpy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.constants import (
    MAX_AGAIN,
    MAX_BATCH,
    MAX_CONTACTS,
    MAX_DATAGRAM,
    MAX_MESSAGE,
    MAX_PRINTS,
    MAX_RECORD,
    MAX_SIGNAL,
    OVERHEAD_BYTES,
    PRINT_BYTES,
)
from dht.contact import PACKED_V4, PACKED_V6
from dht.errors import DecodeError, RemoteError
from dht.wire import (
    ITEM_HEAD,
    REPLY_ROOM_FIND,
    REPLY_ROOM_GET,
    ROOM_FOR_ITEMS,
    WANT_V4,
    WANT_V6,
    Again,
    AnyMessage,
    DialBack,
    Dialed,
    DownHint,
    FindNode,
    Get,
    Have,
    Message,
    Nodes,
    Notice,
    Noticed,
    Ping,
    Pong,
    Probe,
    Put,
    PutMany,
    Register,
    Registered,
    RegisterFor,
    Signal,
    Signaled,
    Stored,
    StoredMany,
    Value,
    Want,
    Watch,
    Watched,
    decode_message,
    encode_message,
    wanted_families,
)

FOLDER = Path(__file__).resolve().parents[1] / "vectors"
VECTORS = json.loads((FOLDER / "wire.json").read_text(encoding="utf-8"))
MESSAGES: dict[str, Message] = runpy.run_path(str(FOLDER / "make_vectors.py"))["messages"]()

RID, TOKEN, PLACE = 2**64 - 1, bytes(8), bytes(20)
MAX_SEQ, MAX_SECONDS = 2**63 - 1, 2**32 - 1

LARGEST: list[Message] = [
    Pong(RID, TOKEN, bytes(18), MAX_SECONDS),
    Nodes(RID, TOKEN, bytes(PACKED_V4 * MAX_CONTACTS), b""),
    Nodes(RID, TOKEN, b"", bytes(PACKED_V6 * MAX_CONTACTS)),
    Value(RID, TOKEN, [bytes(MAX_RECORD)], 65535, b"", bytes(PACKED_V6)),
    Put(RID, TOKEN, True, bytes(MAX_RECORD), MAX_SECONDS, True, MAX_SEQ),
    Stored(RID, TOKEN, 255, MAX_SEQ, b"", bytes(PACKED_V6 * MAX_CONTACTS)),
    Signal(RID, TOKEN, True, PLACE, PLACE, bytes(MAX_SIGNAL)),
    Signaled(RID, TOKEN, 255),
    Register(RID, TOKEN, True, bytes(32), MAX_SEQ, bytes(64)),
    Registered(RID, TOKEN, 255, MAX_SECONDS, bytes(18)),
    Dialed(RID, TOKEN, 255),
    Probe(RID, TOKEN, bytes(8)),
    DownHint(RID, TOKEN, bytes(PACKED_V4 * 8), bytes(PACKED_V6 * 8)),
    Watch(RID, TOKEN, True, PLACE, MAX_SEQ, MAX_SECONDS),
    Watched(RID, TOKEN, 255, MAX_SECONDS),
    Notice(RID, TOKEN, True, bytes(MAX_RECORD)),
    Noticed(RID, TOKEN, 255),
    Have(RID, TOKEN, True, bytes(PRINT_BYTES * MAX_PRINTS)),
    Want(RID, TOKEN, bytes(MAX_PRINTS // 8)),
    PutMany(RID, TOKEN, True, [(bytes(ROOM_FOR_ITEMS // 2 - ITEM_HEAD), MAX_SECONDS)] * 2, True),
    StoredMany(RID, TOKEN, [(255, MAX_SEQ)] * MAX_BATCH, b"", bytes(PACKED_V6 * 18)),
    RegisterFor(RID, TOKEN, True, bytes(32), MAX_SEQ, bytes(64), MAX_SECONDS, MAX_AGAIN),
    Again(RID, TOKEN),
]
"""The largest message of each kind that has no padding, with the contacts its responder may add."""

PADDED: list[Ping | FindNode | Get | DialBack] = [
    Ping(RID, TOKEN, True),
    FindNode(RID, TOKEN, True, PLACE),
    Get(RID, TOKEN, True, PLACE, True, 65535),
    DialBack(RID, TOKEN, True, bytes(8)),
]


class TestFrozen:
    @pytest.mark.parametrize("name", VECTORS["messages"])
    def test_bytes_and_message_are_one(self, name: str) -> None:
        raw = bytes.fromhex(VECTORS["messages"][name])
        assert encode_message(MESSAGES[name]) == raw
        assert decode_message(raw) == MESSAGES[name]

    @pytest.mark.parametrize("case", VECTORS["wanted"], ids=lambda case: f"{case['message'][-8:]}-{case['over']}")
    def test_a_request_says_which_families_it_wants(self, case: dict[str, Any]) -> None:
        request = decode_message(bytes.fromhex(case["message"]))
        assert isinstance(request, FindNode | Get)
        bits = wanted_families(request, case["over"] == 6)
        assert [family for family, bit in ((4, WANT_V4), (6, WANT_V6)) if bits & bit] == case["wanted"]

    def test_numbers_are_for_ever(self) -> None:
        numbers = [raw[2:4] for raw in VECTORS["messages"].values()]
        assert [int(number, 16) for number in numbers] == list(range(1, 27))

    @pytest.mark.parametrize("what", VECTORS["broken"])
    def test_broken_bytes_are_refused(self, what: str) -> None:
        with pytest.raises(DecodeError) as caught:
            decode_message(bytes.fromhex(VECTORS["broken"][what]))
        assert caught.value.what == "message"
        assert caught.value.problem

    def test_the_field_that_does_not_fit_is_named(self) -> None:
        with pytest.raises(DecodeError, match=r"Expected `bytes`.*`\$\[2\]`") as caught:
            decode_message(bytes.fromhex(VECTORS["broken"]["text for the token"]))
        assert isinstance(caught.value, RemoteError)
        assert caught.value.__cause__ is None


class TestStrict:
    @pytest.mark.parametrize("name", MESSAGES)
    def test_every_cut_is_refused(self, name: str) -> None:
        raw = encode_message(MESSAGES[name])
        for length in range(len(raw)):
            with pytest.raises(DecodeError):
                decode_message(raw[:length])

    @pytest.mark.parametrize("name", MESSAGES)
    def test_a_further_field_is_refused(self, name: str) -> None:
        fields = msgspec.msgpack.decode(encode_message(MESSAGES[name]))
        with pytest.raises(DecodeError):
            decode_message(msgspec.msgpack.encode([*fields, 0]))

    @pytest.mark.parametrize("name", MESSAGES)
    def test_a_field_of_any_other_type_is_refused(self, name: str) -> None:
        fields = msgspec.msgpack.decode(encode_message(MESSAGES[name]))
        for at, field in enumerate(fields):
            others: tuple[object, ...] = (0, b"", "", True, None, 1.0, [], {})
            for other in others:
                optional = other is None and (name, at) in {("PUT", len(fields) - 1), ("WATCH", len(fields) - 2)}
                if type(other) is type(field) or optional:
                    continue
                with pytest.raises(DecodeError):
                    decode_message(msgspec.msgpack.encode([*fields[:at], other, *fields[at + 1 :]]))

    @pytest.mark.parametrize("name", MESSAGES)
    def test_integers_stay_in_their_range(self, name: str) -> None:
        fields = msgspec.msgpack.decode(encode_message(MESSAGES[name]))
        for at, field in enumerate(fields):
            if type(field) is not int:
                continue
            for value in (-1, -(2**63), *([] if at == 1 else [2**64 - 1])):
                with pytest.raises(DecodeError):
                    decode_message(msgspec.msgpack.encode([*fields[:at], value, *fields[at + 1 :]]))

    def test_a_message_may_be_written_in_more_than_one_way(self) -> None:
        # msgpack has wider forms of a number, and fields with a default may be left out. Harmless, since no message
        # is signed or compared as bytes: whatever is signed (records, registrations) has an encoding of its own.
        written = ["9501 00 c400 c3 c400", "9401 00 c400 c3", "9501 cc00 c400 c3 c400", "dc0005 01 00 c50000 c3 c400"]
        assert {decode_message(bytes.fromhex(text)) for text in written} == {Ping(0, b"", True)}

    @given(st.binary(max_size=MAX_MESSAGE))
    def test_any_bytes_are_a_message_or_refused(self, data: bytes) -> None:
        try:
            message = decode_message(data)
        except DecodeError:
            return
        assert decode_message(encode_message(message)) == message

    @pytest.mark.parametrize("name", MESSAGES)
    def test_mutated_messages_are_messages_or_refused(self, name: str) -> None:
        raw, rng, refused = encode_message(MESSAGES[name]), random.Random(5), 0
        for _ in range(500):
            mutated = bytearray(raw)
            for _ in range(rng.randint(1, 4)):
                mutated[rng.randrange(len(mutated))] = rng.randrange(256)
            try:
                message = decode_message(bytes(mutated))
            except DecodeError:
                refused += 1
                continue
            assert decode_message(encode_message(message)) == message
        assert refused > 0

    @pytest.mark.parametrize("opener", [b"\x91", b"\x81\x01", b"\xdd\x00\x00\x00\x01"])
    def test_depth_does_not_exhaust_the_stack(self, opener: bytes) -> None:
        for start in (b"", bytes.fromhex("9401")):
            with pytest.raises(DecodeError):
                decode_message(start + opener * 100_000)

    def test_messages_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            Ping(1, b"", True).rid = 2  # type: ignore[misc]


class TestSizes:
    @pytest.mark.parametrize("message", LARGEST, ids=lambda message: type(message).__name__)
    def test_the_largest_fits_a_datagram(self, message: Message) -> None:
        raw = encode_message(message)
        assert decode_message(raw) == message
        assert len(raw) <= MAX_MESSAGE
        assert len(raw) + OVERHEAD_BYTES <= MAX_DATAGRAM

    def test_every_message_was_measured(self) -> None:
        assert {type(message) for message in [*LARGEST, *PADDED]} == set(AnyMessage.__args__)

    @pytest.mark.parametrize("message", PADDED, ids=lambda message: type(message).__name__)
    @pytest.mark.parametrize("size", [400, REPLY_ROOM_FIND, REPLY_ROOM_GET])
    def test_requests_can_be_padded_to_the_size_of_their_reply(
        self, message: Ping | FindNode | Get | DialBack, size: int
    ) -> None:
        # A padding of 256 bytes and more has a length of two bytes where an empty one's has one.
        bare = len(encode_message(message)) + 1
        padded = msgspec.structs.replace(message, pad=bytes(size - bare))
        assert len(encode_message(padded)) == size
        assert decode_message(encode_message(padded)) == padded

    def test_20_ipv4_contacts_fit_the_room_a_padded_request_gives(self) -> None:
        assert len(encode_message(Nodes(RID, TOKEN, bytes(PACKED_V4 * MAX_CONTACTS), b""))) <= REPLY_ROOM_FIND

    def test_beside_the_largest_record_are_contacts(self) -> None:
        bare = len(encode_message(Value(RID, TOKEN, [bytes(MAX_RECORD)], 65535, b"", b"")))
        assert (MAX_MESSAGE - bare) // PACKED_V4 == 3

    def test_short_answers_are_smaller_than_the_requests_they_answer(self) -> None:
        answers = {Put: Stored(RID, TOKEN, 0, 0, b"", b""), Signal: Signaled(RID, TOKEN, 0)}
        answers |= {Register: Registered(RID, TOKEN, 0, 90), DialBack: Dialed(RID, TOKEN, 0)}
        answers |= {PutMany: StoredMany(RID, TOKEN, [(0, MAX_SEQ)] * 2, b"", b"")}
        answers |= {Watch: Watched(RID, TOKEN, 0, MAX_SECONDS), Notice: Noticed(RID, TOKEN, 0)}
        for request, answer in answers.items():
            asked = next(message for message in [*LARGEST, *PADDED] if type(message) is request)
            assert len(encode_message(answer)) < len(encode_message(asked))
