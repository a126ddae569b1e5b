"""The whereabouts of peers: where each was when it was last linked, kept beyond the process.

The first rung of the ladder. Decides what is remembered of a link, how many peers, for how long, and what takes an
address out again. Refuses to believe any of it: a link proves who answers. What is kept is a signed record's content or
the address a peer came from, never what a third party says of it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from dht.constants import KEY_BYTES
from dht.contact import PACKED_V4, PACKED_V6, Contact, unpack_contact
from dht.errors import DecodeError, RookeryError
from dht.identity import PublicKey
from node.ports import Hint
from node.storage import DropMeta, Meta, Snapshot, Storage, StorageClosed

log = logging.getLogger("rookery.whereabouts")

MAX_PEERS: Final = 512
"""Peers remembered, the latest linked: twice the links a node may have at once. About 400 bytes each."""

MAX_AGE: Final = 14 * 86_400.0
"""Seconds after which an address is not tried any more. UNSOURCED: addresses of homes change after days to weeks, and a
stale one costs the 50 ms that the DHT leaves it."""

MAX_CONTACTS: Final = 4
"""Endpoints, and home nodes, kept of one peer: a record names at most two and three."""

PREFIX: Final = "linked/"
"""Of the names of the journal's rows."""

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Remembered:
    """Where a peer was."""

    hint: Hint
    path: str
    """How the link ran: host, srflx, relay …"""
    when: float
    """Unix seconds of the last link."""

    def to_bytes(self) -> bytes:
        """For the journal."""
        hint = self.hint
        direct, homes = ([one.packed for one in part[:MAX_CONTACTS]] for part in (hint.direct, hint.homes))
        return msgspec.msgpack.encode([VERSION, self.when, self.path, hint.fingerprint, direct, homes])

    @classmethod
    def from_bytes(cls, data: bytes) -> Remembered:
        """From the journal. Raises `DecodeError`."""
        try:
            said = msgspec.msgpack.decode(data, type=tuple[int, float, str, bytes, list[bytes], list[bytes]])
        except msgspec.DecodeError as error:
            raise DecodeError("remembered address", str(error)) from None
        version, when, path, fingerprint, direct, homes = said
        if version != VERSION or len(fingerprint) not in (0, KEY_BYTES):
            raise DecodeError("remembered address", f"version {version}, a fingerprint of {len(fingerprint)} bytes")
        hint = Hint(_contacts(direct), _contacts(homes), fingerprint)
        return cls(hint, path, when)


class Whereabouts:
    """Remembers the peers of one identity. A `PeerSource`."""

    name = "cache"

    def __init__(self, storage: Storage, now: Callable[[], float], *, size: int = MAX_PEERS) -> None:
        """`size` 0 remembers nothing."""
        self._storage = storage
        self._now = now
        self._size = size
        self._peers: OrderedDict[PublicKey, Remembered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._peers)

    def restore(self, snapshot: Snapshot) -> None:
        """Take in what an earlier run remembered; what is too old, too much or unreadable leaves the journal."""
        found: list[tuple[float, PublicKey, Remembered]] = []
        for name, value in snapshot.meta.items():
            if not name.startswith(PREFIX):
                continue
            try:
                peer, kept = PublicKey.parse(name.removeprefix(PREFIX)), Remembered.from_bytes(value)
            except RookeryError as error:
                log.warning("the journal's row %s says nothing: %s", name, error)
                self._write(DropMeta(name))
                continue
            if not self._size or self._now() - kept.when > MAX_AGE:
                self._write(DropMeta(name))
                continue
            found.append((kept.when, peer, kept))
        for _, peer, kept in sorted(found, key=lambda one: one[0]):
            self._peers[peer] = kept
        self._bound()

    async def find(self, peer: PublicKey) -> Hint | None:
        """Where a peer was; None for one that is not known, or not for long."""
        kept = self._peers.get(peer)
        if kept is None:
            return None
        if self._now() - kept.when > MAX_AGE:
            self.forget(peer)
            return None
        return kept.hint

    def note(self, peer: PublicKey, hint: Hint, path: str) -> None:
        """A link with `peer` has come of `hint`."""
        if not self._size or not (hint.direct or hint.homes):
            return
        self._peers[peer] = kept = Remembered(hint, path, self._now())
        self._peers.move_to_end(peer)
        self._write(Meta(PREFIX + peer.text, kept.to_bytes()))
        self._bound()

    def wrong(self, peer: PublicKey, hint: Hint) -> None:
        """Somebody else is where a hint led: its endpoints are not tried again."""
        kept = self._peers.get(peer)
        if kept is None or not set(kept.hint.direct) & set(hint.direct):
            return
        left = tuple(one for one in kept.hint.direct if one not in hint.direct)
        if not left and not kept.hint.homes:
            self.forget(peer)
            return
        kept = replace(kept, hint=replace(kept.hint, direct=left))
        self._peers[peer] = kept
        self._write(Meta(PREFIX + peer.text, kept.to_bytes()))

    def forget(self, peer: PublicKey) -> None:
        """Remember nothing of a peer."""
        if self._peers.pop(peer, None) is not None:
            self._write(DropMeta(PREFIX + peer.text))

    def _bound(self) -> None:
        while len(self._peers) > self._size:
            peer, _ = self._peers.popitem(last=False)
            self._write(DropMeta(PREFIX + peer.text))

    def _write(self, change: Meta | DropMeta) -> None:
        try:
            self._storage.write(change)
        except StorageClosed:
            log.debug("the journal was closed before a peer's whereabouts were written")


def _contacts(packed: list[bytes]) -> tuple[Contact, ...]:
    if len(packed) > MAX_CONTACTS or any(len(one) not in (PACKED_V4, PACKED_V6) for one in packed):
        raise DecodeError("remembered address", f"{len(packed)} contacts, or one that is cut short")
    return tuple(contact for one in packed if (contact := unpack_contact(one)) is not None)
