"""The file transfer's messages and names, with neither files nor links."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from node.adapters.file_store import StoreError, safe_name
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


def offered() -> FileOffer:
    return FileOffer(transfer_id("a", 5, 1), "a", 5, 1)


def test_the_whole_conversation_in_single_bytes() -> None:
    sender, taker = SenderSide(offered()), ReceiverSide()

    def drip(raw: bytes, to: SenderSide | ReceiverSide) -> list[object]:
        for byte in raw:
            to.receive_data(bytes((byte,)))
        found: list[object] = []
        while (event := to.next_event()) is not None:
            found.append(event)
        return found

    assert drip(sender.data_to_send(), taker) == [offered()]
    taker.accept(2, bytes(32))
    assert drip(taker.data_to_send(), sender) == [Accepted(2, bytes(32))]
    sender.start(2)
    assert drip(sender.data_to_send(), taker) == [Started(2)]
    assert drip(b"xyz", taker) == [b"x", b"y", b"z"]
    sender.end(bytes(32))
    assert drip(sender.data_to_send(), taker) == [Ended(bytes(32))]
    taker.confirm(bytes(32), "a (1)")
    assert drip(taker.data_to_send(), sender) == [Confirmed(bytes(32), "a (1)")]
    assert (sender.finished, taker.finished) == (True, True)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_event_never_an_exception(data: bytes) -> None:
    for side in (SenderSide(offered()), ReceiverSide()):
        side.receive_data(data)
        while (event := side.next_event()) is not None:
            assert isinstance(event, Refused | FileOffer)


@given(st.lists(st.one_of(st.integers(-1, 2**64), st.text(max_size=5), st.binary(max_size=33), st.none()), max_size=6))
def test_any_fields_end_in_an_event_never_an_exception(fields: list[Any]) -> None:
    raw = SenderSide(offered())
    raw.data_to_send()
    for number in range(8):
        taker = ReceiverSide()
        try:
            raw._say(number, *fields)
        except OverflowError:
            return
        taker.receive_data(raw.data_to_send())
        event = taker.next_event()
        assert isinstance(event, Refused | FileOffer)


@given(st.text(max_size=300))
def test_any_name_is_safe_or_refused(name: str) -> None:
    try:
        safe = safe_name(name)
    except StoreError as error:
        assert error.fault is TransferFault.BAD_NAME
        return
    assert safe == os.path.basename(safe)
    assert not set(safe) & set('/\\:*?"<>|\0')
    assert not safe.startswith(".")
    assert 1 <= len(safe.encode()) <= 180


def test_the_transfer_id_depends_on_everything_and_nothing_else() -> None:
    ids = {transfer_id("a", 1, 2), transfer_id("b", 1, 2), transfer_id("a", 2, 2), transfer_id("a", 1, 3)}
    assert len(ids) == 4
    assert transfer_id("a", 1, 2).hex() == transfer_id("a", 1, 2).hex()
