"""Petnames: what this node's user calls peers, and which names may be told apart.

Decides what a name is, which two names look alike, and the form of the file. Refuses to know files. Names are local
(Stiegler, "Petname Systems", 2005): nothing in here has a form for the wire, and no protocol imports it.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from dht.errors import BadPeerId, LocalError
from dht.identity import TEXT_LENGTH, PublicKey

VERSION: Final = 1

MAX_NAME: Final = 32
"""Characters of a name: fewer than a peer id has, so that neither is ever taken for the other. UNSOURCED"""

MAX_NOTE: Final = 200
"""Characters of a note. UNSOURCED: a line or two."""

MAX_ENTRIES: Final = 10_000
"""Names in one book: bounds what a file handed to `import` can make of it. UNSOURCED"""

MAX_FILE: Final = 8 * 1024 * 1024
"""Bytes of a book's file: its most entries at their longest. UNSOURCED"""

_EAST_ASIAN: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "KATAKANA-HIRAGANA"})
"""Scripts written together (UTS 39, section 5.2, "highly restrictive")."""

_ALIKE: Final = str.maketrans(
    {
        foreign: latin
        for latin, lookalikes in {
            "a": "аαɑ", "b": "вьЬ", "c": "сϲ", "d": "ԁ", "e": "еҽ", "g": "ɡ", "h": "һнн", "i": "іιı", "j": "ј",
            "k": "кκ", "l": "iіıιӏ1|", "m": "м", "o": "оο0ө", "p": "рρ", "q": "ԛ", "s": "ѕ", "t": "тτ",
            "u": "υ", "v": "νѵ", "w": "ԝѡ", "x": "хχ", "y": "уγ",
        }.items()
        for foreign in lookalikes
    }
)  # fmt: skip
"""Letters that look like Latin ones (UTS 39's confusables, those that are letters of words); 0 and 1 likewise."""


class BadName(LocalError):
    """Raised for a text that cannot be a name, or not in this book."""

    kind = "bad-name"

    def __init__(self, name: str, problem: str, remedy: str = "") -> None:
        super().__init__(f"{name[: 2 * MAX_NAME]!r} cannot be a name: {problem}")
        self.remedy = remedy


class UnknownName(LocalError):
    """Raised when nobody has this name."""

    kind = "unknown-name"

    def __init__(self, name: str, near: str | None = None) -> None:
        super().__init__(f"nobody is called {name[: 2 * MAX_NAME]!r} in the address book")
        self.remedy = f"did you mean {near}?" if near else "`rookery book list` shows who is in it"


class BadBook(LocalError):
    """Raised when a file is no address book."""

    kind = "bad-book"


@dataclass(frozen=True, slots=True)
class Entry:
    """One peer that has a name."""

    name: str
    peer: PublicKey
    note: str = ""


def checked_name(text: str) -> str:
    """A name as it is kept. Raises `BadName`.

    Letters, digits, and `-`, `_`, `.` inside, NFKC, one script (or those of East Asia, and Latin beside them).
    """
    name = unicodedata.normalize("NFKC", text.removeprefix("@"))
    if not 1 <= len(name) <= MAX_NAME:
        raise BadName(text, f"a name has 1 to {MAX_NAME} characters, not {len(name)}")
    for char in name:
        if unicodedata.category(char)[0] not in "LMN" and char not in "-_.":
            what = f"U+{ord(char):04X} {unicodedata.name(char, 'without a name')}"
            raise BadName(text, f"it has {what}", "letters, digits, - _ and . can be in a name")
    if name[0] in "-." or unicodedata.category(name[0])[0] == "M":
        raise BadName(text, f"it begins with {name[0]!r}", "begin with a letter or a digit")
    scripts = {_script(char) for char in name if char.isalpha()} - {"LATIN"}
    mixed = len(scripts) > 1 and not scripts <= _EAST_ASIAN
    if mixed or (scripts and not scripts <= _EAST_ASIAN and any(_script(char) == "LATIN" for char in name)):
        raise BadName(text, "it mixes letters of several scripts, some of which look alike", "write it in one script")
    return name


def checked_note(text: str) -> str:
    """A note as it is kept. Raises `BadName`."""
    if len(text) > MAX_NOTE:
        raise LocalError(f"a note has at most {MAX_NOTE} characters, not {len(text)}")
    if any(not char.isprintable() for char in text):
        raise LocalError("a note is one line of printable characters")
    return text


def skeleton(name: str) -> str:
    """What a name looks like: two names with one skeleton cannot be told apart by a hasty eye."""
    bare = "".join(char for char in unicodedata.normalize("NFD", name.casefold()) if not unicodedata.combining(char))
    return unicodedata.normalize("NFKC", bare).translate(_ALIKE).replace("rn", "m").replace("vv", "w")


def _script(char: str) -> str:
    return unicodedata.name(char, "?").split(" ")[0] if char.isalpha() else ""


class Book:
    """Names and peers, one to one. Immutable from outside but by its methods; every method keeps it whole."""

    def __init__(self, entries: tuple[Entry, ...] = ()) -> None:
        self._names: dict[str, Entry] = {}
        self._peers: dict[PublicKey, Entry] = {}
        self._looks: dict[str, Entry] = {}
        for entry in entries:
            self._put(entry)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Entry]:
        """By name."""
        return iter(sorted(self._names.values(), key=lambda entry: entry.name.casefold()))

    def of(self, peer: PublicKey) -> Entry | None:
        """The entry of a peer."""
        return self._peers.get(peer)

    def named(self, name: str) -> Entry | None:
        """The entry of a name, whatever its case; with or without @."""
        return self._names.get(_key(name.removeprefix("@")))

    def resolve(self, text: str) -> PublicKey:
        """The peer that a user means: `@name` is a name, else a peer id or a name.

        Raises `UnknownName`, or `BadPeerId` with what is wrong with the id.
        """
        text = text.strip()
        entry = self.named(text)
        if entry is not None:
            return entry.peer
        if text.startswith("@"):
            raise UnknownName(text, self.near(text))
        try:
            return PublicKey.parse(text)
        except BadPeerId:
            near = self.near(text)
            if near is None:
                raise
            raise UnknownName(text, near) from None

    def alike(self, name: str) -> Entry | None:
        """The entry whose name looks like this one, if it is not the same."""
        entry = self._looks.get(skeleton(name))
        return entry if entry is not None and _key(entry.name) != _key(name.removeprefix("@")) else None

    def near(self, text: str) -> str | None:
        """The name that was probably meant."""
        import difflib

        if len(text) > MAX_NAME:
            return None
        names = {_key(entry.name): entry.name for entry in self._names.values()}
        close = difflib.get_close_matches(_key(text.removeprefix("@")), names, 1, 0.75)
        return names[close[0]] if close else None

    def add(self, name: str, peer: PublicKey, note: str = "") -> Entry:
        """Name a peer; the same again changes the note. Raises `BadName`."""
        entry = Entry(checked_name(name), peer, checked_note(note))
        known = self._peers.get(peer)
        if known is not None and _key(known.name) != _key(entry.name):
            raise BadName(name, f"that peer is already called {known.name!r}", f"rookery book rename {known.name} NEW")
        self._check_free(entry, but=known)
        if known is not None:
            self._take(known)
        elif len(self) >= MAX_ENTRIES:
            raise BadName(name, f"the book is full: it has {MAX_ENTRIES} names")
        self._put(entry)
        return entry

    def rename(self, old: str, new: str) -> Entry:
        """Give a peer another name. Raises `UnknownName` or `BadName`."""
        known = self._known(old)
        entry = Entry(checked_name(new), known.peer, known.note)
        self._check_free(entry, but=known)
        self._take(known)
        self._put(entry)
        return entry

    def remove(self, name: str) -> Entry:
        """Forget a name. Raises `UnknownName`."""
        known = self._known(name)
        self._take(known)
        return known

    def _known(self, name: str) -> Entry:
        entry = self.named(name)
        if entry is None:
            raise UnknownName(name, self.near(name))
        return entry

    def _check_free(self, entry: Entry, *, but: Entry | None) -> None:
        taken = self._names.get(_key(entry.name))
        if taken is not None and taken is not but:
            raise BadName(entry.name, "somebody else is called that", f"rookery book rename {taken.name} NEW")
        alike = self._looks.get(skeleton(entry.name))
        if alike is not None and alike is not but:
            raise BadName(entry.name, f"it looks like {alike.name!r}, which is another peer")

    def _put(self, entry: Entry) -> None:
        self._names[_key(entry.name)] = entry
        self._peers[entry.peer] = entry
        self._looks[skeleton(entry.name)] = entry

    def _take(self, entry: Entry) -> None:
        del self._names[_key(entry.name)]
        del self._peers[entry.peer]
        del self._looks[skeleton(entry.name)]

    # As a file

    def to_json(self) -> dict[str, Any]:
        """As a document."""
        entries = [{"name": one.name, "peer": one.peer.text, "note": one.note} for one in self]
        return {"rookery-book": VERSION, "entries": entries}

    def to_bytes(self) -> bytes:
        """As the bytes of a file: for people, too."""
        return (json.dumps(self.to_json(), ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Book:
        """Read a file. Raises `BadBook` that says what is wrong with which entry."""
        if len(data) > MAX_FILE:
            raise BadBook(f"not an address book: {len(data)} bytes, at most {MAX_FILE} are allowed")
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            raise BadBook("not an address book: it is not JSON") from None
        if not isinstance(document, dict) or "rookery-book" not in document:
            raise BadBook('not an address book: it has no "rookery-book"')
        if document["rookery-book"] != VERSION:
            raise BadBook(f"an address book of version {document['rookery-book']!r}; this release knows {VERSION}")
        entries = document.get("entries")
        if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
            raise BadBook(f'not an address book: "entries" must be a list of at most {MAX_ENTRIES}')
        book = cls()
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
                raise BadBook(f"entry {number} of the address book is not a name, a peer and a note")
            try:
                peer = PublicKey.parse(entry.get("peer", ""))
                book.add(entry.get("name", ""), peer, entry.get("note", ""))
            except LocalError as error:
                raise BadBook(f"entry {number} of the address book: {error}") from None
        return book


def _key(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


assert MAX_NAME < TEXT_LENGTH  # A peer id is never a name.
