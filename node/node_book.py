"""The address book of a node: `node.book`.

Decides that a broken file costs the names, never the node. Refuses to send anything: names are for this machine's
user, and nobody else learns them.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from dht.errors import LocalError
from dht.identity import TEXT_LENGTH, PublicKey
from node.adapters.book_file import BookFile
from node.adapters.network_store import FILE_NAME, networks_folder
from node.config import NodeConfig
from node.protocols.petnames import BadName, Book, Entry, checked_name

log = logging.getLogger("rookery.node")

_ID: Final = re.compile(rf"\b[a-z0-9]{{{TEXT_LENGTH}}}\b")


def book_of(config: NodeConfig) -> AddressBook:
    """The book of a node: one in a private network has its own, and that of this machine behind it."""
    behind = networks_folder(config.data_dir).parent if (config.data_dir / FILE_NAME).exists() else None
    return AddressBook(config.book_file, None if behind is None else behind / config.book_file.name)


class AddressBook:
    """Names for peers: `add`, `rename`, `remove`, `resolve`, and iteration by name."""

    def __init__(self, path: Path, behind: Path | None = None) -> None:
        """`behind`: another book, whose names count where this one has none for the peer, and no such name."""
        self._file = BookFile(path)
        self._behind = None if behind is None else BookFile(behind)
        self._whole: tuple[Book, Book, Book] | None = None
        """This book, the one behind it, and the two as one."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._file.path

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everybody who has a name, by name. Raises `LocalError` when the file is broken."""
        return tuple(self._read())

    def add(self, name: str, peer: PublicKey | str, note: str = "") -> Entry:
        """Name a peer; the same name and peer again changes the note. Raises `LocalError`."""
        key = PublicKey.parse(peer) if isinstance(peer, str) else peer
        self._check_looks(name, key)
        return self._file.change(lambda book: book.add(name, key, note))

    def rename(self, old: str, new: str) -> Entry:
        """Give a peer another name. Raises `LocalError`."""
        known = self._file.read().named(old)
        if known is not None:
            self._check_looks(new, known.peer)
        return self._file.change(lambda book: self._own(old, book).rename(old, new))

    def remove(self, name: str) -> Entry:
        """Forget a name. Raises `LocalError`."""
        return self._file.change(lambda book: self._own(name, book).remove(name))

    def export(self) -> bytes:
        """The book as a file for another machine of its user."""
        return self._file.read().to_bytes()

    def take(self, data: bytes, *, replace: bool = False) -> tuple[list[Entry], list[str]]:
        """Take in an exported book: who is new, and why others were left out. Raises `BadBook`.

        With `replace` it takes the place of this one. Otherwise names and peers that are there already stay as they
        are.
        """
        given = Book.from_bytes(data)

        def edit(book: Book) -> tuple[list[Entry], list[str]]:
            if replace:
                for entry in tuple(book):
                    book.remove(entry.name)
            added, left = [], []
            for entry in given:
                known = book.of(entry.peer)
                if known is not None:
                    if known != entry:
                        left.append(f"{entry.name}: that peer is {known.name} here")
                    continue
                try:
                    added.append(book.add(entry.name, entry.peer, entry.note))
                except LocalError as error:
                    left.append(f"{entry.name}: {error}")
            return added, left

        return self._file.change(edit)

    def resolve(self, text: str) -> PublicKey:
        """The peer a user means by a name, `@name` or a peer id. Raises `UnknownName` or `BadPeerId`."""
        return self._readable().resolve(text)

    def show(self, name: str) -> Entry:
        """The entry of a name, or of a peer id. Raises `LocalError`."""
        book = self._read()
        peer = book.resolve(name)
        return book.of(peer) or Entry("", peer)

    def name_of(self, peer: PublicKey) -> str | None:
        """What a peer is called."""
        entry = self._readable().of(peer)
        return None if entry is None else entry.name

    def peers(self) -> list[PublicKey]:
        """Everybody who has a name."""
        return [entry.peer for entry in self._readable()]

    def annotate(self, document: Any) -> Any:
        """A document with the name of each peer beside its id: `peer_name` for `peer`, and in sentences."""
        book = self._readable()
        if not len(book):
            return document
        names = {entry.peer.text: entry.name for entry in book}
        return _annotated(document, names)

    def _own(self, name: str, book: Book) -> Book:
        """This book, in which `name` is to be changed. Raises `BadName` where the one behind it has the name."""
        if self._behind is not None and book.named(name) is None and self._behind.read().named(name) is not None:
            where = "this machine's book, not in that of the network"
            raise BadName(name, f"it stands in {where}", "change it with `--network main`")
        return book

    def _check_looks(self, name: str, peer: PublicKey) -> None:
        other = None if self._behind is None else self._behind.read().alike(checked_name(name))
        if other is not None and other.peer != peer:
            raise BadName(name, f"it looks like {other.name!r} of this machine's book, which is another peer")

    def _read(self) -> Book:
        own = self._file.read()
        if self._behind is None:
            return own
        behind = self._behind.read()
        if self._whole is None or self._whole[0] is not own or self._whole[1] is not behind:
            both = Book(tuple(own))
            for entry in behind:
                with suppress(LocalError):
                    if both.of(entry.peer) is None:
                        both.add(entry.name, entry.peer, entry.note)
            self._whole = own, behind, both
        return self._whole[2]

    def _readable(self) -> Book:
        try:
            return self._read()
        except LocalError as error:
            log.warning("the address book is left out: %s", error)
            return Book()


def _annotated(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_annotated(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    told: dict[str, Any] = {}
    for key, item in value.items():
        if key == "text" and isinstance(item, str):
            told[key] = _ID.sub(lambda found: _beside(found[0], names), item)
            continue
        told[key] = _annotated(item, names)
        if isinstance(item, str) and item in names and f"{key}_name" not in value:
            told[f"{key}_name"] = names[item]
    return told


def _beside(peer: str, names: dict[str, str]) -> str:
    return f"{names[peer]} ({peer})" if peer in names else peer
