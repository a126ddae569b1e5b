"""One node, one data folder: the lock that keeps two nodes from sharing keys, journal and sequence numbers.

Decides who owns a folder while a node runs. The operating system lets go of the lock when the process ends, however it
ends, so a file left behind never locks anybody out. Refuses to know what lies in the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Final

from dht.errors import LocalError
from node.adapters.keyfile import private_folder

LOCK_NAME: Final = "lock"


class DataDirTaken(LocalError):
    """Raised when another node uses the data folder; `pid` is its process, when it said so."""

    def __init__(self, path: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"the data directory {path} is in use by {who}. End that node, or give this one its own with --data-dir"
        )
        self.path = path
        self.pid = pid


class DataDirUnusable(LocalError):
    """Raised when the data folder cannot be made or written."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"the data directory {path} cannot be used: {problem}. Check its rights and space, or choose another with"
            " --data-dir"
        )
        self.path = path
        self.problem = problem


class DataDirLock:
    """Holds the folder from `acquire` to `release`, or over a `with` block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Make the folder if need be, and lock it. Raises `DataDirTaken`, `DataDirUnusable` or `KeyFileUnsafe`."""
        if self._descriptor is not None:
            return
        private_folder(self.path)
        try:
            descriptor = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError as error:
            raise DataDirUnusable(self.path, error.strerror or str(error)) from error
        try:
            if not _try_lock(descriptor):
                raise DataDirTaken(self.path, _read_pid(descriptor))
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            os.close(descriptor)
            raise DataDirUnusable(self.path, error.strerror or str(error)) from error
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the folder. The file stays: unlinking it would let two nodes lock two files of one name."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> DataDirLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _read_pid(descriptor: int) -> int | None:
    try:
        return int(os.read(descriptor, 32))
    except (OSError, ValueError):
        return None


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            # Far behind the pid, which others must be able to read.
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            # flock, not lockf: closing some other descriptor of the file must not give the lock away.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True
