"""Names for peers: what is a name, which two look alike, the file, and that nobody is told."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import BadPeerId, LocalError
from dht.identity import IdentityKey, PublicKey
from node.adapters.book_file import BookFile
from node.node_book import AddressBook
from node.protocols.petnames import (
    MAX_ENTRIES,
    MAX_NAME,
    BadBook,
    BadName,
    Book,
    Entry,
    UnknownName,
    checked_name,
    skeleton,
)


def peer(number: int) -> PublicKey:
    return IdentityKey.from_seed(bytes([number]) * 32).public


@pytest.mark.parametrize(
    "name", ["alice", "Bob-2", "Łukasz", "алиса", "山田太郎", "ヤマダsan", "a.b_c", "a" * MAX_NAME]
)
def test_names_of_people_are_names(name):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "1 to 32"),
        ("a" * (MAX_NAME + 1), "1 to 32"),
        ("al ice", "SPACE"),
        ("al\u202eice", "RIGHT-TO-LEFT OVERRIDE"),
        ("al\u200bice", "ZERO WIDTH SPACE"),
        ("al\x1b[2Jice", "U+001B"),
        ("al/ice", "SOLIDUS"),
        ("-rf", "begins with"),
        ("\u0301a", "begins with"),
        ("аlice", "several scripts"),  # A Cyrillic a.
    ],
)
def test_what_could_deceive_or_steer_a_terminal_is_no_name(name, why):
    with pytest.raises(BadName, match=why.replace("+", r"\+")):
        checked_name(name)


@pytest.mark.parametrize(
    ("one", "other"), [("alice", "Al1ce"), ("bob", "b0b"), ("сосо", "coco"), ("modern", "modem"), ("zoë", "zoe")]
)
def test_a_name_that_looks_like_anothers_is_refused(one, other):
    book = Book()
    book.add(one, peer(1))
    with pytest.raises(BadName, match="looks like"):
        book.add(other, peer(2))
    assert skeleton(one) == skeleton(other)


def test_a_name_has_one_peer_and_a_peer_one_name():
    book = Book()
    book.add("alice", peer(1), "from school")
    with pytest.raises(BadName, match="somebody else"):
        book.add("ALICE", peer(2))
    with pytest.raises(BadName, match="already called 'alice'"):
        book.add("bob", peer(1))
    assert book.add("Alice", peer(1), "from work").note == "from work"
    assert [entry.name for entry in book] == ["Alice"]
    book.rename("@alice", "carol")
    assert book.named("alice") is None and book.resolve("CAROL") == peer(1)
    assert book.remove("carol").peer == peer(1) and len(book) == 0
    book.add("alice", peer(2))


def test_ids_and_names_are_told_apart():
    book = Book()
    book.add("alice", peer(1))
    assert book.resolve(peer(2).text) == peer(2)
    assert book.resolve("alice") == book.resolve(" @Alice ") == peer(1)
    with pytest.raises(UnknownName, match="nobody is called") as failed:
        book.resolve("alcie")
    assert "alice" in failed.value.remedy
    with pytest.raises(UnknownName):
        book.resolve("@" + peer(2).text)
    with pytest.raises(BadPeerId):
        book.resolve("somebody-quite-different")


def test_the_book_is_bounded():
    book = Book()
    for number in range(MAX_ENTRIES):
        book._names[f"n{number}"] = Entry(f"n{number}", peer(1))
    with pytest.raises(BadName, match="full"):
        book.add("one-more", peer(2))


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_no_file_raises_anything_but_its_own_error(data):
    with contextlib.suppress(BadBook):
        Book.from_bytes(data)


entries = st.fixed_dictionaries({"name": st.text(max_size=40), "peer": st.text(max_size=60) | st.just(peer(3).text)})


@given(st.lists(entries, max_size=3))
def test_no_entry_raises_anything_but_its_own_error_and_what_is_read_is_written_alike(given_entries):
    try:
        book = Book.from_bytes(json.dumps({"rookery-book": 1, "entries": given_entries}).encode())
    except BadBook:
        return
    assert tuple(Book.from_bytes(book.to_bytes())) == tuple(book)


def test_the_file_is_private_whole_and_read_again_when_it_changes(tmp_path):
    here, there = AddressBook(tmp_path / "data" / "book.json"), AddressBook(tmp_path / "data" / "book.json")
    assert here.entries == ()
    here.add("alice", peer(1), "a note")
    assert [entry.note for entry in there.entries] == ["a note"]
    assert here.path.stat().st_mode & 0o777 == 0o600
    there.rename("alice", "bob")
    assert here.name_of(peer(1)) == "bob" and here.resolve("bob") == peer(1)
    with pytest.raises(BadName):
        here.add("b0b", peer(2))
    assert len(there.entries) == 1
    assert [path.name for path in here.path.parent.iterdir() if path.suffix == ".json"] == ["book.json"]


def test_a_broken_file_costs_the_names_and_is_never_overwritten(tmp_path, caplog):
    path = tmp_path / "book.json"
    path.write_text('{"rookery-book": 1, "entries": [{"name": "a b"}]}')
    book = AddressBook(path)
    assert book.resolve(peer(1).text) == peer(1) and book.name_of(peer(1)) is None
    assert "left out" in caplog.text
    with pytest.raises(BadBook, match="entry 1"):
        book.add("alice", peer(1))
    assert '"a b"' in path.read_text()


def test_a_change_that_fails_half_way_changes_nothing(tmp_path):
    file = BookFile(tmp_path / "book.json")
    file.change(lambda book: book.add("alice", peer(1)))

    def edit(book):
        book.add("bob", peer(2))
        book.remove("nobody")

    with pytest.raises(UnknownName):
        file.change(edit)
    assert [entry.name for entry in file.read()] == ["alice"]


def test_an_exported_book_is_taken_in_without_overruling_what_is_there(tmp_path):
    mine, other = AddressBook(tmp_path / "mine.json"), AddressBook(tmp_path / "other.json")
    other.add("alice", peer(1))
    other.add("bob", peer(2))
    other.add("carol", peer(3))
    mine.add("bob", peer(4))
    mine.add("caroline", peer(3))
    added, left = mine.take(other.export())
    assert [entry.name for entry in added] == ["alice"]
    assert len(left) == 2 and "somebody else" in left[0] and "caroline here" in left[1]
    mine.take(other.export(), replace=True)
    assert [entry.name for entry in mine.entries] == ["alice", "bob", "carol"]


def test_documents_get_names_beside_ids(tmp_path):
    book = AddressBook(tmp_path / "book.json")
    document = {"peer": peer(1).text, "links": [{"owner": peer(1).text, "text": f"link to {peer(1).text} is open"}]}
    assert book.annotate(document) is document
    book.add("alice", peer(1))
    told = book.annotate(document)
    assert told["peer_name"] == "alice" and told["links"][0]["owner_name"] == "alice"
    assert told["links"][0]["text"] == f"link to alice ({peer(1).text}) is open"


def test_a_note_is_one_line(tmp_path):
    with pytest.raises(LocalError, match="one line"):
        AddressBook(tmp_path / "book.json").add("alice", peer(1), "two\nlines")
