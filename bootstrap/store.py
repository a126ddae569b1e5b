"""Where the last good list is kept: the port, its file form, and how files are read and replaced here.

This file decides that a reader sees the old bytes or the new ones, never half, whenever the machine stops. It
refuses to know what the bytes mean.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Protocol

from bootstrap.firstcontacts import MAX_FILE
from dht.errors import LocalError


class ListStorage(Protocol):
    """Keeps the bytes of the last good list."""

    def load(self) -> bytes | None:
        """Return the bytes last saved, or None. Raises `LocalError` when they cannot be read."""

    def save(self, data: bytes) -> None:
        """Replace the bytes, all at once. Raises `LocalError` when that fails."""


class FileListStorage:
    """The last good list in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> bytes | None:
        """Return the file's bytes, or None when there is none."""
        if not self.path.exists():
            return None
        return read_file(self.path, MAX_FILE)

    def save(self, data: bytes) -> None:
        """Replace the file atomically; the folder is made when missing."""
        replace_file(self.path, data)


def read_file(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file, one more than `limit` at most. Raises `LocalError`.

    Pipes and devices are refused: they may never end.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise LocalError(f"{path} is not a regular file")
            return file.read(limit + 1)
    except FileNotFoundError:
        raise LocalError(f"{path} does not exist") from None
    except OSError as problem:
        raise LocalError(f"{path} cannot be read: {problem.strerror or problem}") from None


def replace_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write `data` to a new file beside `path`, force it to the disk, and rename it over `path`."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as problem:
        raise LocalError(f"{path} cannot be written: {problem.strerror or problem}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a pipe with no writer would wait for one; O_NONBLOCK means nothing for regular files.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _sync_folder(folder: Path) -> None:
    # The rename itself lives in the folder, which must reach the disk too; Windows cannot open folders.
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
