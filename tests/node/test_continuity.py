"""One end of a link that outlives its channels, and what it says on the wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dht.errors import DecodeError
from node.protocols.continuity import (
    ACK_BYTES,
    ACK_MESSAGES,
    LEAST_KEPT,
    MAX_KEPT,
    MAX_SKIP,
    OVERHEAD,
    Broken,
    Continuity,
    Control,
    Hello,
    Keeping,
    Taken,
    Verdict,
    Way,
    Word,
    ack,
    decode_control,
    is_control,
    probe,
)
from node.protocols.stream_frames import iter_frames

VECTORS: Any = json.loads((Path(__file__).parents[1] / "vectors" / "continuity.json").read_text())
LINK = bytes(range(16))


# What is on the wire


def described(vector: dict[str, Any]) -> bytes:
    match vector["kind"]:
        case "HELLO":
            link = bytes.fromhex(vector["link_id"])
            return Hello(Word[vector["word"]], link, vector["channel"], vector["received"]).to_bytes()
        case "ACK":
            return ack(vector["value"])
        case "FROM":
            way = switched(vector["value"])
            return way.opening
        case kind:
            return probe(vector["value"], answer=kind == "PROBED")


def switched(acknowledged: int) -> Way:
    """A way on which a link goes on with message `acknowledged`."""
    link = Continuity(LINK, initiated=True)
    link.begin()
    link.sent = acknowledged
    link.acknowledged = acknowledged
    way, hello = link.dial()
    assert link.answered(way, Hello(Word.TAKEN, LINK, hello.channel, acknowledged))
    return way


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda v: f"{v['kind']} {v.get('word', '')}")
def test_control_messages_are_frozen_and_read_back(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["raw"])
    assert described(vector) == raw and is_control(raw)
    decoded = decode_control(raw)
    assert decoded is not None
    kind, value = decoded
    assert kind is Control[vector["kind"]]
    assert value.to_bytes() == raw if isinstance(value, Hello) else value == vector["value"]


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda v: f"{v['kind']} {v.get('word', '')}")
def test_an_older_release_takes_them_for_nothing(vector: dict[str, Any]) -> None:
    assert list(iter_frames(bytes.fromhex(vector["raw"]))) == []


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda v: v["why"])
def test_what_is_wrong_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        decode_control(bytes.fromhex(vector["raw"]))


def test_a_type_of_a_later_release_is_passed_over() -> None:
    assert decode_control(bytes.fromhex("8f00000200000000") + b"ab") is None


# One end


def joined() -> tuple[Continuity, Continuity, Way, Way]:
    """Both ends of a link, on its first channel."""
    near, far = Continuity(LINK, initiated=True), Continuity(LINK, initiated=False)
    hello = near.begin()
    taken = far.asked(hello)
    assert isinstance(taken, Taken) and near.current is not None
    assert near.answered(near.current, taken.reply)
    return near, far, near.current, taken.way


def test_what_is_acknowledged_is_kept_no_more() -> None:
    near, far, out, into = joined()
    for number in range(10):
        assert near.keep(bytes([number])) is out
        assert far.take(into, 1)
    assert (near.room, near.outstanding) == (MAX_KEPT - 10 * (1 + OVERHEAD), True)
    decoded = decode_control(far.acknowledge())
    assert (decoded, far.ack_owed) == ((Control.ACK, 10), False)
    near.on_ack(10)
    near.on_ack(3)
    assert (near.room, near.outstanding) == (MAX_KEPT, False)
    with pytest.raises(Broken):
        near.on_ack(11)


def test_acknowledgements_are_due_after_enough() -> None:
    _, far, _, into = joined()
    for _ in range(ACK_MESSAGES - 1):
        far.take(into, 1)
    assert (far.ack_owed, far.ack_due) == (True, False)
    far.take(into, 1)
    assert (far.ack_owed, far.ack_due) == (True, True)
    far.acknowledge()
    far.take(into, ACK_BYTES)
    assert far.ack_due


def test_all_links_together_keep_no_more_than_allowed_and_each_a_little() -> None:
    keeping = Keeping(LEAST_KEPT)
    one = Continuity(LINK, initiated=True, keeping=keeping)
    two = Continuity(LINK, initiated=True, keeping=keeping)
    one.begin()
    one.keep(bytes(LEAST_KEPT))
    assert one.room <= 0 and two.room == LEAST_KEPT
    one.forget()
    assert keeping.held == 0 and two.room == LEAST_KEPT


def test_a_gap_cannot_be_made() -> None:
    near, far, _, _ = joined()
    way, hello = near.dial()
    taken = far.asked(hello)
    assert isinstance(taken, Taken)
    with pytest.raises(Broken):
        far.begins(taken.way, 1)
    assert near.pending is way


def test_what_is_acknowledged_while_a_hello_is_under_way_is_not_counted_again() -> None:
    near, far, out, into = joined()
    way, hello = far.dial()
    for number in range(5):
        near.keep(bytes([number]))
        far.take(into, 1)
    near.on_ack(5)
    near.keep(b"5")
    taken = near.asked(hello)
    assert isinstance(taken, Taken) and near.current is not out
    assert far.answered(way, taken.reply)
    assert decode_control(taken.way.opening) == (Control.FROM, 5)
    far.begins(way, 5)
    assert list(taken.way.backlog) == [b"5"]
    assert far.take(way, 1) and far.received == 6


@pytest.mark.parametrize(
    "hello",
    [
        Hello(Word.RESUME, LINK, 3, 1),
        Hello(Word.RESUME, LINK, 2, 0),
        Hello(Word.RESUME, LINK, 3 + 2 * MAX_SKIP, 0),
        Hello(Word.RESUME, bytes(16), 3, 0),
        Hello(Word.TAKEN, LINK, 3, 0),
    ],
    ids=["had more than was sent", "not its numbers", "skips too many", "another link", "no question"],
)
def test_a_hello_that_cannot_be_is_refused(hello: Hello) -> None:
    _, far, _, _ = joined()
    with pytest.raises(Broken):
        far.asked(hello)


def test_an_answer_that_does_not_fit_is_refused() -> None:
    near, _, _, _ = joined()
    way, hello = near.dial()
    for wrong in (
        Hello(Word.TAKEN, LINK, hello.channel + 2, 0),
        Hello(Word.TAKEN, LINK, hello.channel, 1),
        Hello(Word.RESUME, LINK, hello.channel, 0),
    ):
        with pytest.raises(Broken):
            near.answered(way, wrong)
    assert not near.answered(way, Hello(Word.UNKNOWN, LINK, hello.channel, 0))


def test_of_two_channels_opened_at_once_the_higher_counts() -> None:
    near, far, _, _ = joined()
    mine, my_hello = near.dial()
    yours, your_hello = far.dial()
    low, high = sorted((my_hello, your_hello), key=lambda hello: hello.channel)
    assert (low, high) == (your_hello, my_hello) or (low, high) == (my_hello, your_hello)
    asked, other = (near, far) if high is my_hello else (far, near)
    assert asked.asked(low) is Verdict.LATER
    taken = other.asked(high)
    assert isinstance(taken, Taken) and taken.left in (mine, yours)
    assert asked.answered(mine if high is my_hello else yours, taken.reply)
    assert asked.asked(low) is Verdict.STALE


def test_a_link_that_was_never_answered_is_begun_again() -> None:
    near = Continuity(LINK, initiated=True)
    first = near.begin()
    _, second = near.dial()
    assert (first.word, second.word) == (Word.BEGIN, Word.BEGIN) and second.channel > first.channel
    far = Continuity(LINK, initiated=False)
    assert isinstance(far.asked(second), Taken)
    assert far.asked(first) is Verdict.STALE
