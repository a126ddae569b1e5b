"""Keys, contents and files that every test of this folder starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bootstrap.contacts import FirstContact
from bootstrap.firstcontacts import LIST_DOMAIN, FirstContacts, ListFile, encode_file, encode_payload
from bootstrap.trust import ROTATION_DOMAIN, Rotation, TrustRoot, add_signature
from dht.identity import IdentityKey, NodeKey

NOW = 1_800_000_000


@dataclass(frozen=True)
class Signers:
    """Six fixed keys; the first three are the trust root, 2 of 3."""

    keys: tuple[IdentityKey, ...]

    @property
    def root(self) -> TrustRoot:
        return TrustRoot(frozenset(key.public for key in self.keys[:3]), 2)

    @property
    def next_root(self) -> TrustRoot:
        return TrustRoot(frozenset(key.public for key in self.keys[3:]), 2)


@pytest.fixture
def signers() -> Signers:
    return Signers(tuple(IdentityKey.from_seed(bytes([number]) * 32) for number in range(1, 7)))


@pytest.fixture
def content() -> FirstContacts:
    contacts = (
        FirstContact(NodeKey.from_secret(b"\x21" * 32).public, (("192.0.2.1", 7700),), label="first"),
        FirstContact(
            NodeKey.from_secret(b"\x22" * 32).public,
            (("2001:db8::1", 7700),),
            (("node.example.org", 7701),),
            "zweite ü",
        ),
    )
    return FirstContacts("testnet", 7, NOW - 86400, NOW + 86400, contacts)


@pytest.fixture
def make(signers: Signers, content: FirstContacts) -> Callable[..., ListFile]:
    """Make a list signed by the numbered keys, with fields of the content replaced."""

    def _make(*numbers: int, rotations: tuple[Rotation, ...] = (), **changes: Any) -> ListFile:
        changed = replace(content, **changes)
        file = ListFile(changed, encode_payload(changed), (), rotations)
        for number in numbers:
            signatures = add_signature(file.signatures, LIST_DOMAIN, file.payload, signers.keys[number])
            file = replace(file, signatures=signatures)
        return file

    return _make


@pytest.fixture
def make_bytes(make: Callable[..., ListFile]) -> Callable[..., bytes]:
    return lambda *numbers, **changes: encode_file(make(*numbers, **changes))


@pytest.fixture
def sign_rotation(signers: Signers) -> Callable[..., Rotation]:
    def _sign(rotation: Rotation, *numbers: int) -> Rotation:
        for number in numbers:
            signatures = add_signature(rotation.signatures, ROTATION_DOMAIN, rotation.payload, signers.keys[number])
            rotation = replace(rotation, signatures=signatures)
        return rotation

    return _sign
