"""The exceptions of Rookery, split by who is at fault.

`LocalError` means the caller misused the API or the machine it runs on is at fault; it reaches the caller.
`RemoteError` means a peer sent something wrong; it never leaves the engine, which counts it and drops the bytes
(the split of h11: LocalProtocolError / RemoteProtocolError).
"""

from __future__ import annotations


class RookeryError(Exception):
    """Base of everything Rookery raises on purpose."""


class LocalError(RookeryError):
    """Raised when we were misused, or our own machine, files or configuration are at fault."""


class RemoteError(RookeryError):
    """Raised when bytes from a peer break the protocol; caught at the edge of every protocol object."""


class BadPeerId(LocalError):
    """Raised when a text is not the z-base-32 form of an identity key."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(f"not a peer id: {problem}. A peer id is 52 characters, as `rookery id` prints it")
        self.text = text
        self.problem = problem


class BadConfig(LocalError):
    """Raised when a configuration value is out of its range."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field} = {value!r} is not allowed: expected {expected}")
        self.field = field
        self.value = value
        self.expected = expected


class WeakKey(RemoteError):
    """Raised when an Ed25519 public key is of small order or not canonically encoded."""


class DecodeError(RemoteError):
    """Raised when bytes of a peer do not decode; `what` names the structure, `problem` the first fault found."""

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what = what
        self.problem = problem


class BoxError(RemoteError):
    """Raised when a datagram cannot be opened: wrong key, wrong network, or altered bytes."""
