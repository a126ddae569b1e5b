"""The signed first-contact list: its encoding, its limits and its verification. Pure: no files, sockets or clocks.

One file form, JSON that any web server can hand out:

    {"format": "rookery-first-contacts/1", "payload": BASE64, "signatures": [...], "rotations": [...]}

`payload` is the exact bytes that are signed, itself JSON in one canonical encoding. Signing bytes and not a parsed
document keeps parsers out of what a signature means (the reasoning of DSSE, which in-toto and Sigstore use).
`ListFile` is unverified and `VerifiedList` is verified: only `verify` makes the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from bootstrap.contacts import ContactForm, FirstContact, read_contact, write_contact
from bootstrap.refusals import ListRefused, Refusal
from bootstrap.trust import (
    MAX_ROTATIONS,
    Rotation,
    Signature,
    SignatureForm,
    SignedForm,
    TrustRoot,
    TrustState,
    decode_exact,
    read_rotation,
    read_signatures,
    valid_signers,
    write_signed,
)
from dht.identity import PublicKey
from dht.records import CLOCK_TOLERANCE

FORMAT: Final = "rookery-first-contacts/1"

LIST_DOMAIN: Final = b"rookery/first-contacts/1\x00"
"""Prefix of what is signed: a list's signature means nothing on a rotation or a record, nor theirs here."""

MAX_FILE: Final = 128 * 1024
"""Largest file in bytes. UNSOURCED: a full list, 64 signatures and 16 rotations of usual size stay below it."""

MAX_LIST_CONTACTS: Final = 128
"""Most contacts. UNSOURCED: the Bitcoin and Tor clients ship lists of this order; a join needs a handful alive."""

MAX_LIST_LIFETIME: Final = 366 * 86400
"""Longest time from issue to expiry, in seconds. UNSOURCED: a year, as TUF's root metadata usually lives; an expiry
bounds how long an old list can be passed off as the current one (the freeze attack of the TUF specification)."""

MAX_SEQUENCE: Final = (1 << 64) - 1
"""Sequence numbers are unsigned 64-bit integers."""

MAX_NETWORK: Final = 64
"""Most characters of a network's name. UNSOURCED."""


@dataclass(frozen=True, slots=True)
class FirstContacts:
    """What a list says. Times are Unix seconds."""

    network: str
    sequence: int
    issued_at: int
    expires_at: int
    contacts: tuple[FirstContact, ...]


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list as somebody handed it over: well-formed, not verified."""

    content: FirstContacts
    payload: bytes
    signatures: tuple[Signature, ...]
    rotations: tuple[Rotation, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifiedList:
    """A list that enough trusted signers have signed, for our network. Only `verify` makes one."""

    content: FirstContacts
    payload: bytes
    signed_by: frozenset[PublicKey]
    """The trusted signers whose signatures hold."""
    trust: TrustState
    """The trust root in force after the list's rotations."""
    expired: bool
    """True only where the caller asked for expired lists too: its contacts are hints, nothing more."""


class PayloadForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed, in JSON; the fields in this order."""

    network: str
    sequence: int
    issued_at: int
    expires_at: int
    contacts: list[ContactForm]


class FileForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file, in JSON; spaces and order are free, since no signature covers them."""

    format: str
    payload: bytes
    signatures: list[SignatureForm]
    rotations: list[SignedForm] = []


class _FormatForm(msgspec.Struct, frozen=True):
    format: str


def encode_payload(content: FirstContacts) -> bytes:
    """Return the bytes to sign. Raises `ListRefused` where a list of this content would be refused."""
    form = PayloadForm(
        content.network,
        content.sequence,
        content.issued_at,
        content.expires_at,
        [write_contact(contact) for contact in content.contacts],
    )
    payload = msgspec.json.encode(form)
    _read_payload(payload)
    return payload


def encode_file(file: ListFile) -> bytes:
    """Return the file's bytes: indented JSON, ending in a newline."""
    form = FileForm(
        FORMAT,
        file.payload,
        write_signed(file.payload, file.signatures).signatures,
        [write_signed(each.payload, each.signatures) for each in file.rotations],
    )
    return msgspec.json.format(msgspec.json.encode(form), indent=2) + b"\n"


def decode_file(data: bytes) -> ListFile:
    """Read any bytes as a list, without judging signatures or times. Raises `ListRefused`, and nothing else."""
    if len(data) > MAX_FILE:
        raise ListRefused(Refusal.TOO_LARGE, f"the list has {len(data)} bytes; at most {MAX_FILE} are read")
    try:
        named = msgspec.json.decode(data, type=_FormatForm).format
        if named != FORMAT:
            raise ListRefused(
                Refusal.UNKNOWN_FORMAT, f"format {named[:40]!r} is not {FORMAT!r}: a newer Rookery may read it"
            )
        form = msgspec.json.decode(data, type=FileForm)
    except (msgspec.MsgspecError, RecursionError, ValueError) as problem:
        raise ListRefused(Refusal.MALFORMED, f"not a first-contact list: {problem}") from None
    if len(form.rotations) > MAX_ROTATIONS:
        raise ListRefused(
            Refusal.TOO_LARGE, f"the list has {len(form.rotations)} rotations; {MAX_ROTATIONS} are allowed"
        )
    return ListFile(
        _read_payload(form.payload),
        form.payload,
        read_signatures(form.signatures),
        tuple(read_rotation(each) for each in form.rotations),
    )


def verify(
    file: ListFile,
    trust: TrustState | TrustRoot,
    network: str,
    now: float,
    known: VerifiedList | None = None,
    *,
    accept_expired: bool = False,
) -> VerifiedList:
    """Return the list as verified, or raise `ListRefused` with the first reason against it.

    `known` is the last list that was taken: its trust state is in force and nothing older than it counts.
    Signatures are judged first, so that every later message speaks of what the signers really wrote.
    """
    content = file.content
    if content.network != network:
        raise ListRefused(Refusal.WRONG_NETWORK, f"the list is for network {content.network!r}, not {network!r}")
    state = known.trust if known else trust if isinstance(trust, TrustState) else TrustState(trust)
    state = state.follow(file.rotations, network)
    signed_by = valid_signers(LIST_DOMAIN, file.payload, file.signatures, state.root.signers)
    if not state.root.accepts(signed_by):
        raise ListRefused(Refusal.NOT_ENOUGH_SIGNATURES, _missing(file, state.root, signed_by))
    clock = f"the local clock says {moment(now)}: set it if that is wrong"
    if content.issued_at > now + CLOCK_TOLERANCE:
        raise ListRefused(
            Refusal.NOT_YET_VALID, f"list {content.sequence} was issued at {moment(content.issued_at)}, but {clock}"
        )
    if known and content.sequence < known.content.sequence:
        raise ListRefused(
            Refusal.LOWER_SEQUENCE,
            f"list {content.sequence} is older than list {known.content.sequence}, which was seen before",
        )
    if known and content.sequence == known.content.sequence and file.payload != known.payload:
        raise ListRefused(
            Refusal.CONFLICT,
            f"list {content.sequence} was seen before with other contents: its signers must issue a higher sequence",
        )
    expired = now >= content.expires_at
    if expired and not accept_expired:
        raise ListRefused(Refusal.EXPIRED, f"list {content.sequence} expired at {moment(content.expires_at)}; {clock}")
    return VerifiedList(content, file.payload, signed_by, state, expired)


def moment(seconds: float) -> str:
    """Write a time for people, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s after 1970"


def check_network(network: str) -> None:
    """Raise `ListRefused` unless `network` can name a network."""
    if not 1 <= len(network) <= MAX_NETWORK or not network.isprintable() or network != network.strip():
        raise ListRefused(
            Refusal.MALFORMED, f"network {network[:MAX_NETWORK]!r} is not 1 to {MAX_NETWORK} printable characters"
        )


def _read_payload(payload: bytes) -> FirstContacts:
    form = decode_exact(payload, PayloadForm, "the list's payload")
    check_network(form.network)
    if not 0 <= form.sequence <= MAX_SEQUENCE:
        raise ListRefused(Refusal.MALFORMED, f"sequence {form.sequence} is not a 64-bit number")
    if not (0 <= form.issued_at < 1 << 53 and 0 <= form.expires_at < 1 << 53):
        raise ListRefused(Refusal.MALFORMED, "a time is out of range")
    if not 0 < form.expires_at - form.issued_at <= MAX_LIST_LIFETIME:
        raise ListRefused(
            Refusal.TOO_LONG_LIVED,
            f"the list would live {(form.expires_at - form.issued_at) / 86400:.1f} days; "
            f"more than 0 and at most {MAX_LIST_LIFETIME // 86400} are allowed",
        )
    if len(form.contacts) > MAX_LIST_CONTACTS:
        raise ListRefused(
            Refusal.TOO_LARGE, f"the list has {len(form.contacts)} contacts; {MAX_LIST_CONTACTS} are allowed"
        )
    contacts = tuple(map(read_contact, form.contacts))
    if len({contact.key for contact in contacts}) != len(contacts):
        raise ListRefused(Refusal.BAD_CONTACT, "a node key stands in the list twice")
    if not contacts:
        raise ListRefused(Refusal.BAD_CONTACT, "the list has no contact")
    return FirstContacts(form.network, form.sequence, form.issued_at, form.expires_at, contacts)


def _missing(file: ListFile, root: TrustRoot, signed_by: frozenset[PublicKey]) -> str:
    signed = ", ".join(sorted(key.short for key in signed_by)) or "nobody"
    claimed = {entry.signer for entry in file.signatures}
    broken = claimed & root.signers - signed_by
    strangers = claimed - root.signers
    parts = [f"{len(signed_by)} of the {root.threshold} signatures that are needed (valid: {signed}"]
    if broken:
        parts.append(f"; wrong: {', '.join(sorted(key.short for key in broken))}")
    if strangers:
        parts.append(f"; not trusted: {', '.join(sorted(key.short for key in strangers))}")
    return f"list {file.content.sequence} has {''.join(parts)})"
