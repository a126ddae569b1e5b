"""What both sides of the local API agree on: version, header names, paths, the shape of a failure.

Decides how the API is found on this machine (socket path, token file) and how an error travels. Refuses to know
any command: those are `node.api`'s.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Any, Final

from dht.errors import LocalError, RookeryError

API_VERSION: Final = 1
"""Raised when a command, a parameter or a meaning changes so that an older client would be misled."""

VERSION_HEADER: Final = "Rookery-Api"
"""The API version of whoever sends it, in requests and in every answer."""

RELEASE_HEADER: Final = "Rookery-Version"
"""The release of whoever sends it, for messages to people only."""

SOCKET_NAME: Final = "api.sock"
TOKEN_NAME: Final = "api-token"

LONGEST_SOCKET_PATH: Final = 103
"""Bytes of a Unix socket's path: `sun_path` holds 104 on macOS and BSD (unix(4)), 108 on Linux (unix(7)), less NUL."""

TOKEN_BYTES: Final = 32
"""256 bits, as `secrets.token_urlsafe` takes by default: out of reach of guessing."""


class ApiFailure(RookeryError):
    """Raised when a command of the local API did not do what was asked; the same on both sides of the socket.

    `kind` is stable and for programs, `message` one sentence for people, `hint` what to do about it (or empty), and
    `fault` is "local" (the caller's input or machine), "operation" (peers or the network) or "internal" (ours).
    """

    def __init__(self, kind: str, message: str, hint: str = "", *, fault: str = "local") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.fault = fault

    def to_json(self) -> dict[str, Any]:
        """The failure as it travels."""
        return {"error": {"kind": self.kind, "message": self.message, "hint": self.hint or None, "fault": self.fault}}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ApiFailure:
        """Read what `to_json` wrote; tolerant, for it may come from another release."""
        error = document.get("error")
        if not isinstance(error, dict):
            return cls("bad-answer", "the node answered with something that is no Rookery document", fault="internal")
        return cls(
            str(error.get("kind", "unknown")),
            str(error.get("message", "the node gave no reason")),
            str(error.get("hint") or ""),
            fault=str(error.get("fault", "operation")),
        )


def socket_path(data_dir: Path) -> Path:
    """Where the node of this data directory listens.

    In the data directory itself, unless that path is too long for a socket: then in a directory of the user's own,
    under a name derived from the data directory, so that both sides find it without being told.
    """
    direct = data_dir.absolute() / SOCKET_NAME
    if len(os.fsencode(direct)) <= LONGEST_SOCKET_PATH:
        return direct
    name = hashlib.blake2b(os.fsencode(data_dir.absolute()), digest_size=8).hexdigest()
    return runtime_dir() / f"{name}.sock"


def tcp_url(address: tuple[str, int]) -> str:
    """The address of the API over loopback HTTP."""
    host, port = address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def runtime_dir() -> Path:
    """A directory for sockets that only this user can enter: XDG_RUNTIME_DIR/rookery, else one under the temporary
    directory. Made by `private_dir` where a socket is made; only named here."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "rookery"
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"rookery-{user}"


def private_dir(path: Path) -> None:
    """Make `path` a directory that only this user can enter. Raises `LocalError` when it is somebody else's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise LocalError(f"{path} is not a directory: remove it, or choose another place for the local API")
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        raise LocalError(f"{path} belongs to another user: set XDG_RUNTIME_DIR to a directory of your own")


def is_our_socket(path: Path) -> bool:
    """Whether `path` is a socket that this user owns: a stranger's must not be talked to."""
    try:
        found = path.lstat()
    except OSError:
        return False
    owned = not hasattr(os, "getuid") or found.st_uid in (os.getuid(), 0) or os.getuid() == 0
    return stat.S_ISSOCK(found.st_mode) and owned


def read_token(path: Path) -> str:
    """Read the bearer token. Raises `LocalError` when it is missing, or others may read it."""
    try:
        mode = path.stat().st_mode
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"the API token {path} cannot be read: {error}") from None
    if os.name == "posix" and mode & 0o077:
        raise LocalError(f"the API token {path} can be read by others (mode {mode & 0o777:04o}): run chmod 600 {path}")
    if len(token) < TOKEN_BYTES:
        raise LocalError(f"the API token {path} is too short: remove the file and start the node again")
    return token


def make_token(path: Path) -> str:
    """Return the token in `path`, writing a new one (mode 0600) when there is none."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_token(path)
    except OSError as error:
        raise LocalError(f"the API token {path} cannot be written: {error}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
    return token
