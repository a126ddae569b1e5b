"""What an operator does with lists and keys: make a key, sign, verify, show. Plain functions on files.

This file decides file forms and order of work. It refuses to print: every function returns what happened, and raises
`LocalError` with one clear line when it cannot be done.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from bootstrap.drafts import Draft, read_draft
from bootstrap.firstcontacts import (
    LIST_DOMAIN,
    MAX_FILE,
    MAX_SEQUENCE,
    FirstContacts,
    ListFile,
    VerifiedList,
    decode_file,
    encode_file,
    encode_payload,
    moment,
    verify,
)
from bootstrap.keys import load_key, make_key
from bootstrap.refusals import ListRefused, Refusal
from bootstrap.store import read_file, replace_file
from bootstrap.trust import MAX_ROTATIONS, ROTATION_DOMAIN, Rotation, TrustRoot, add_signature, make_rotation
from dht.errors import LocalError
from dht.identity import IdentityKey, PublicKey
from dht.records import CLOCK_TOLERANCE


@dataclass(frozen=True, slots=True)
class SignReport:
    """What `sign` wrote."""

    path: Path
    content: FirstContacts
    signer: PublicKey
    signed_by: frozenset[PublicKey]
    """Everybody whose signature is on the list now."""
    created: bool
    """Whether the list was made from a draft just now."""
    rotations: tuple[Rotation, ...]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Whether a list would be taken, and if not, why."""

    file: ListFile | None
    """None when the bytes are no list at all."""
    verified: VerifiedList | None
    refusal: Refusal | None
    message: str

    @property
    def accepted(self) -> bool:
        """Whether a node with this trust root would take the list now."""
        return self.verified is not None


def keygen(path: Path) -> PublicKey:
    """Make a signer key, write it to `path` for its owner alone, and return its public half. Never overwrites."""
    return make_key(path).public


def sign(source: Path, key_path: Path, output: Path | None = None, now: float | None = None) -> SignReport:
    """Sign with the key in `key_path`: a draft (TOML) becomes a list at `output`, a list gets one signature more.

    A list made from a draft takes the next sequence number after the one that `output` holds, and its rotations. The
    key signs whatever rotations name it.
    """
    now = time.time() if now is None else now
    key = load_key(key_path)
    data = _read(source)
    created = not data.lstrip().startswith(b"{")
    if created:
        target = output or source.with_suffix(".json")
        file = _from_draft(read_draft(data, source), target, key.public, now)
    else:
        target = output or source
        file = _decode(data, source)
        _check_clock(file, now, source)
        if now >= file.content.expires_at:
            raise LocalError(f"{source} expired at {moment(file.content.expires_at)}: make a new list from its draft")
    file = _add(file, key)
    replace_file(target, encode_file(file))
    signed_by = frozenset(
        each.signer for each in file.signatures if each.signer.verify(each.signature, LIST_DOMAIN + file.payload)
    )
    return SignReport(target, file.content, key.public, signed_by, created, file.rotations)


def show(path: Path) -> ListFile:
    """Read the list at `path`, without judging it. Raises `LocalError`."""
    return _decode(_read(path), path)


def verify_file(path: Path, trust: TrustRoot, network: str | None = None, now: float | None = None) -> VerifyReport:
    """Say whether a node that trusts `trust` would take the list at `path`. Without `network`, the list's own is asked.

    Raises `LocalError` when the file cannot be read; whatever is wrong with its contents is in the report.
    """
    file: ListFile | None = None
    try:
        file = decode_file(read_file(path, MAX_FILE))
        asked = file.content.network if network is None else network
        verified = verify(file, trust, asked, time.time() if now is None else now)
    except ListRefused as refused:
        return VerifyReport(file, None, refused.reason, refused.message)
    count = len(verified.content.contacts)
    return VerifyReport(
        file,
        verified,
        None,
        f"list {verified.content.sequence} with {count} contact{'' if count == 1 else 's'} is good",
    )


def trust_of(path: Path) -> TrustRoot:
    """Return the trust root in the `[trust]` table of a draft or trust file."""
    return read_draft(_read(path), path, trust_only=True).trust


def _from_draft(draft: Draft, target: Path, signer: PublicKey, now: float) -> ListFile:
    allowed = draft.trust.signers | (draft.next_trust.signers if draft.next_trust else frozenset())
    if signer not in allowed:
        raise LocalError(f"key {signer.text} is not among the signers in {draft.path}: add it, or use another key")
    previous = _decode(_read(target), target) if target.exists() else None
    sequence = draft.sequence
    rotations: tuple[Rotation, ...] = ()
    if previous is not None:
        if previous.content.network != draft.network:
            raise LocalError(f"{target} is the list of network {previous.content.network!r}, not {draft.network!r}")
        _check_clock(previous, now, target)
        if sequence is None:
            sequence = previous.content.sequence + 1
        if not previous.content.sequence < sequence <= MAX_SEQUENCE:
            raise LocalError(
                f"sequence {sequence} does not follow {previous.content.sequence} of {target}: nodes would refuse it"
            )
        rotations = previous.rotations
    if draft.next_trust and draft.next_trust != draft.trust:
        rotations = _with_rotation(rotations, draft.network, draft.trust, draft.next_trust)
    issued_at = int(now)
    content = FirstContacts(
        draft.network,
        1 if sequence is None else sequence,
        issued_at,
        issued_at + draft.lifetime,
        draft.contacts,
    )
    try:
        return ListFile(content, encode_payload(content), (), rotations)
    except ListRefused as refused:
        raise LocalError(f"{draft.path}: {refused.message}") from None


def _with_rotation(
    rotations: tuple[Rotation, ...], network: str, old: TrustRoot, new: TrustRoot
) -> tuple[Rotation, ...]:
    if any(each.old == old and each.new == new for each in rotations):
        return rotations
    if len(rotations) >= MAX_ROTATIONS:
        raise LocalError(f"the list carries {MAX_ROTATIONS} rotations already: drop the oldest by hand")
    number = max((each.number for each in rotations), default=0) + 1
    return (*rotations, make_rotation(network, number, old, new))


def _add(file: ListFile, key: IdentityKey) -> ListFile:
    rotations = tuple(
        replace(each, signatures=add_signature(each.signatures, ROTATION_DOMAIN, each.payload, key))
        if key.public in each.old.signers | each.new.signers
        else each
        for each in file.rotations
    )
    return replace(file, signatures=add_signature(file.signatures, LIST_DOMAIN, file.payload, key), rotations=rotations)


def _check_clock(file: ListFile, now: float, path: Path) -> None:
    ahead = file.content.issued_at - now
    if ahead > CLOCK_TOLERANCE:
        raise LocalError(
            f"{path} was issued at {moment(file.content.issued_at)}, {ahead / 3600:.1f} h ahead of the local clock "
            f"({moment(now)}): set the clock, then sign again"
        )


def _read(path: Path) -> bytes:
    data = read_file(path, MAX_FILE)
    if len(data) > MAX_FILE:
        raise LocalError(f"{path} has more than {MAX_FILE} bytes: it is neither a list nor a draft")
    return data


def _decode(data: bytes, path: Path) -> ListFile:
    try:
        return decode_file(data)
    except ListRefused as refused:
        raise LocalError(f"{path} is not a usable list: {refused.message}") from None
