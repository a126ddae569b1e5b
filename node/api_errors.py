"""What an exception is called outside: its stable kind, its sentence, what to do about it, and whose fault it is.

The one place where exceptions become `ApiFailure`: the local API and the command line both use it, so that a command
fails with the same words whether a running node did it or a short-lived one. Refuses to know HTTP and exit codes.
"""

from __future__ import annotations

import errno
import logging
import re
from typing import Final

from dht.errors import BadPeerId, LocalError, RookeryError
from node.adapters.http import ApiFailure

log = logging.getLogger("rookery.api")

HINTS: Final = {
    "no-node": "start one with `rookery run`",
    "peer-unreached": "try again when it is online",
    "no-answer": "try again; `rookery log` of the peer tells more",
    "not-stored": "`--receipt` shows what each node said",
    "bad-peer-id": "the other side's `rookery id` prints it; copy it whole",
    "bad-config": "`rookery config sample` shows every setting with its range, `rookery config show` what is in force",
    "not-found": "the peer may be offline, or in another network; `rookery find --explain PEER` shows who was asked",
    "port-in-use": "another program (or another node) has this port; choose another with --port, or 0 for any",
    "inviter-unreached": "its node has to run; if the network has a new key, the inviter has to make a new invite",
    "invite-tampered": "copy all of it again, or take another picture of its code",
    "not-joined": "give a first contact with --contact KEY@HOST:PORT, or a signed list with --bootstrap",
}
"""What to do, by kind, where the exception does not say so itself."""

OS_KINDS: Final = {
    errno.EADDRINUSE: "port-in-use",
    errno.EACCES: "no-permission",
    errno.EPERM: "no-permission",
    errno.ENOENT: "no-such-file",
    errno.EISDIR: "not-a-file",
    errno.ENOTDIR: "not-a-directory",
    errno.ENOSPC: "disk-full",
    errno.EROFS: "read-only-disk",
    errno.EADDRNOTAVAIL: "no-such-address",
}
"""Kinds for what the operating system refuses; everything else of its is "system"."""


def failure_of(error: BaseException) -> ApiFailure:
    """Return the failure that `error` is to the outside."""
    if isinstance(error, ApiFailure):
        return error
    if isinstance(error, RookeryError):
        kind, fault = _rookery_kind(error)
        message, hint = _parted(one_line(error), _hint(error, kind))
        return ApiFailure(kind, message, hint, fault=fault)
    if isinstance(error, TimeoutError):
        return ApiFailure("timeout", one_line(error) or "it took too long", fault="operation")
    if isinstance(error, OSError):
        kind = OS_KINDS.get(error.errno or 0, "system")
        return ApiFailure(kind, _os_sentence(error), _hint(error, kind))
    log.error("a command failed in a way nobody foresaw", exc_info=error)
    return ApiFailure(
        "internal",
        f"{type(error).__name__}: {one_line(error)}",
        "this is a fault in Rookery: please report it, with what ROOKERY_DEBUG=1 shows",
        fault="internal",
    )


def one_line(error: BaseException) -> str:
    """The exception's text without line breaks: errors are one line."""
    return " ".join(str(error).split())


def kebab(name: str) -> str:
    """`BadPeerId` → `bad-peer-id`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _rookery_kind(error: RookeryError) -> tuple[str, str]:
    if isinstance(error, BadPeerId):
        return "bad-peer-id", "local"
    fault = "local" if isinstance(error, LocalError) else "operation"
    kind = getattr(error, "kind", None)
    if isinstance(kind, str):
        return kind, fault
    end = getattr(error, "end", None)  # A LinkError carries how the link ended.
    if end is not None and hasattr(end, "fault"):
        return f"link-{end.fault.value}", fault
    if type(error) in (RookeryError, LocalError):
        return ("local" if fault == "local" else "failed"), fault
    return kebab(type(error).__name__), fault


def _parted(message: str, hint: str) -> tuple[str, str]:
    """Message and hint, each said once: some exceptions end their text with the remedy."""
    if hint and message.lower().endswith(hint.lower()):
        return message[: -len(hint)].rstrip(" ;:,."), hint
    return message, hint


def _hint(error: BaseException, kind: str) -> str:
    hint = getattr(error, "remedy", None) or getattr(error, "hint", None)
    return hint[:1].lower() + hint[1:] if isinstance(hint, str) and hint else HINTS.get(kind, "")


def _os_sentence(error: OSError) -> str:
    reason = error.strerror or one_line(error) or type(error).__name__
    if error.filename is not None:
        return f"{error.filename}: {reason}"
    return reason
