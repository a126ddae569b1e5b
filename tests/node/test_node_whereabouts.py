"""What is remembered of peers: bounded, expiring, out of a journal that may hold anything, and there after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contact import Contact
from dht.errors import DecodeError
from dht.identity import IdentityKey, NodeKey, PublicKey
from node.adapters.memory_storage import MemoryStorage, Rows
from node.adapters.sqlite import SqliteStorage
from node.node_whereabouts import MAX_AGE, MAX_CONTACTS, PREFIX, Remembered, Whereabouts
from node.ports import Hint

PEERS = [IdentityKey.from_seed(bytes([number]) * 32).public for number in range(1, 6)]
CONTACTS = tuple(
    Contact(NodeKey.from_secret(bytes([number]) * 32).public, (ip, 4000 + number))
    for number, ip in enumerate(("192.0.2.1", "2001:db8::1", "192.0.2.3", "192.0.2.4", "192.0.2.5"), 1)
)
HINT = Hint(CONTACTS[:2], CONTACTS[2:4], b"f" * 32)


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def remembering(rows: Rows, clock: Clock, size: int = 3) -> Whereabouts:
    return Whereabouts(MemoryStorage(rows), clock, size=size)


async def restored(rows: Rows, clock: Clock, size: int = 3) -> Whereabouts:
    storage = MemoryStorage(rows)
    made = Whereabouts(storage, clock, size=size)
    made.restore(await storage.load())
    return made


async def test_it_keeps_the_latest_linked_and_comes_back() -> None:
    rows, clock = Rows(), Clock()
    one = remembering(rows, clock)
    for peer in PEERS[:4]:
        clock.now += 1
        one.note(peer, HINT, "host")
    assert await one.find(PEERS[0]) is None and len(one) == 3
    assert len(rows.meta) == 3
    two = await restored(rows, clock)
    assert [await two.find(peer) for peer in PEERS[:4]] == [None, HINT, HINT, HINT]
    three = await restored(rows, clock, size=1)
    assert len(three) == 1 and await three.find(PEERS[3]) == HINT and len(rows.meta) == 1
    assert len(await restored(rows, clock, size=0)) == 0 and not rows.meta


async def test_what_is_old_is_not_tried_any_more() -> None:
    rows, clock = Rows(), Clock()
    one = remembering(rows, clock)
    one.note(PEERS[0], HINT, "host")
    clock.now += MAX_AGE + 1
    assert len(await restored(rows, clock)) == 0 and not rows.meta
    assert await one.find(PEERS[0]) is None and len(one) == 0


async def test_an_address_with_somebody_else_at_it_is_forgotten_and_homes_are_kept() -> None:
    rows, clock = Rows(), Clock()
    one = remembering(rows, clock)
    one.note(PEERS[0], HINT, "host")
    one.wrong(PEERS[0], Hint(CONTACTS[:1], (), HINT.fingerprint))
    assert await (await restored(rows, clock)).find(PEERS[0]) == Hint(CONTACTS[1:2], HINT.homes, HINT.fingerprint)
    one.wrong(PEERS[0], Hint(CONTACTS[4:5]))
    kept = await one.find(PEERS[0])
    assert kept is not None and kept.direct == CONTACTS[1:2]
    one.note(PEERS[1], Hint(CONTACTS[:1], (), HINT.fingerprint), "host")
    one.wrong(PEERS[1], HINT)
    assert await one.find(PEERS[1]) is None
    one.note(PEERS[2], Hint(), "relay")  # Nothing is known that could be used.
    assert await one.find(PEERS[2]) is None


async def test_rows_that_say_nothing_leave_the_journal() -> None:
    rows, clock = Rows(), Clock()
    rows.meta |= {PREFIX + "nobody": b"x", PREFIX + PEERS[0].text: b"\xc1", "served": b"1"}
    assert len(await restored(rows, clock)) == 0
    assert rows.meta == {"served": b"1"}


async def test_it_survives_a_kill(tmp_path: Path) -> None:
    clock = Clock()
    storage = await SqliteStorage.open(tmp_path / "journal.db")
    Whereabouts(storage, clock).note(PEERS[0], HINT, "host")
    await storage.flush()
    # As after kill -9: the first one is never closed.
    other = await SqliteStorage.open(tmp_path / "journal.db")
    again = Whereabouts(other, clock)
    again.restore(await other.load())
    assert await again.find(PEERS[0]) == HINT
    await other.close()
    await storage.close()
    Whereabouts(storage, clock).note(PEERS[1], HINT, "host")  # A node's last words: no fault.


@given(st.binary(max_size=400))
def test_rubbish_is_refused_by_name(data: bytes) -> None:
    try:
        kept = Remembered.from_bytes(data)
    except DecodeError:
        return
    assert isinstance(kept.hint, Hint)


@given(
    st.lists(st.sampled_from(CONTACTS), max_size=6),
    st.lists(st.sampled_from(CONTACTS), max_size=6),
    st.sampled_from([b"", b"f" * 32]),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_what_is_written_is_read(direct: list[Contact], homes: list[Contact], fingerprint: bytes, when: float) -> None:
    kept = Remembered.from_bytes(Remembered(Hint(tuple(direct), tuple(homes), fingerprint), "host", when).to_bytes())
    assert kept.hint == Hint(tuple(direct[:MAX_CONTACTS]), tuple(homes[:MAX_CONTACTS]), fingerprint)
    assert kept.when == when


@pytest.mark.parametrize("change", [(0, 2), (3, b"short"), (4, [b"x"] * 2), (4, [CONTACTS[0].packed] * 5)])
def test_each_bound_has_its_refusal(change: tuple[int, object]) -> None:
    import msgspec

    said: list[object] = msgspec.msgpack.decode(Remembered(HINT, "host", 1.0).to_bytes())
    said[change[0]] = change[1]
    with pytest.raises(DecodeError):
        Remembered.from_bytes(msgspec.msgpack.encode(said))


def test_peers_are_named_by_their_keys() -> None:
    assert PublicKey.parse(PEERS[0].text) == PEERS[0] and len(PREFIX + PEERS[0].text) <= 64
