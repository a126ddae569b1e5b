"""The home node's side of meeting: who is registered here, and how signals reach them.

Entries are of two kinds: an identity registered by its own signature, and a reply handle that a SIGNAL brought along
for its answer. What is forwarded is sealed; this file sees recipient, sender and size.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from dht.config import DhtConfig
from dht.constants import MAX_ENTRY
from dht.contact import Contact
from dht.identity import PublicKey, verify_strict
from dht.limits import RateLimiter
from dht.records import CLOCK_TOLERANCE, Refusal, peer_place

REPLY_LIFETIME: Final = 30.0
"""Seconds a reply handle lives. UNSOURCED: ten times the time a meeting may take."""

_DOMAIN: Final = b"rookery/register/1\x00"


def registration_message(owner_node: bytes, home_node: bytes, token: bytes, expires: int) -> bytes:
    """What an identity signs to be forwarded to: bound to its node, this home node and its token, so that a captured
    registration works nowhere else and no longer than the token."""
    return _DOMAIN + owner_node + home_node + len(token).to_bytes(1, "big") + token + expires.to_bytes(8, "big")


@dataclass(slots=True)
class Entry:
    """Where signals for a recipient go."""

    contact: Contact
    expires: float


class Forwarding:
    """The entries, bounded and expiring."""

    def __init__(self, config: DhtConfig, own_key: bytes) -> None:
        self._config = config
        self._own_key = own_key
        self._entries: dict[bytes, Entry] = {}
        self._handles: OrderedDict[bytes, Entry] = OrderedDict()
        self._rate = RateLimiter(config.signal_rate, config.signal_rate * 4)
        self._full_until = 0.0
        """No entry ends before this."""

    def __len__(self) -> int:
        return len(self._entries)

    def register(
        self,
        owner: bytes,
        contact: Contact,
        token: bytes,
        expires: int,
        signature: bytes,
        now: float,
        *,
        wanted: float = 0.0,
    ) -> tuple[Refusal, float]:
        """Set up or renew the entry of an identity. Returns the refusal and the lifetime in seconds: `wanted`, if that
        is longer than the ordinary one and there is room."""
        if not now - CLOCK_TOLERANCE < expires < now + CLOCK_TOLERANCE + self._config.home_lifetime:
            return Refusal.EXPIRED, 0.0
        message = registration_message(contact.key, self._own_key, token, expires)
        if not verify_strict(owner, signature, message):
            return Refusal.BAD_SIGNATURE, 0.0
        place = peer_place(PublicKey(owner))
        if place not in self._entries and len(self._entries) >= self._config.max_forwards:
            self._drop_expired(now)
            if len(self._entries) >= self._config.max_forwards:
                return Refusal.FULL, 0.0
        lifetime = self._config.home_lifetime
        if len(self._entries) * 2 < self._config.max_forwards:
            # Beyond, places must be renewed as often as ever: whoever would squat on all of them pays no less.
            lifetime = max(lifetime, min(wanted, MAX_ENTRY))
        self._entries[place] = Entry(contact, now + lifetime)
        self._full_until = min(self._full_until, now + lifetime)
        return Refusal.NONE, lifetime

    def remember_reply(self, handle: bytes, contact: Contact, now: float) -> bool:
        """Let an answer find its way back to who asked. False when the handle is taken by somebody else."""
        held = self._handles.get(handle)
        if handle in self._entries:
            return False  # it names an identity's place: whoever chose it wants that peer's signals
        if held is not None and held.contact != contact and held.expires > now:
            return False
        self._handles[handle] = Entry(contact, now + REPLY_LIFETIME)
        self._handles.move_to_end(handle)
        if len(self._handles) > self._config.max_forwards:
            self._handles.popitem(last=False)
        return True

    def find(self, recipient: bytes, now: float) -> Contact | None:
        """Where to forward what is for `recipient`, or None. A registration goes before a handle of the same bytes."""
        for entry in (self._entries.get(recipient), self._handles.get(recipient)):
            if entry is not None and entry.expires > now:
                return entry.contact
        return None

    def allow(self, recipient: bytes, now: float) -> bool:
        """Whether one more signal to `recipient` is within its rate."""
        return self._rate.allow(recipient, now)

    def _drop_expired(self, now: float) -> None:
        if now < self._full_until:
            return  # a flood of registrations must not make a flood of searches
        for place in [place for place, entry in self._entries.items() if entry.expires <= now]:
            del self._entries[place]
        self._full_until = min((entry.expires for entry in self._entries.values()), default=0.0)
