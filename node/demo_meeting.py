"""One meeting of two peers: a file of real data goes to whoever holds a key, and its digest is taken on both sides.

Decides what is sent, what of it is measured, and that nobody's word is taken for the digest. Refuses to know which
peers meet and what happens around them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sysconfig
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dht.errors import RookeryError
from node.demo_network import Document, Host
from node.demo_processes import Command, CommandFailed, Nursery

ARCHIVE_BYTES: Final = 26_214_400
"""25 MiB, which is more than 25 MB, too."""

SENT: Final = 60.0
"""Seconds a transfer gets, meeting included. UNSOURCED: twenty times what it takes here."""

PHASES: Final = ("publish", "lookup", "dtls", "sctp", "first_byte", "transfer")
"""What every meeting is made of, in this order."""

DIALLED: Final = ("proof",)
"""What is added when the peer could be reached, and was dialled with no word from it before."""

CALLED: Final = ("gather", "signaling", "ice")
"""What is added when it was called through its home nodes; look-up and gathering run at the same time."""


class MeetingFailed(RookeryError):
    """Raised when two peers did not meet, or what arrived is not what was sent."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """What came of it."""

    sender: str
    receiver: str
    peer: str
    """The receiver's key: all that the sender was told."""
    holders: str
    """How many nodes stored the receiver's record, of those asked."""
    path: str
    """How the link ran, and to where."""
    seconds: dict[str, float]
    """By phase."""
    size: int
    throughput: float
    """Bytes a second, from the first byte to the receiver's confirmation."""
    sha256: str
    """Of the file that was sent and of the one that arrived, both computed here."""


async def meet(nursery: Nursery, sender: Host, receiver: Host, file: Path) -> Meeting:
    """Send `file` from one running node to another that it knows by its key alone."""
    folder = receiver.folder / "received"
    published = await receiver.published()
    receiving = await nursery.start(
        f"{receiver.name} receive",
        *("receive", "--dir", str(folder), "--accept-from", sender.peer, "--count", "1", "--json"),
        *("--data-dir", str(receiver.folder)),
    )
    await receiving.event("waiting", SENT)
    sending = await send(nursery, sender, receiver.peer, file)
    sent = await outcome_of(sending)
    received = await receiving.event("received", SENT, "having the file")
    if await receiving.wait(SENT):
        raise CommandFailed(receiving.name, f"ended with exit code {receiving.exit_code}", receiving.complaints)
    digests = {
        "sent": await asyncio.to_thread(sha256, file),
        "arrived": await asyncio.to_thread(sha256, Path(received["path"])),
        "by the sender": sent["sha256"],
        "by the receiver": received["sha256"],
    }
    if len(set(digests.values())) != 1:
        raise MeetingFailed(f"the SHA-256 digests differ: {digests}")
    links = (await sender.call("peers"))["links"]
    path = next((f"{link['type']} {link['address']}" for link in links if link["peer"] == receiver.peer), "")
    return Meeting(
        sender=sender.name,
        receiver=receiver.name,
        peer=receiver.peer,
        holders=f"{published['stored']} of {published['asked']}",
        path=path,
        seconds={"publish": published["seconds"], **sent["phases"]},
        size=sent["size"],
        throughput=sent["throughput"],
        sha256=digests["arrived"],
    )


async def send(nursery: Nursery, sender: Host, peer: str, file: Path) -> Command:
    """Start sending `file` to the holder of the key `peer`."""
    return await nursery.start(
        f"{sender.name} send", "send", str(file), peer, "--json", "--data-dir", str(sender.folder)
    )


async def outcome_of(sending: Command) -> Document:
    """Wait for the outcome of a `send`. Raises `MeetingFailed` unless the file has arrived."""
    outcome = await sending.event("done", SENT, "an outcome")
    if not outcome["ok"]:
        raise MeetingFailed(f"{sending.name}: {outcome['reason']} {outcome['detail']}".strip())
    await sending.wait(SENT)
    return outcome


def make_archive(path: Path, *, backwards: bool = False) -> int:
    """Pack files of this Python's library, from the first or the last, until it is 25 MiB; returns how many."""
    count = 0
    with tarfile.open(path, "w") as archive:
        files = list(library())
        for file in reversed(files) if backwards else files:
            if archive.offset >= ARCHIVE_BYTES:
                return count
            with suppress(OSError):  # A file that may not be read is not ours to send.
                archive.add(file, recursive=False)
                count += 1
    if path.stat().st_size < ARCHIVE_BYTES:
        raise MeetingFailed(f"this Python's library has only {path.stat().st_size} bytes to send")
    return count


def library() -> Iterator[Path]:
    """The files of the standard library and of the installed packages, in a fixed order."""
    for name in ("stdlib", "purelib"):
        for folder, below, files in os.walk(sysconfig.get_path(name)):
            below[:] = sorted(set(below) - {"__pycache__", "site-packages", "dist-packages"})
            yield from (Path(folder, file) for file in sorted(files))


def sha256(path: Path) -> str:
    """The file's digest."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
