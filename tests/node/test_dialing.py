"""The door: checks of strangers are answered without keeping anything, and with no more bytes than came."""

from __future__ import annotations

import json
import random
from pathlib import Path

from aioice import stun

from dht.stun import BINDING_SUCCESS, HEADER, MAGIC_COOKIE, binding_response
from node.protocols.dialing import LONGEST, SLOT, SOFTWARE_PADDING, Door, decode_check, encode_answer, name_for

PASSWORD = "p" * 22
ADDRESS = ("203.0.113.5", 4711)
V6 = ("2001:db8::7", 4711)
NOW = 1_800_000_000.0
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "dialing.json").read_text())


def check_of(
    *,
    padding: int = SOFTWARE_PADDING,
    password: str = PASSWORD,
    name: str | None = None,
    key: str | None = None,
    dialler: str = "abcd",
    controlled: bool = False,
    transaction: bytes = bytes(12),
) -> bytes:
    """A dialler's first check, as another implementation makes it."""
    name = name_for(password) if name is None else name
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction_id=transaction)
    message.attributes["USERNAME"] = f"{name}:{dialler}"
    message.attributes["PRIORITY"] = 12345
    message.attributes["ICE-CONTROLLED" if controlled else "ICE-CONTROLLING"] = 77
    message.attributes["USE-CANDIDATE"] = None
    if padding:
        message.attributes["SOFTWARE"] = "rookery".ljust(padding)
    message.add_message_integrity((name if key is None else key).encode())
    return bytes(message)


def answered(challenge: bytes) -> bytes:
    """What an ICE agent answers to our check."""
    asked = stun.parse_message(challenge)
    message = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=asked.transaction_id)
    message.attributes["XOR-MAPPED-ADDRESS"] = ("198.51.100.1", 9)
    message.add_message_integrity(PASSWORD.encode())
    return bytes(message)


def test_a_padded_check_gets_challenge_and_answer_in_no_more_bytes() -> None:
    for address in (ADDRESS, V6):
        data = check_of()
        knock = Door(random.Random(1)).knock(data, address, NOW, known=False)
        assert knock is not None and not knock.arrived
        challenge, answer = map(stun.parse_message, knock.replies)
        assert challenge.message_class is stun.Class.REQUEST
        assert challenge.attributes["USERNAME"] == f"abcd:{name_for(PASSWORD)}"
        assert challenge.check_message_integrity(PASSWORD.encode())
        assert answer.transaction_id == bytes(12)
        assert answer.attributes["XOR-MAPPED-ADDRESS"] == address
        assert answer.check_message_integrity(name_for(PASSWORD).encode())
        assert sum(map(len, knock.replies)) <= len(data)


def test_a_short_check_gets_the_challenge_alone_until_the_address_is_known() -> None:
    door, data = Door(random.Random(1)), check_of(padding=0)
    knock = door.knock(data, ADDRESS, NOW, known=False)
    assert knock is not None
    [challenge] = knock.replies
    assert len(challenge) <= len(data)
    arrived = door.knock(answered(challenge), ADDRESS, NOW, known=False)
    assert arrived is not None and arrived.arrived and not arrived.replies
    later = door.knock(data, ADDRESS, NOW, known=True)
    assert later is not None
    assert [stun.parse_message(reply).message_class for reply in later.replies] == [stun.Class.RESPONSE]


def test_only_who_reads_at_the_address_can_answer_and_only_for_a_while() -> None:
    door = Door(random.Random(1))
    knock = door.knock(check_of(), ADDRESS, NOW, known=False)
    assert knock is not None
    reply = answered(knock.replies[0])
    for address in (("203.0.113.5", 4712), ("203.0.113.6", 4711), V6):
        assert door.knock(reply, address, NOW, known=False) is None
    late = door.knock(reply, ADDRESS, NOW + 2 * SLOT, known=False)
    assert late is None
    assert Door(random.Random(2)).knock(reply, ADDRESS, NOW, known=False) is None
    in_time = door.knock(reply, ADDRESS, NOW + SLOT - 1, known=False)
    assert in_time is not None and in_time.arrived


def test_checks_that_are_not_right_get_no_answer() -> None:
    door = Door(random.Random(1))
    wrong = (
        check_of(key="x" * 22),
        check_of(name="another1/" + PASSWORD),
        check_of(password="p" * 21),
        check_of(password="p" * 65),
        check_of(dialler="abc"),
        check_of(dialler="a" * 33),
        check_of(controlled=True),
        check_of()[:-1] + b"\x00",
    )
    for data in wrong:
        knock = door.knock(data, ADDRESS, NOW, known=False)
        assert knock is not None and not knock.replies and not knock.arrived, data
        known = door.knock(data, ADDRESS, NOW, known=True)
        assert known is not None and not known.replies
    assert door.counters["malformed"] == 2 * len(wrong)


def test_plain_stun_and_other_answers_are_left_to_the_dht() -> None:
    door = Door(random.Random(1))
    plain = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction_id=bytes(12)))
    assert door.knock(plain, ADDRESS, NOW, known=False) is None
    assert binding_response(plain, ADDRESS) is not None
    assert door.knock(HEADER.pack(BINDING_SUCCESS, 0, MAGIC_COOKIE, bytes(12)), ADDRESS, NOW, known=True) is None
    assert door.knock(check_of(padding=LONGEST), ADDRESS, NOW, known=False) is None


def test_a_source_is_answered_at_a_bounded_rate() -> None:
    door, data = Door(random.Random(1)), check_of()
    knocks = [door.knock(data, ("203.0.113.5", port), NOW, known=False) for port in range(1024, 1324)]
    assert sum(1 for knock in knocks if knock is not None and knock.replies) == 80
    assert door.counters["limited"] == 220
    other = door.knock(data, ("203.0.113.6", 4711), NOW, known=False)
    assert other is not None and other.replies


def test_vectors() -> None:
    for vector in VECTORS["checks"]:
        data = bytes.fromhex(vector["check"])
        check = decode_check(data)
        assert check is not None
        assert check.name.decode() == vector["name"] and check.password.decode() == vector["password"]
        assert check.dialler.decode() == vector["dialler"]
        assert encode_answer(check, tuple(vector["address"])).hex() == vector["answer"]
    for refused in VECTORS["refused"]:
        assert decode_check(bytes.fromhex(refused["check"])) is None, refused["why"]


def make_vectors() -> dict[str, object]:
    """What `dialing.json` holds."""
    checks = []
    for address, padding in ((ADDRESS, SOFTWARE_PADDING), (V6, 0)):
        data = check_of(padding=padding)
        check = decode_check(data)
        assert check is not None
        checks.append(
            {
                "check": data.hex(),
                "name": check.name.decode(),
                "password": check.password.decode(),
                "dialler": check.dialler.decode(),
                "address": list(address),
                "answer": encode_answer(check, address).hex(),
            }
        )
    refused = [
        {"why": "integrity under another key", "check": check_of(key="x" * 22).hex()},
        {"why": "another prefix", "check": check_of(name="another1/" + PASSWORD).hex()},
        {"why": "a password of 21 characters", "check": check_of(password="p" * 21).hex()},
        {"why": "the dialler says that it is controlled", "check": check_of(controlled=True).hex()},
        {"why": "the fingerprint is wrong", "check": (check_of()[:-1] + b"\x00").hex()},
    ]
    return {"checks": checks, "refused": refused}
