"""The page on the protocols above the DHT names what the code has, with its numbers; every message has frozen bytes."""

from __future__ import annotations

import enum
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dht.constants import SIGNATURE_BYTES
from dht.contact import Contact
from dht.records import CLOCK_TOLERANCE
from node.adapters import answerless_listen, file_store, files, lasting_channel, lasting_greeting
from node.protocols import (
    circuit,
    circuit_end,
    circuit_seal,
    continuity,
    dialing,
    liveness,
    offer,
    peer_record,
    relaying,
    signaling,
    signaling_guard,
    signaling_seal,
    stream_events,
    stream_frames,
    stream_outbox,
    streams,
    transfer,
)
from node.protocols.signaling_events import Fault, Reason

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
PAGE = (ROOT / "docs" / "protocol-links.md").read_text(encoding="utf-8")
TRANSFER_MESSAGES = [*transfer._Message]


def section(title: str) -> str:
    """What stands under a heading."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


NUMBERED: list[tuple[str, list[enum.IntEnum]]] = [
    ("Sealed signals", [*signaling_seal.SignalKind, *Reason]),
    ("Offer and answer", [*offer.Kind]),
    ("Lasting links", [*continuity.Control, *continuity.Word]),
    ("Streams", [*stream_frames.FrameType, *stream_events.ResetCode, *stream_events.CloseCode]),
    ("Relays", [*circuit.MessageKind, *circuit.RelayRefusal, *circuit_end.FrameKind]),
    ("Files", [*TRANSFER_MESSAGES]),
]

NAMED: list[tuple[str, list[enum.Enum]]] = [("Calls", [*Fault]), ("Files", [*transfer.TransferFault])]


def numbered() -> list[tuple[str, enum.IntEnum]]:
    return [(title, member) for title, members in NUMBERED for member in members]


def named() -> list[tuple[str, enum.Enum]]:
    return [(title, member) for title, members in NAMED for member in members]


@pytest.mark.parametrize("title, member", numbered(), ids=str)
def test_every_number_has_a_row(title: str, member: enum.IntEnum) -> None:
    assert f"| {member.value} | {member.name} |" in section(title)


@pytest.mark.parametrize("title, member", named(), ids=str)
def test_every_reason_that_is_a_word_has_a_row(title: str, member: enum.Enum) -> None:
    assert f"| `{member.value}` |" in section(title)


def test_no_row_names_what_the_code_has_not() -> None:
    for title, members in NUMBERED:
        rows = set(re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", section(title), flags=re.MULTILINE))
        assert rows == {(str(member.value), member.name) for member in members}
    for title, words in NAMED:
        rows = set(re.findall(r"^\| `([a-z-]+)` \|", section(title), flags=re.MULTILINE))
        assert rows == {member.value for member in words}


@pytest.mark.parametrize("capability", list(peer_record.Capability), ids=str)
def test_every_capability_has_a_row(capability: peer_record.Capability) -> None:
    assert f"| {capability.value} | {capability.name} |" in section("Peer record")


@pytest.mark.parametrize("setup", list(offer.Setup), ids=str)
def test_every_setup_is_named(setup: offer.Setup) -> None:
    assert f"{setup.value} {setup.name}" in section("Offer and answer")


def test_a_refusal_has_one_number_wherever_it_travels() -> None:
    for reason in offer.RefusalReason:
        assert Reason[reason.name].value == reason.value


def test_the_peer_records_fields_stand_in_order() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", section("Peer record"), flags=re.MULTILINE)
    assert rows == [(str(at), name) for at, name in enumerate(peer_record._Payload.__struct_fields__)]


def contact(number: int, ip: str) -> Contact:
    return Contact(bytes([number]) * 32, (ip, 4000))


LARGEST_RECORD = peer_record.PeerRecord(
    direct=tuple(contact(number, "2001:db8::7") for number in (1, 2)),
    homes=tuple(contact(number, "2001:db8::8") for number in range(3, 9)),
    capabilities=peer_record.Capability(2**32 - 1),
    status="x" * peer_record.MAX_STATUS_BYTES,
    online_since=2**53,
    changed=2**53,
    fingerprint=bytes(32),
)


def described(count: int, host: str, priority: int | None = None, ufrag: int = 4, password: int = 22) -> int:
    candidates = tuple(offer.PackedCandidate("host", host, 9, priority) for _ in range(count))
    return len(
        offer.SessionDescription(
            offer.Kind.OFFER, offer.Setup.ACTPASS, "u" * ufrag, "p" * password, bytes(32), candidates
        ).to_bytes()
    )


def said(message: transfer._Message) -> int:
    """Bytes of the largest message of its kind that we say."""
    sender = transfer.SenderSide(
        transfer.FileOffer(bytes(16), "x" * transfer.MAX_NAME_BYTES, transfer.MAX_SIZE, 1 - 2**63)
    )
    offered = len(sender.data_to_send())
    taker = transfer.ReceiverSide()
    match message.name:
        case "OFFER":
            return offered
        case "ACCEPT":
            taker.accept(transfer.MAX_SIZE, bytes(32))
        case "REFUSE":
            taker.refuse(max(transfer.TransferFault, key=lambda fault: len(fault.value)), "\U0001f600" * 300)
        case "START":
            sender.start(transfer.MAX_SIZE)
        case "END":
            sender.end(bytes(32))
        case "DONE":
            taker.confirm(bytes(32), "x" * (file_store.MAX_STORED_NAME + len(f" ({file_store.MAX_TRIES - 1})")))
    return len(sender.data_to_send() + taker.data_to_send())


@pytest.mark.parametrize("message", TRANSFER_MESSAGES, ids=str)
def test_the_page_says_how_large_a_transfers_messages_get(message: transfer._Message) -> None:
    row = next(line for line in section("Files").splitlines() if line.startswith(f"| {message.value} | {message.name}"))
    assert re.search(rf"\b{said(message):,}\b", row.split("|")[5])


SEALING = signaling_seal
IPV4 = described(1, "192.0.2.1") - described(0, "192.0.2.1")
IPV6 = described(1, "2001:db8::1") - described(0, "2001:db8::1")
LARGEST_OFFER = described(offer.MAX_CANDIDATES, "2001:db8::1", 1, offer.UFRAG_LENGTH[1], offer.PASSWORD_LENGTH[1])

FACTS: list[tuple[str, str, list[float]]] = [
    (
        "Peer record",
        "{} bytes, {} when empty, … {} at the largest",
        [peer_record.MAX_PAYLOAD, len(peer_record.PeerRecord().to_bytes()), len(LARGEST_RECORD.to_bytes())],
    ),
    ("Peer record", "at most {} packed contacts", [peer_record.MAX_DIRECT]),
    ("Peer record", "at most {} packed contacts", [peer_record.MAX_HOME_CONTACTS]),
    ("Peer record", "at most {} bytes of UTF-8", [peer_record.MAX_STATUS_BYTES]),
    ("Sealed signals", "{} bytes around inner", [SEALING._OUTER]),
    ("Sealed signals", "{} before the payload, {} after it", [SEALING._INNER.size, SIGNATURE_BYTES]),
    ("Sealed signals", "multiple of {}, at least {}, … at most {}", [SEALING.STEP, SEALING.SMALLEST, SEALING.LARGEST]),
    (
        "Sealed signals",
        "payloads of up to {} bytes look alike, and the largest has {}",
        [SEALING.SMALLEST - SEALING._OUTER - SEALING._INNER.size - SIGNATURE_BYTES, SEALING.MAX_PAYLOAD],
    ),
    ("Calls", "up to {} ways at once", [signaling.HOMES_AT_ONCE]),
    (
        "Calls",
        "after {} s without an answer … After {} s the call … within {} s",
        [signaling.RETRY_AFTER, signaling.CALL_TIMEOUT, signaling.ANSWER_LIFETIME],
    ),
    ("Calls", "up to {} further", [signaling.RESENDS]),
    ("Calls", "by {} hours", [CLOCK_TOLERANCE / 3600]),
    (
        "Calls",
        "{} offers of one sender at once and {} a second; of all strangers {} and {}; of all peers we have called "
        "{} and {}",
        [
            signaling_guard.SENDER_BURST,
            signaling_guard.SENDER_RATE,
            signaling_guard.STRANGER_BURST,
            signaling_guard.STRANGER_RATE,
            signaling_guard.KNOWN_BURST,
            signaling_guard.KNOWN_RATE,
        ],
    ),
    (
        "Offer and answer",
        "in {} bytes and {} for each IPv4 address, {} for each IPv6 address … {} at the largest",
        [described(0, "192.0.2.1"), IPV4, IPV6, LARGEST_OFFER],
    ),
    (
        "Offer and answer",
        "{}-{} ice-chars (RFC 8839), password {}-{}; at most {} candidates",
        [*offer.UFRAG_LENGTH, *offer.PASSWORD_LENGTH, offer.MAX_CANDIDATES],
    ),
    ("Offer and answer", "Version is {}.", [offer.VERSION]),
    ("The channel", "at most {} bytes", [stream_frames.MAX_MESSAGE]),
    ("Lasting links", "{} bytes at most. Control", [continuity.MAX_KEPT]),
    ("Lasting links", "Version is {}.", [continuity.VERSION]),
    ("Lasting links", "is {} random bytes", [continuity.LINK_ID_BYTES]),
    ("Lasting links", "by at most {} more", [continuity.MAX_SKIP]),
    (
        "Lasting links",
        "After {} messages, after {} bytes, or after {} s",
        [continuity.ACK_MESSAGES, continuity.ACK_BYTES, lasting_channel.ACK_DELAY],
    ),
    (
        "Lasting links",
        "{} s of silence make a path suspect, or {} round trips up to {} s … after {} s of silence … every {} s. "
        "One answer in {} s",
        [
            liveness.SILENT_FOR,
            liveness.ROUND_TRIPS,
            liveness.LONGEST_WAIT,
            liveness.ASK_AFTER,
            liveness.ASK_SELDOM,
            liveness.MIN_PROBED_GAP,
        ],
    ),
    (
        "Lasting links",
        "waits {} s for another one … has {} s",
        [liveness.SUSPENDED_FOR, lasting_greeting.GREETING_TIMEOUT],
    ),
    ("Streams", "name: 1-{} bytes", [stream_frames.MAX_NAME_BYTES]),
    ("Streams", "up to {} bytes of UTF-8: nothing follows", [stream_frames.MAX_CLOSE_TEXT]),
    ("Streams", "{} from us", [stream_frames.MAX_PAYLOAD]),
    ("Streams", "At most {} streams of a side", [stream_events.StreamConfig().max_streams]),
    (
        "Streams",
        "begins with {} bytes of credit in each direction, the connection with {}",
        [stream_events.INITIAL_STREAM_WINDOW, stream_events.INITIAL_CONNECTION_WINDOW],
    ),
    (
        "Streams",
        "raise them to {} and {}",
        [stream_events.StreamConfig().stream_window, stream_events.StreamConfig().connection_window],
    ),
    ("Streams", "by turns of {} bytes", [stream_outbox.QUANTUM]),
    (
        "Streams",
        "At most {} answers wait … more than {} control frames",
        [stream_outbox.MAX_PENDING_PONGS, streams.MAX_CONTROL_BACKLOG],
    ),
    ("Dialling with no answer", "At most {} bytes", [dialing.LONGEST]),
    ("Dialling with no answer", "within {}-{} s", [dialing.SLOT, 2 * dialing.SLOT]),
    ("Dialling with no answer", "SOFTWARE ({} bytes)", [dialing.SOFTWARE_PADDING]),
    ("Dialling with no answer", "{} s without any datagram", [answerless_listen.SILENCE]),
    ("Relays", "at most {})", [circuit.MAX_MESSAGE]),
    ("Relays", "less than {} bytes a second", [relaying.RelayLimits().least_share]),
    (
        "Relays",
        "{} circuits, {} ends that wait, or {} reservations",
        [relaying.RelayLimits().circuits, relaying.RelayLimits().half_joined, relaying.RelayLimits().reservations],
    ),
    (
        "Relays",
        "{} circuits of a peer, {} of its",
        [relaying.RelayLimits().per_peer, relaying.RelayLimits().per_prefix],
    ),
    ("Relays", "more than {} requests", [relaying.RelayLimits().joins_a_minute]),
    ("Relays", "more than {} relays", [circuit.MAX_RELAYS]),
    ("Relays", "nothing for {} s", [relaying.RelayLimits().idle_seconds]),
    ("Relays", "An end waits {} s", [relaying.RelayLimits().half_joined_seconds]),
    ("Relays", "every {}.", [circuit_seal.REKEY_EVERY]),
    ("Relays", "1-{} bytes", [circuit_end.MAX_MESSAGE]),
    ("Relays", "After {} bytes or {} s", [circuit_end.ACK_EVERY, circuit_end.ACK_DELAY]),
    ("Relays", "After {} s in which", [circuit_end.KEEPALIVE]),
    ("Relays", "At most {} bytes of messages", [circuit_end.WINDOW]),
    ("Relays", "so do {} s of silence", [circuit_end.SILENCE]),
    ("Files", "1-{})", [transfer.MAX_MESSAGE]),
    ("Files", "as many as allowed ({})", [files.DEFAULT_PARALLEL]),
]


@pytest.mark.parametrize("title, text, numbers", FACTS, ids=[text for _, text, _ in FACTS])
def test_numbers_are_those_of_the_code(title: str, text: str, numbers: list[float]) -> None:
    wanted = text.format(*(f"{number:,g}" if number < 1000 else f"{number:,.0f}" for number in numbers))
    pattern = ".*?".join(re.escape(piece.strip()) for piece in wanted.split("…"))
    assert re.search(rf"(?<![\d,.]){pattern}", " ".join(section(title).split())), wanted


def test_names_on_the_wire_are_written_out() -> None:
    assert f"`{transfer.STREAM_NAME}`" in section("Files")
    assert SEALING._DOMAIN == b"rookery/signal/1\0"
    assert '"rookery/signal/1" ‖ zero byte ‖' in section("Sealed signals")


def test_every_message_has_frozen_bytes() -> None:
    assert {vector["kind"] for vector in vectors("signaling")["valid"]} == set(signaling_seal.SignalKind)
    kinds = {vector["kind"].upper() for vector in vectors("offer")["valid"]}
    assert kinds == {kind.name for kind in offer.Kind}
    control = vectors("continuity")["valid"]
    assert {vector["kind"] for vector in control} == {kind.name for kind in continuity.Control}
    assert {vector["word"] for vector in control if "word" in vector} == {word.name for word in continuity.Word}
    assert {vector["type"] for vector in vectors("streams")["frames"]} == {
        kind.name for kind in stream_frames.FrameType
    }
    assert {vector["code"] for vector in vectors("streams")["invalid"]} >= {"PROTOCOL", "FLOW_CONTROL"}
    conversations = vectors("transfer")["conversations"]
    messages = {step["message"] for each in conversations for step in each["steps"]} - {"data"}
    assert messages | {"REFUSE"} == {message.name for message in TRANSFER_MESSAGES}
    assert vectors("transfer")["refusals"]
    assert vectors("peer_record")["valid"]


@pytest.mark.parametrize("name", ["signaling", "offer", "continuity", "streams", "transfer", "peer_record"])
def test_every_protocol_has_frozen_rubbish(name: str) -> None:
    frozen = vectors(name)
    assert len(frozen.get("refused") or frozen["invalid"]) > 5


def test_the_pages_name_every_file_of_vectors_and_no_other() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    named_files = set(re.findall(r"\b([a-z0-9_]+\.json)`", pages))
    there = {path.name for path in VECTORS.glob("*.json")}
    assert there - named_files == set()
    links = set(re.findall(r"`tests/vectors/([a-z0-9_]+\.json)`", PAGE))
    assert links == {
        f"{name}.json"
        for name in (
            "peer_record",
            "signaling",
            "offer",
            "dialing",
            "handshake",
            "circuits",
            "refusals",
            "continuity",
            "streams",
            "transfer",
        )
    }


def test_the_pages_link_to_each_other() -> None:
    for name in ("protocol.md", "architecture.md"):
        assert "](protocol-links.md" in (ROOT / "docs" / name).read_text(encoding="utf-8"), name
    for file, anchor in re.findall(r"\]\(([a-z-]*\.?m?d?)#([a-z-]+)\)", PAGE):
        target = (ROOT / "docs" / file).read_text(encoding="utf-8") if file else PAGE
        headings = {
            re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.+)$", target, re.M)
        }
        assert anchor in headings, f"{file}#{anchor}"


def test_every_attack_of_the_threat_model_has_a_limit_and_a_test() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| attack \| what bounds it \| shown by \|\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.M)
    rows = [row.strip("| ").split(" | ") for table in tables for row in table.splitlines()]
    assert len(tables) >= 7
    assert [row for row in rows if len(row) != 3 or not re.search(r"`tests/[a-z0-9_/]+\.py`", row[2])] == []
