"""An invite: what one needs to enter a network with no server's help, in as few bytes as a phone reads off a screen.

Decides the bytes, their signature, and when an invite counts as expired. Refuses to know how it is written for people
(`invite_text.py`), how it is redeemed (`invite_redeeming.py`) and who keeps count (`node/adapters/invite_ledger.py`).

    invite:  version 1 ‖ flags 1 ‖ inviter 32 ‖ token 4 ‖ issued 4 ‖ expires 4 ‖ uses 2
             ‖ [name length 1 ‖ network name] ‖ [network key 32]
             ‖ counts 1 ‖ [node key 32] ‖ [certificate 32] ‖ addresses ‖ home nodes ‖ signature 64
    flags:   1 a network's name follows (else it is main), 2 its key, 4 the inviter's node key, 8 its certificate,
             16 its nodes stay on the local network
    counts:  IPv4 addresses, IPv6 addresses, home nodes at IPv4, home nodes at IPv6: two bits each, from the highest

There is no secret beside the signature: only the inviter can make one, and whoever has not seen the invite has not seen
it. So a hash of the whole invite is what the redemption proves to have (docs/decisions/an-invite-is-its-own-secret.md).
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

from dht.constants import KEY_BYTES, SIGNATURE_BYTES
from dht.contact import PACKED_V4, PACKED_V6, Address, Contact, is_one_host, pack_address, unpack_contact
from dht.errors import LocalError, WeakKey
from dht.identity import IdentityKey, PublicKey, is_canonical_x25519, to_zbase32
from node.protocols.invite_faults import BadInvite, InviteFault

VERSION: Final = 1

MAX_BYTES: Final = 306
"""Of an invite that we make: 453 characters of base 43 and 13 before them, a QR code of version 11 at level L
(ISO/IEC 18004, table 7: 468 alphanumeric characters)."""

MAX_READ: Final = 610
"""Bytes of an invite that we read: the longest name, and three of everything that is counted."""

TOKEN_BYTES: Final = 4
"""Names an invite among those of one inviter, who makes no two alike. It is no secret. UNSOURCED"""

FINGERPRINT_BYTES: Final = 32
"""SHA-256 (RFC 8122 section 5)."""

MAX_EACH: Final = 3
"""Addresses or home nodes of one family: what two bits count."""

MAX_USES: Final = 0xFFFF

MAX_LIFETIME: Final = 366 * 86400
"""Seconds. UNSOURCED: a poster on a wall is taken down within a year"""

CLOCK_TOLERANCE: Final = 2 * 3600
"""Seconds by which the clocks of two peers may differ, as for records and signals (`dht.records`)."""

MAIN: Final = "main"

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""The names that `node.config_network` takes."""

_DOMAIN: Final = b"rookery invite 1\0"
_HEAD: Final = 2 + KEY_BYTES + TOKEN_BYTES + 4 + 4 + 2
_SMALLEST: Final = _HEAD + 1 + SIGNATURE_BYTES


class Flag(enum.IntFlag):
    """What follows in an invite."""

    NAME = 1
    KEY = 2
    NODE_KEY = 4
    CERTIFICATE = 8
    LAN_ONLY = 16
    """Nothing does: nodes of this private network talk to the local network alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """What an invite says. One that was read, or signed, has `raw`: all its bytes."""

    inviter: PublicKey
    token: bytes
    issued: int
    """Unix seconds, by the inviter's clock."""
    expires: int
    uses: int = 1
    """How many may redeem it."""
    network: str = MAIN
    key: bytes | None = None
    """The network's key; None for an open network."""
    lan_only: bool = False
    """Whether nodes of this private network stay on the local network."""
    node_key: bytes | None = None
    """The inviter's key in the DHT, at `addresses`."""
    fingerprint: bytes = b""
    """SHA-256 of the certificate under which it takes dials at `addresses`; empty without."""
    addresses: tuple[Address, ...] = ()
    """Where the inviter itself listens, best first in each family, IPv4 before IPv6."""
    homes: tuple[Contact, ...] = ()
    """Nodes that forward signals to it, IPv4 before IPv6."""
    raw: bytes = b""

    @property
    def direct(self) -> tuple[Contact, ...]:
        """The inviter's own DHT endpoints."""
        return () if self.node_key is None else tuple(Contact(self.node_key, one) for one in self.addresses)

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Whom a newcomer may ask first."""
        return (*self.direct, *self.homes)

    @property
    def id(self) -> str:
        """What the inviter calls it: seven characters."""
        return token_text(self.token)

    @property
    def secret(self) -> bytes:
        """The 32 bytes that whoever redeems it proves to have."""
        return hashlib.blake2b(self.raw, digest_size=32, person=b"rookery/invite").digest()

    def check_time(self, now: float) -> None:
        """Raise `BadInvite` when no clock within 2 h of ours lets it pass; the rest is for the inviter's clock."""
        if now > self.expires + CLOCK_TOLERANCE:
            problem = f"this invite expired {_ago(now - self.expires)} ago, by this machine's clock"
            raise BadInvite(InviteFault.EXPIRED, problem)
        if now < self.issued - CLOCK_TOLERANCE:
            raise BadInvite(
                InviteFault.NOT_YET,
                f"by this machine's clock this invite will be made in {_ago(self.issued - now)}: "
                "the clock here, or the inviter's, is wrong",
            )


def token_text(token: bytes) -> str:
    """The id of an invite as people write it: z-base-32 without what pads it to 32 bytes."""
    return to_zbase32(token + bytes(KEY_BYTES - TOKEN_BYTES))[:7]


def make_invite(identity: IdentityKey, said: Invite) -> Invite:
    """Sign `said`; home nodes, then addresses, that do not fit `MAX_BYTES` are left out, the last ones first.

    Raises `LocalError` naming what is not allowed.
    """
    _check(said)
    said = replace(said, addresses=_by_family(said.addresses), homes=_homes_by_family(said.homes))
    while len(body := _body(said)) + SIGNATURE_BYTES > MAX_BYTES:
        said = _less(said)
    return replace(said, raw=body + identity.sign(_DOMAIN + body))


def read_invite(raw: bytes) -> Invite:
    """Read and verify an invite. Raises `BadInvite` with why not."""
    if raw and raw[0] != VERSION:
        if raw[0] > VERSION and len(raw) >= _SMALLEST:
            raise BadInvite(InviteFault.NEWER, f"this invite has format {raw[0]}, and this release knows {VERSION}")
        raise _malformed(f"it begins with {raw[0]}")
    if not _SMALLEST <= len(raw) <= MAX_READ:
        raise _malformed(f"it has {len(raw)} bytes; {_SMALLEST} to {MAX_READ} are possible")
    reader = _Reader(raw[:-SIGNATURE_BYTES])
    try:
        said = replace(_read_body(reader), raw=raw)
    except WeakKey as error:
        raise BadInvite(InviteFault.TAMPERED, f"the inviter's key in this invite is none: {error}") from None
    if not said.inviter.verify(raw[-SIGNATURE_BYTES:], _DOMAIN + raw[:-SIGNATURE_BYTES]):
        raise BadInvite(
            InviteFault.TAMPERED, "this invite was altered or is incomplete: its signature is not the inviter's"
        )
    return said


class _Reader:
    """Takes bytes off an invite's body. Raises `BadInvite` when there are too few."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._body[self._at : self._at + count]
        if len(taken) != count:
            raise _malformed("it ends in the middle of a field")
        self._at += count
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    @property
    def left(self) -> int:
        return len(self._body) - self._at


def _read_body(reader: _Reader) -> Invite:
    reader.take(1)
    flags = reader.number(1)
    if flags > sum(Flag):
        raise BadInvite(InviteFault.NEWER, f"this invite has the flags {flags:#x}, which this release does not know")
    inviter, token = PublicKey(reader.take(KEY_BYTES)), reader.take(TOKEN_BYTES)
    issued, expires, uses = reader.number(4), reader.number(4), reader.number(2)
    network, key = MAIN, None
    if flags & Flag.NAME:
        network = reader.take(reader.number(1)).decode("ascii", "replace")
    if flags & Flag.KEY:
        key = reader.take(KEY_BYTES)
    counts = reader.number(1)
    node_key = reader.take(KEY_BYTES) if flags & Flag.NODE_KEY else None
    fingerprint = reader.take(FINGERPRINT_BYTES) if flags & Flag.CERTIFICATE else b""
    v4, v6, homes_v4, homes_v6 = (counts >> shift & 3 for shift in (6, 4, 2, 0))
    addresses = tuple(_read_address(reader.take(6 if number < v4 else 18)) for number in range(v4 + v6))
    packed = [reader.take(PACKED_V4 if number < homes_v4 else PACKED_V6) for number in range(homes_v4 + homes_v6)]
    if reader.left:
        raise _malformed(f"{reader.left} bytes are left over")
    said = Invite(
        inviter=inviter,
        token=token,
        issued=issued,
        expires=expires,
        uses=uses,
        network=network,
        key=key,
        lan_only=bool(flags & Flag.LAN_ONLY),
        node_key=node_key,
        fingerprint=fingerprint,
        addresses=addresses,
        homes=tuple(_read_home(one) for one in packed),
    )
    try:
        _check(said)
    except LocalError as error:
        raise _malformed(str(error)) from None
    if bool(flags & Flag.NAME) != (network != MAIN or key is not None):
        raise _malformed("the main network is named in it")
    return said


def _read_address(packed: bytes) -> Address:
    ip, port = ip_address(packed[:-2]), int.from_bytes(packed[-2:], "big")
    if port == 0 or not is_one_host(ip):
        raise _malformed("an address in it is that of no host")
    return str(ip), port


def _read_home(packed: bytes) -> Contact:
    contact = unpack_contact(packed)
    if contact is None:
        raise _malformed("a home node in it is one that nobody can reach")
    return contact


def _check(said: Invite) -> None:
    """Raise `LocalError` for what no invite may say."""
    if len(said.token) != TOKEN_BYTES:
        raise LocalError(f"a token has {TOKEN_BYTES} bytes, not {len(said.token)}")
    if not 1 <= said.uses <= MAX_USES:
        raise LocalError(f"an invite has 1 to {MAX_USES} uses, not {said.uses}")
    if not 0 <= said.issued < said.expires < 2**32 or said.expires - said.issued > MAX_LIFETIME:
        raise LocalError(f"an invite lives for {MAX_LIFETIME // 86400} days at most, and for a second at least")
    if not _NAME.fullmatch(said.network):
        raise LocalError(f"{said.network!r} is no name of a network")
    if said.key is not None and len(said.key) != KEY_BYTES:
        raise LocalError(f"a network key has {KEY_BYTES} bytes, not {len(said.key)}")
    if said.lan_only and said.key is None:
        raise LocalError("an open network cannot be that of the local network alone")
    if said.node_key is not None and (len(said.node_key) != KEY_BYTES or not is_canonical_x25519(said.node_key)):
        raise LocalError("a node key has 32 bytes in their one encoding")
    if len(said.fingerprint) not in (0, FINGERPRINT_BYTES):
        raise LocalError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(said.fingerprint)}")
    if (said.node_key is not None or said.fingerprint) and not said.addresses:
        raise LocalError("a node key, or a certificate, needs an address where it is")


def _body(said: Invite) -> bytes:
    named = said.network != MAIN or said.key is not None
    flags = Flag(0)
    for flag, there in (
        (Flag.NAME, named),
        (Flag.KEY, said.key is not None),
        (Flag.NODE_KEY, said.node_key is not None),
        (Flag.CERTIFICATE, bool(said.fingerprint)),
        (Flag.LAN_ONLY, said.lan_only),
    ):
        flags |= flag if there else Flag(0)
    name = said.network.encode("ascii") if named else b""
    v6 = sum(":" in host for host, _ in said.addresses)
    homes_v6 = sum(":" in home.ip for home in said.homes)
    counts = (len(said.addresses) - v6) << 6 | v6 << 4 | (len(said.homes) - homes_v6) << 2 | homes_v6
    return b"".join(
        (
            bytes([VERSION, flags]),
            said.inviter.raw,
            said.token,
            said.issued.to_bytes(4, "big"),
            said.expires.to_bytes(4, "big"),
            said.uses.to_bytes(2, "big"),
            bytes([len(name)]) + name if named else b"",
            said.key or b"",
            bytes([counts]),
            said.node_key or b"",
            said.fingerprint,
            *(pack_address(address) for address in said.addresses),
            *(home.packed for home in said.homes),
        )
    )


def _less(said: Invite) -> Invite:
    """The same with one way less: of three home nodes one, of several addresses one, then what is left of either."""
    if len(said.homes) > 2:
        return replace(said, homes=said.homes[:-1])
    if len(said.addresses) > 1:
        return replace(said, addresses=said.addresses[:-1])
    if len(said.homes) > 1:
        return replace(said, homes=said.homes[:-1])
    if said.node_key is not None and said.fingerprint and said.homes:
        return replace(said, node_key=None)
    return replace(said, homes=said.homes[:-1])


def _by_family(addresses: Sequence[Address]) -> tuple[Address, ...]:
    v4 = [one for one in addresses if ":" not in one[0]]
    v6 = [one for one in addresses if ":" in one[0]]
    return (*v4[:MAX_EACH], *v6[:MAX_EACH])


def _homes_by_family(homes: Sequence[Contact]) -> tuple[Contact, ...]:
    v4 = [one for one in homes if ":" not in one.ip]
    v6 = [one for one in homes if ":" in one.ip]
    return (*v4[:MAX_EACH], *v6[:MAX_EACH])


def _malformed(problem: str) -> BadInvite:
    return BadInvite(InviteFault.NOT_AN_INVITE, f"this is no invite, or a part of it is missing: {problem}")


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
