"""Whatever five of twenty holders say, in whatever order answers come, a read ends with the newest valid record."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dht.contact import Contact, pack_contacts
from dht.engine import DhtEngine
from dht.events import GetDone
from dht.requests import Pending
from dht.walks import GetWalk
from dht.wire import Value
from tests.dht.handdriven import NOW, Wire, record

HOLDERS, LIARS = 20, 5
NEWEST = record(seq=5)
OLDER = [record(seq=seq).raw for seq in range(1, 5)]
FORGED = record(seq=9, payload=b"forged").raw[:-1] + b"\x00"
LIES = [*OLDER, FORGED, FORGED[:40], b"", record(seq=9, expires=NOW - 9000).raw, record(2, seq=9).raw, NEWEST.raw[:-1]]
CONTACTS = [Contact(bytes([number]) * 32, (f"124.{number}.7.1", 4000)) for number in range(1, HOLDERS + 1)]
MADE_UP = [Contact(bytes([number]) * 32, (f"125.{number}.7.1", 4000)) for number in range(101, 141)]


class Overheard(GetWalk):
    """A read whose questions the test answers."""

    def ask(self, contact: Contact, now: float) -> None:
        """Send nothing; remember who is to answer."""
        self.flying.append(contact)

    flying: list[Contact]


def ended(reader: DhtEngine) -> GetDone | None:
    while (event := reader.next_event()) is not None:
        if isinstance(event, GetDone):
            return event
    return None


@given(
    data=st.data(), paths=st.sampled_from([1, 2, 4, 8]), liars=st.sets(st.sampled_from(range(HOLDERS)), max_size=LIARS)
)
@settings(max_examples=60, deadline=None)
def test_the_newest_valid_record_wins(data: st.DataObject, paths: int, liars: set[int]) -> None:
    (reader,) = Wire(1).engines.values()
    walk = Overheard(reader, 1, NEWEST.place, NOW, quorum=reader.config.read_quorum, paths=paths)
    walk.flying = []
    walk.start(NOW, CONTACTS)
    false = {CONTACTS[number].key for number in liars}
    done = None
    for _ in range(200):
        if (done := ended(reader)) is not None or not walk.flying:
            break
        contact = walk.flying.pop(data.draw(st.integers(0, len(walk.flying) - 1), label="who answers next"))
        pending = Pending(1, contact, Value, walk, 0)
        if contact not in CONTACTS:
            walk.on_failure(pending, NOW)
        elif contact.key in false:
            lies = data.draw(st.lists(st.sampled_from(LIES), max_size=4), label="lies")
            names, _ = pack_contacts(data.draw(st.lists(st.sampled_from(MADE_UP), max_size=8, unique=True)), 1000)
            walk.on_reply(pending, Value(1, b"", lies, len(lies), names, b""), NOW)
        else:
            walk.on_reply(pending, Value(1, b"", [NEWEST.raw], 1, b"", b""), NOW)
    done = done or ended(reader)
    assert done is not None
    assert [found.raw for found in done.records if found.owner == NEWEST.owner] == [NEWEST.raw]
    assert len(done.records) == 1


def test_lies_are_lies() -> None:
    """Without this the property would hold of harmless nonsense."""
    (reader,) = Wire(1).engines.values()
    for lie in LIES:
        walk = Overheard(reader, 1, NEWEST.place, NOW, quorum=1)
        walk.flying = []
        walk.start(NOW, CONTACTS[:1])
        walk.on_reply(Pending(1, CONTACTS[0], Value, walk, 0), Value(1, b"", [lie], 1, b"", b""), NOW)
        done = ended(reader)
        told = [found.seq for found in done.records] if done is not None else []
        assert told == ([OLDER.index(lie) + 1] if lie in OLDER else [])
