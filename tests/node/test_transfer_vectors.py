"""The frozen bytes of file transfers: what both sides say, why they refuse, and what they refuse."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from node.protocols.transfer import (
    Accepted,
    Confirmed,
    Ended,
    FileOffer,
    ReceiverSide,
    Refused,
    SenderSide,
    Started,
    TransferFault,
    transfer_id,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "transfer.json").read_text(encoding="utf-8"))
CONTENT = bytes.fromhex(VECTORS["content"])
DIGEST = hashlib.sha256(CONTENT).digest()
HELD = 4


def offer() -> FileOffer:
    name, mtime = VECTORS["name"], VECTORS["mtime"]
    return FileOffer(transfer_id(name, len(CONTENT), mtime), name, len(CONTENT), mtime)


def events(side: SenderSide | ReceiverSide) -> list[object]:
    found: list[object] = []
    while (event := side.next_event()) is not None:
        found.append(event)
    return found


def side_in(state: str) -> SenderSide | ReceiverSide:
    """The side that the bytes come to, brought into the state by the other."""
    sender, taker = SenderSide(offer()), ReceiverSide()
    if state == "offered":
        sender.data_to_send()
        return sender
    if state != "waiting":
        taker.receive_data(sender.data_to_send())
        taker.accept(HELD, bytes(32))
    if state == "receiving":
        sender.start(HELD)
        taker.receive_data(sender.data_to_send() + CONTENT[HELD:])
    taker.data_to_send()
    events(taker)
    return taker


@pytest.mark.parametrize("vector", VECTORS["ids"], ids=lambda vector: vector["id"][:8])
def test_ids_are_frozen(vector: dict[str, Any]) -> None:
    assert transfer_id(vector["name"], vector["size"], vector["mtime"]).hex() == vector["id"]


@pytest.mark.parametrize("vector", VECTORS["conversations"], ids=lambda vector: vector["what"])
def test_conversations_are_frozen(vector: dict[str, Any]) -> None:
    have, offset, stored = vector["have"], vector["offset"], vector["stored_as"]
    held = hashlib.sha256(bytes.fromhex(vector["held"])).digest()
    sender, taker = SenderSide(offer()), ReceiverSide()
    said = {
        "OFFER": lambda: None,
        "ACCEPT": lambda: taker.accept(have, held),
        "START": lambda: sender.start(offset),
        "END": lambda: sender.end(DIGEST),
        "DONE": lambda: taker.confirm(DIGEST, stored),
    }
    heard = {
        "OFFER": offer(),
        "ACCEPT": Accepted(have, held),
        "START": Started(offset),
        "data": CONTENT[offset:],
        "END": Ended(DIGEST),
        "DONE": Confirmed(DIGEST, stored),
    }
    for step in vector["steps"]:
        talker, listener = (sender, taker) if step["from"] == "sender" else (taker, sender)
        raw = bytes.fromhex(step["hex"])
        if step["message"] != "data":
            said[step["message"]]()
            assert talker.data_to_send() == raw
        listener.receive_data(raw)
        assert events(listener) == [heard[step["message"]]]
    assert (sender.finished, taker.finished) == (True, True)


@pytest.mark.parametrize("vector", VECTORS["refusals"], ids=lambda vector: vector["fault"])
@pytest.mark.parametrize("state", ["waiting", "accepted", "offered"])
def test_refusals_are_frozen(vector: dict[str, str], state: str) -> None:
    raw = bytes.fromhex(vector["hex"])
    fault = TransferFault(vector.get("reads_as", vector["fault"]))
    told = side_in(state)
    told.receive_data(raw)
    assert events(told) == [Refused(fault, vector["detail"])]
    assert told.finished
    if "reads_as" not in vector:
        teller = side_in(state)
        teller.refuse(fault, vector["detail"])
        assert teller.data_to_send() == raw


def test_every_refusal_has_a_vector() -> None:
    assert {vector["fault"] for vector in VECTORS["refusals"]} >= {fault.value for fault in TransferFault}


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["what"])
def test_broken_messages_end_the_transfer_with_a_typed_reason(vector: dict[str, str]) -> None:
    side = side_in(vector["state"])
    side.receive_data(bytes.fromhex(vector["hex"]))
    (event,) = events(side)
    assert isinstance(event, Refused)
    assert event.fault is TransferFault.PROTOCOL
    assert vector["detail"] in event.detail
    assert side.finished
    other = ReceiverSide()
    other.receive_data(side.data_to_send())
    assert events(other) == [event]
