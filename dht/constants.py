"""Numbers fixed by the wire protocol: changing one of them makes a different network.

What an operator may tune is in `dht.config`.
"""

from __future__ import annotations

from typing import Final

ID_BITS: Final = 160
"""Length of node ids and places, in bits. The kademlia package's routing table is built for SHA-1 sized ids."""

ID_BYTES: Final = ID_BITS // 8

ID_SPACE: Final = 1 << ID_BITS
"""Number of ids; ids are integers in [0, ID_SPACE)."""

PROTOCOL_VERSION: Final = 0xD1
"""First byte of every datagram. RFC 7983 section 7 leaves 192-255 free beside STUN (0-3), DTLS (20-63) and
TURN channels (64-79), so that all of them can share a port; the low nibble counts the versions."""

TAG_BYTES: Final = 4
"""Network tag: tells networks apart before any cryptography is spent. UNSOURCED: 2^-32 chance of a false match."""

KEY_BYTES: Final = 32
"""X25519 and Ed25519 public keys (RFC 7748, RFC 8032)."""

NONCE_BYTES: Final = 24
"""XSalsa20 nonce (NaCl crypto_box)."""

MAC_BYTES: Final = 16
"""Poly1305 tag (NaCl crypto_box)."""

HEADER_BYTES: Final = 1 + TAG_BYTES + KEY_BYTES + NONCE_BYTES

OVERHEAD_BYTES: Final = HEADER_BYTES + MAC_BYTES
"""What a datagram adds to its message."""

MAX_DATAGRAM: Final = 1232
"""IPv6 minimum MTU 1280 (RFC 8200 section 5) less the IPv6 header (40) and the UDP header (8)."""

MAX_MESSAGE: Final = MAX_DATAGRAM - OVERHEAD_BYTES

MAX_RECORD: Final = 1000
"""Largest record in bytes, as in BEP 44 (`v` of at most 1000 bytes); it fits a datagram beside the envelope."""

MAX_SALT: Final = 64
"""Largest salt in bytes (BEP 44)."""

SIGNATURE_BYTES: Final = 64
"""Ed25519 (RFC 8032)."""

TOKEN_BYTES: Final = 8
"""Write token: a byte of time, and 56 bits that are guessed in 2^55 tries, each of which costs a datagram (BEP 5 leaves
the size open)."""

MAX_CONTACTS: Final = 20
"""Contacts in one reply: k of the Kademlia paper (section 2.3)."""

BEP42_PREFIX_BITS: Final = 21
"""Bits of a node id that its public address decides (BEP 42)."""

BEP42_MASK_V4: Final = 0x030F3FFF
"""Bits of an IPv4 address that count (BEP 42)."""

BEP42_MASK_V6: Final = 0x0103070F1F3F7FFF
"""Bits of the upper half of an IPv6 address that count (BEP 42)."""

PRINT_BYTES: Final = 8
"""Fingerprint of a record in a HAVE. Two of 4,096 share one by chance with 2^-41; whoever makes two on purpose
(2^32 tries) hides a record of its own."""

MAX_PRINTS: Final = 128
"""Fingerprints in one HAVE: 1,024 bytes beside its head."""

MAX_BATCH: Final = 16
"""Records in one PUT_MANY: bounds the signatures that one datagram has checked. Of some 320 bytes three fit."""

MAX_SIGNAL: Final = 900
"""Largest sealed signal in bytes: fits a datagram beside recipient, reply handle and envelope."""

SIGNAL_HANDLE_BYTES: Final = 20
"""Recipient of a SIGNAL: the place of an identity, or a random handle for the way back."""

MAX_AGAIN: Final = 300
"""Longest silence in seconds after which a home node says AGAIN: as long as a token is fresh, so that it goes to an
address that was proven within that time."""

MAX_ENTRY: Final = 390
"""Longest life in seconds of a forwarding entry: `MAX_AGAIN`, and the ordinary life of one beyond it."""
