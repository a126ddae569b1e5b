"""Where received files lie: parts, final names, and how much may be written.

Decides names on disk. A part is `<name>.<id>.part` until its digest is right; then it takes a final name that did not
exist, in one step. Refuses to know about streams. Everything here blocks, so it runs in threads.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from node.protocols.transfer import FileOffer, TransferFault

BLOCK: Final = 1 << 20
"""Bytes read or written at once: long enough that the change of thread costs nothing beside it."""
MAX_STORED_NAME: Final = 180
"""Bytes of a name on disk: 255 less the id, `.part` and ` (n)`."""
MAX_TRIES: Final = 10_000
"""Files of one name; beyond, somebody fills the directory."""
PART_LIFETIME: Final = 7 * 86400.0
"""Seconds that a part nobody adds to is kept for its sender to go on. UNSOURCED: over a weekend and a journey."""
_PART: Final = re.compile(r".+\.[0-9a-f]{16}\.part")
"""The names of parts, and of hardly anything else."""
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Device names of Windows, with any ending (Microsoft, "Naming Files, Paths, and Namespaces")."""
_FORBIDDEN: Final = re.compile(r'[<>:"|?*]')


class StoreError(Exception):
    """Raised when a file cannot be taken; `fault` is told to the sender."""

    def __init__(self, fault: TransferFault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


def safe_name(name: str) -> str:
    """Return the name under which a file so called may lie here. Raises `StoreError` (bad-name).

    Only the last part of a path counts; what no file system takes becomes `_`; what would be hidden, a device or
    nothing at all is refused rather than guessed at.
    """
    base = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    cleaned = "".join(c if c.isprintable() else "_" for c in base)
    cleaned = _FORBIDDEN.sub("_", cleaned).strip().rstrip(".")
    if not cleaned or cleaned.startswith(".") or _RESERVED.fullmatch(cleaned):
        raise StoreError(TransferFault.BAD_NAME, f"{name[:80]!r} is no name for a file here")
    stem, dot, ending = cleaned.rpartition(".")
    ending = dot + ending if stem and len(ending) <= 16 else ""
    stem = cleaned[: len(cleaned) - len(ending)] if ending else cleaned
    while len((stem + ending).encode(errors="replace")) > MAX_STORED_NAME:
        stem = stem[:-1]
    try:
        (stem + ending).encode()
    except UnicodeEncodeError:
        raise StoreError(TransferFault.BAD_NAME, "the name is not valid Unicode") from None
    return stem + ending


def sweep_parts(directory: Path, now: float, in_use: Collection[Path]) -> int:
    """Delete the parts that nobody has added to for `PART_LIFETIME`; returns how many. A folder that cannot be read has
    none: the next transfer says what is wrong with it."""
    removed = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if not _PART.fullmatch(entry.name) or directory / entry.name in in_use:
                continue
            with contextlib.suppress(OSError):  # Gone meanwhile, or not ours to delete.
                if entry.is_file(follow_symlinks=False) and now - entry.stat().st_mtime > PART_LIFETIME:
                    os.unlink(entry.path)
                    removed += 1
    return removed


class Part:
    """One file on its way in."""

    def __init__(self, directory: Path, offer: FileOffer, owner: bytes, reserve: int) -> None:
        self.name = safe_name(offer.name)
        self._directory = directory
        self._size = offer.size
        self._mtime = offer.mtime
        self._reserve = reserve
        # The owner's key is part of the id: one peer cannot continue, or spoil, what another began.
        token = hashlib.blake2b(owner + offer.transfer, digest_size=8).hexdigest()
        self.path = directory / f"{self.name}.{token}.part"
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self.have = 0

    def open(self) -> bytes:
        """Open or resume; returns the digest of what is there. Raises `StoreError`."""
        with _told():
            self._directory.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            self._file = os.fdopen(os.open(self.path, flags, 0o600), "r+b")
            os.utime(self.path)  # It is wanted again: no sweep, of another process either, takes it for abandoned.
            while block := self._file.read(BLOCK):
                self._hash.update(block)
                self.have += len(block)
            if self.have > self._size:
                self.restart()
            free = shutil.disk_usage(self._directory).free
        if self._size - self.have + self._reserve > free:
            empty = self.have == 0
            self.close()
            if empty:
                self.discard()
            raise StoreError(
                TransferFault.NO_SPACE,
                f"{self._size - self.have} bytes to come, {max(0, free - self._reserve)} free for it",
            )
        return self._hash.digest()

    def restart(self) -> None:
        """Forget what was there: it is not a beginning of this file."""
        with _told():
            file = self._opened()
            file.seek(0)
            file.truncate()
            self._hash = hashlib.sha256()
            self.have = 0

    def write(self, data: bytes) -> None:
        """Append. Raises `StoreError` (no-space, io-error); what was written stays for a resume."""
        with _told():
            self._opened().write(data)
        self._hash.update(data)
        self.have += len(data)

    def finish(self, digest: bytes) -> Path:
        """Check the digest and give the file its final name. Raises `StoreError` (hash-mismatch)."""
        with _told():
            file = self._opened()
            file.flush()
            os.fsync(file.fileno())
        self.close()
        if self._hash.digest() != digest:
            self.discard()
            raise StoreError(TransferFault.HASH_MISMATCH, "what arrived is not what was sent: the part was thrown away")
        with _told():
            seconds = self._mtime / 1e9
            with contextlib.suppress(OSError, OverflowError, ValueError):
                os.utime(self.path, (seconds, seconds))
            return self._settle()

    def close(self) -> None:
        """Close the file; the part stays."""
        if self._file is not None:
            file, self._file = self._file, None
            # A full disk shows itself again on close; it was reported when it first did.
            with contextlib.suppress(OSError):
                file.close()

    def discard(self) -> None:
        """Close and delete the part."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise StoreError(TransferFault.IO_ERROR, "the part is closed")
        return self._file

    def _settle(self) -> Path:
        stem, dot, ending = self.name.rpartition(".")
        if not stem:
            stem, dot, ending = self.name, "", ""
        for number in range(MAX_TRIES):
            target = self._directory / (self.name if number == 0 else f"{stem} ({number}){dot}{ending}")
            try:
                # A hard link fails where the name exists, in one step; a rename would replace what is there.
                os.link(self.path, target)
            except FileExistsError:
                continue
            except OSError:
                if not _claim(target):
                    continue
                os.replace(self.path, target)
                return target
            self.path.unlink()
            return target
        raise StoreError(TransferFault.IO_ERROR, f"{MAX_TRIES} files are called {self.name!r} already")


def _claim(target: Path) -> bool:
    """Make the name ours on file systems without hard links."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        fault = TransferFault.NO_SPACE if full else TransferFault.IO_ERROR
        raise StoreError(fault, error.strerror or str(error)) from None
