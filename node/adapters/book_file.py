"""The address book as a file: read again when it has changed, replaced whole, changed by one at a time.

Decides that a reader sees the old book or the new one, and that two commands at once lose nothing. Refuses to know
what a name is.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from bootstrap.store import read_file, replace_file
from node.protocols.petnames import MAX_FILE, BadBook, Book

T = TypeVar("T")


class BookFile:
    """The book of one data folder. A file that is not there is an empty book."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._book = Book()
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> Book:
        """The book as it is now. Raises `BadBook`, or `LocalError` when it cannot be read."""
        seen = self._stamp()
        if seen != self._seen:
            if seen is None:
                self._book = Book()
            else:
                try:
                    self._book = Book.from_bytes(read_file(self.path, MAX_FILE))
                except BadBook as error:
                    raise BadBook(f"{self.path}: {error}") from None
            self._seen = seen
        return self._book

    def change(self, edit: Callable[[Book], T]) -> T:
        """Apply `edit` to the book and write it; where `edit` raises, nothing is written."""
        with _held(self.path.with_suffix(".lock")):
            # A copy: a change that fails half way must not be what readers see.
            book = Book(tuple(self.read()))
            done = edit(book)
            replace_file(self.path, book.to_bytes(), 0o600)
            self._book, self._seen = book, self._stamp()
        return done

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Wait for the lock and hold it. It dies with the process; where there is none (Windows) the last one wins."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
