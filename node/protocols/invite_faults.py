"""Why an invite brings nobody in: one name for each reason, from the pasted text to the membership that was granted.

Decides the names, and which of them are the fault of what was given rather than of somebody else.
"""

from __future__ import annotations

import enum

from dht.errors import LocalError, RookeryError


class InviteFault(enum.Enum):
    """Why an invite brought nobody in."""

    NOT_AN_INVITE = "not-an-invite"
    NEWER = "invite-of-a-newer-release"
    TAMPERED = "invite-tampered"
    EXPIRED = "invite-expired"
    NOT_YET = "invite-not-yet-valid"
    OWN = "invite-of-our-own"
    UNKNOWN = "invite-unknown"
    """The inviter made no such invite."""
    USED_UP = "invite-used-up"
    REVOKED = "invite-revoked"
    NOT_GRANTED = "membership-not-granted"
    BUSY = "inviter-busy"
    FAILED = "inviter-failed"
    PROTOCOL = "inviter-broke-the-protocol"
    UNREACHED = "inviter-unreached"
    NOT_KEPT = "membership-does-not-hold"
    """What the inviter granted is no membership of that network."""


class BadInvite(LocalError):
    """Raised when what was given is no invite that could be used, whatever the inviter says; `fault` is why."""

    def __init__(self, fault: InviteFault, problem: str) -> None:
        super().__init__(problem)
        self.fault = fault
        self.kind = fault.value


class JoinFailed(RookeryError):
    """Raised when an invite that looks good brought nobody in; `fault` is why."""

    def __init__(self, fault: InviteFault, problem: str) -> None:
        super().__init__(problem)
        self.fault = fault
        self.kind = fault.value
