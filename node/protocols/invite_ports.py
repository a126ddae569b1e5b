"""What invites need of private networks, and what private networks need of invites.

Decides the two roles and how they refuse. Refuses to know what a certificate holds, and where a network's key is kept.
"""

from __future__ import annotations

from typing import Final, Protocol

from dht.contact import Contact
from dht.errors import RookeryError
from dht.identity import PublicKey

MAX_CERTIFICATE: Final = 4096
"""Bytes of a membership certificate, with those it rests on. UNSOURCED: a chain of twenty signers"""


class GrantRefused(RookeryError):
    """Raised when nobody can be made a member, or what was granted does not hold; `reason` is for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Grantor(Protocol):
    """The inviter's side: says which private networks this node may invite into, and makes members."""

    def key_of(self, network: str) -> bytes | None:
        """The 32-byte key of a private network that this node may invite into; None for an open network, or one that
        nobody here knows. Raises `GrantRefused` when the node is a member and may not invite."""

    def lan_only(self, network: str) -> bool:
        """Whether nodes of that private network stay on the local network."""

    def key_until(self, network: str) -> float:
        """Unix seconds until which that private network has its key; infinity when nothing is known of another."""

    async def grant(self, network: str, joiner: PublicKey) -> bytes:
        """Make `joiner` a member: the certificate, of `MAX_CERTIFICATE` bytes at most. Called again for the same joiner
        when the answer was lost, also after a restart. Raises `GrantRefused`."""


class Membership(Protocol):
    """The joiner's side: keeps what it was granted, so that the next start of the node is in the network."""

    async def accept_grant(
        self, network: str, key: bytes, certificate: bytes, contacts: tuple[Contact, ...], *, lan_only: bool = False
    ) -> None:
        """Check and keep a certificate, the network's key and its first contacts, and whether its nodes stay on the
        local network. Raises `GrantRefused` when it does not hold, `LocalError` when it cannot be kept."""
