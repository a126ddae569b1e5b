"""Why a first-contact list is not taken: the typed reasons, and the one exception that carries them.

This file refuses to know how a list is read or checked.
"""

from __future__ import annotations

from enum import StrEnum

from dht.errors import RemoteError


class Refusal(StrEnum):
    """Why a list was refused. The values are shown to people and written in JSON, so they are for ever."""

    MALFORMED = "malformed"
    """The bytes are no list: not JSON, a field missing or unknown, or not the one canonical encoding."""
    UNKNOWN_FORMAT = "unknown-format"
    """A list of a format version that this program does not read."""
    TOO_LARGE = "too-large"
    """More bytes, contacts, signatures or rotations than a list may have."""
    WRONG_NETWORK = "wrong-network"
    """A list of another network."""
    NOT_ENOUGH_SIGNATURES = "not-enough-signatures"
    """Fewer valid signatures by different trusted signers than the threshold asks for."""
    NOT_YET_VALID = "not-yet-valid"
    """Issued in the future, by more than clocks may differ."""
    EXPIRED = "expired"
    """Its time is over."""
    TOO_LONG_LIVED = "too-long-lived"
    """Expires before it was issued, or later than a list may live."""
    LOWER_SEQUENCE = "lower-sequence"
    """A newer list was seen before: a roll-back, or a mirror that lags behind."""
    CONFLICT = "conflict"
    """Other contents under the sequence number of a list seen before."""
    BAD_CONTACT = "bad-contact"
    """A contact whose key, address, name or label may not stand in a list."""


class ListRefused(RemoteError):
    """Raised when a first-contact list is not taken; `reason` is the type, the text is for people."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
