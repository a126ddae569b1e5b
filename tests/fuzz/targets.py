"""Every decoder that meets a stranger's bytes, by name: what it is given, and what it may be refused with.

One table for both fuzzers: the mutations of `test_targets.py` and the coverage-guided run of `coverage_guided.py`.
Seeds are the frozen vectors, so that mutants get past the first checks.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from nacl import bindings

from bootstrap.firstcontacts import decode_file
from dht.contact import unpack_address, unpack_contacts
from dht.errors import DecodeError, RookeryError
from dht.identity import IdentityKey, NodeKey
from dht.nat_report import NatReport
from dht.records import decode_record, verify_record
from dht.sealing import Sealer
from dht.stun import binding_response, is_stun
from dht.wire import decode_message, encode_message
from node.node_whereabouts import Remembered
from node.protocols.admission import read_hello, read_revocations
from node.protocols.circuit import decode_circuit_message
from node.protocols.circuit_relays import ProposedRelay, RelayAnnouncement
from node.protocols.continuity import decode_control
from node.protocols.dialing import decode_check
from node.protocols.invite import read_invite
from node.protocols.invite_text import find_invite
from node.protocols.membership import read_chain
from node.protocols.offer import decode_description
from node.protocols.peer_record import PeerRecord
from node.protocols.petnames import Book
from node.protocols.presence_beats import decode_card, decode_item
from node.protocols.presence_wire import decode as decode_gossip
from node.protocols.renewal import read_message as read_renewal_message
from node.protocols.renewal import read_renewal
from node.protocols.revocation import read_revocation
from node.protocols.signaling_seal import _OUTER, STEP, VERSION, _nonce, box_key, unseal
from node.protocols.stream_frames import decode_name, iter_frames
from node.protocols.topic_messages import decode_topic_message
from node.protocols.tunnel import FrameReader, Kind

VECTORS: Final = Path(__file__).resolve().parents[1] / "vectors"
OWNER: Final = IdentityKey.from_seed(bytes(range(32)))
RECIPIENT: Final = IdentityKey.from_seed(b"b" * 32)
"""To whom the frozen signals are sealed."""
HERE: Final = NodeKey.from_secret(bytes(range(64, 96)))
OPENER: Final = Sealer(HERE, Random(1))
NOW: Final = 1_800_000_000.0

MOST: Final = 4096
"""Bytes of one input: more than any message but a stream's has."""


@dataclass(frozen=True)
class Target:
    """A decoder. Whatever it raises but `RookeryError` is a fault of ours."""

    decode: Callable[[bytes], object]
    vectors: str = ""
    """File of frozen bytes that it begins with."""
    covers: tuple[str, ...] = ()
    """Names of the decoders that it calls, where they are not the function itself."""

    def run(self, data: bytes) -> bool:
        """Whether the bytes were taken; False when they were refused as they should be."""
        try:
            self.decode(data[:MOST])
        except RookeryError:
            return False
        return True

    def seeds(self) -> list[bytes]:
        """Frozen bytes to begin with; one empty input where there are none."""
        if not self.vectors:
            return [b"", bytes(64)]
        path = VECTORS / self.vectors
        found = sorted(set(_bytes_in(json.loads(path.read_text(encoding="utf-8")))))
        return [data for data in found if len(data) <= MOST] or [b""]


def _bytes_in(value: Any) -> Iterator[bytes]:
    """What the strings of a vector file stand for: hexadecimal, Base64, or themselves."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _bytes_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _bytes_in(each)
    elif isinstance(value, str):
        try:
            yield bytes.fromhex(value)
        except ValueError:
            yield value.encode()
            with contextlib.suppress(ValueError):
                yield base64.b64decode(value, validate=True)


def _message(data: bytes) -> None:
    message = decode_message(data)
    assert decode_message(encode_message(message)) == message


def _record(data: bytes) -> None:
    assert verify_record(decode_record(data), NOW).raw == data


def _contacts(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        unpack_contacts(data, b"")
    unpack_contacts(b"", data)


def _address(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        unpack_address(data[-18:])
    unpack_address(data[-6:])


def _stun(data: bytes) -> None:
    if not is_stun(data):
        return
    answer = binding_response(data, ("2a00::1", 4701))
    assert answer is None or len(answer) == 44


def _frames(data: bytes) -> None:
    for _, _, _, payload in iter_frames(data):
        assert len(payload) <= len(data)


def _tunnel(data: bytes) -> None:
    for kind in Kind:
        reader = FrameReader(kind)
        with contextlib.suppress(DecodeError):
            for at in range(0, len(data), 7):
                reader.feed(data[at : at + 7])


def _signal(data: bytes) -> None:
    # Few mutants open: what stands in a good box is the stranger's choice as well.
    target = box_key(RECIPIENT.public)
    body = data + bytes(-(_OUTER + len(data)) % STEP)
    ephemeral = HERE.public
    box = bindings.crypto_box(body, _nonce(ephemeral, target), target, HERE.secret)
    with contextlib.suppress(DecodeError):
        unseal(bytes((VERSION,)) + ephemeral + box, RECIPIENT, RECIPIENT.curve25519_secret())
    unseal(data, RECIPIENT, RECIPIENT.curve25519_secret())


def _text(data: bytes) -> None:
    find_invite(data.decode("utf-8", "replace"))


TARGETS: Final[dict[str, Target]] = {
    "message": Target(_message, "wire.json", ("decode_message",)),
    "record": Target(_record, "records.json", ("decode_record",)),
    "contacts": Target(_contacts, "contacts.json", ("unpack_contacts",)),
    "address": Target(_address, "contacts.json", ("unpack_address",)),
    "datagram": Target(OPENER.open, "sealing.json"),
    "stun": Target(_stun),
    "nat-report": Target(NatReport.from_bytes),
    "list": Target(decode_file, "bootstrap_list.json"),
    "hello": Target(read_hello, "membership.json"),
    "revocations": Target(read_revocations, "membership.json"),
    "revocation": Target(read_revocation, "membership.json"),
    "chain": Target(read_chain, "membership.json"),
    "renewal": Target(read_renewal, "membership.json"),
    "renewal-message": Target(read_renewal_message, "membership.json"),
    "circuit": Target(decode_circuit_message, "circuits.json"),
    "proposed-relay": Target(ProposedRelay.from_bytes, "circuits.json"),
    "relay": Target(lambda data: RelayAnnouncement.from_bytes(data, OWNER.public), "circuits.json"),
    "continuity": Target(decode_control, "continuity.json"),
    "check": Target(decode_check, "dialing.json"),
    "invite": Target(read_invite, "invites.json"),
    "invite-text": Target(_text, "invites.json"),
    "description": Target(decode_description, "offer.json"),
    "peer-record": Target(PeerRecord.from_bytes, "peer_record.json"),
    "petnames": Target(Book.from_bytes),
    "card": Target(decode_card, "presence.json"),
    "item": Target(decode_item, "presence.json"),
    "gossip": Target(decode_gossip, "presence.json", ("decode",)),
    "remembered": Target(Remembered.from_bytes),
    "signal": Target(_signal, "signaling.json", ("unseal",)),
    "frames": Target(_frames, "streams.json"),
    "stream-name": Target(decode_name, "streams.json"),
    "topic": Target(decode_topic_message, "topics.json"),
    "tunnel": Target(_tunnel),
}
