"""The draft of a list: the TOML that an operator writes by hand.

This file is lenient about how addresses and keys are written and strict about everything else: an unknown field is a
typing mistake. It refuses to know about signatures and files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bootstrap.contacts import FirstContact, parse_endpoint, read_contact, write_contact
from bootstrap.firstcontacts import check_network
from bootstrap.refusals import ListRefused
from bootstrap.trust import TrustRoot, read_key
from dht.errors import LocalError

DEFAULT_LIFETIME_DAYS: Final = 30.0
"""UNSOURCED: an operator who signs monthly; Tor's consensus lives hours, but is signed by machines."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft, read and checked."""

    path: Path
    network: str
    lifetime: int
    """Seconds."""
    sequence: int | None
    trust: TrustRoot
    next_trust: TrustRoot | None
    contacts: tuple[FirstContact, ...]


class _TrustForm(msgspec.Struct, forbid_unknown_fields=True):
    signers: list[str]
    threshold: int


class _ContactForm(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    address: list[str] | str
    label: str = ""


class _DraftForm(msgspec.Struct, forbid_unknown_fields=True):
    trust: _TrustForm
    network: str = "main"
    lifetime_days: float = DEFAULT_LIFETIME_DAYS
    sequence: int | None = None
    next_trust: _TrustForm | None = None
    contact: list[_ContactForm] = []


def read_draft(data: bytes, path: Path, *, trust_only: bool = False) -> Draft:
    """Read a draft; with `trust_only`, one without contacts will do. Raises `LocalError` that names `path`."""
    try:
        form = msgspec.toml.decode(data, type=_DraftForm)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise LocalError(f"{path} is not a draft: {problem}") from None
    try:
        check_network(form.network)
        contacts = tuple(map(_contact, form.contact))
        trust = TrustRoot.parse(form.trust.signers, form.trust.threshold)
        next_trust = TrustRoot.parse(form.next_trust.signers, form.next_trust.threshold) if form.next_trust else None
    except (LocalError, ListRefused) as problem:
        raise LocalError(f"{path}: {problem}") from None
    if not contacts and not trust_only:
        raise LocalError(f"{path} has no [[contact]]: a list needs at least one")
    if not 0 < form.lifetime_days < 1e6:
        raise LocalError(f"{path}: lifetime_days = {form.lifetime_days} must be more than 0")
    lifetime = max(1, int(form.lifetime_days * 86400))
    return Draft(path, form.network, lifetime, form.sequence, trust, next_trust, contacts)


def _contact(form: _ContactForm) -> FirstContact:
    key = read_key(form.key.strip().lower())
    if key is None:
        raise LocalError(f"contact {form.label!r}: {form.key!r} is not a node key of 52 characters")
    endpoints = [parse_endpoint(each) for each in ([form.address] if isinstance(form.address, str) else form.address)]
    contact = FirstContact(
        key,
        tuple(endpoint for endpoint, named in endpoints if not named),
        tuple(endpoint for endpoint, named in endpoints if named),
        form.label,
    )
    return read_contact(write_contact(contact))
