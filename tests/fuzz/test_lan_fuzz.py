"""Any bytes as a beacon, as a TXT record, and inside the seal: never raised on, and nobody becomes a peer by them."""

from __future__ import annotations

import contextlib
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from dht.errors import BoxError, DecodeError
from dht.identity import IdentityKey
from node.protocols.lan import LanProtocol, LanSelf
from node.protocols.lan_beacon import Announcement, LanKeys, Query, decode_message, from_txt, unseal
from node.protocols.lan_events import Ask, ClockApart, Foreign, Heard, OutOfReach
from tests.fuzz.test_decoders import load, mutate
from tests.node.lan_ether import segment

VECTORS = load("lan.json")
KEYS = LanKeys(b"")
DATAGRAMS = [bytes.fromhex(one["datagram"]) for one in VECTORS["announcements"] + VECTORS["queries"]]
MESSAGES = [unseal(data[4:], KEYS.network) for data in DATAGRAMS if data]
NOW = VECTORS["now"]


@st.composite
def mutants(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Frozen messages, altered, so that they get past the first tests; or anything at all."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=600))
    return mutate(draw(st.sampled_from(seeds)), random.Random(draw(st.integers(0, 2**32))), seeds)


def node() -> LanProtocol:
    """A node that hears."""
    lan = LanProtocol(
        LanSelf(identity=IdentityKey.from_seed(bytes(32)), node_key=bytes(32), port=1), random.Random(1), NOW
    )
    lan.set_segments((segment("192.168.1.1/24"),), NOW)
    return lan


@settings(max_examples=300, deadline=None)
@given(st.lists(mutants(DATAGRAMS), max_size=4), st.text(max_size=20))
def test_any_datagram_is_taken_in_without_a_word(datagrams: list[bytes], source: str) -> None:
    lan = node()
    for data in datagrams:
        lan.receive_datagram(data, ("192.168.1.9", 0), NOW)
        lan.receive_datagram(data, (source, 0), NOW)
    lan.handle_timer(NOW)
    assert not lan.peers()
    while (event := lan.next_event()) is not None:
        assert isinstance(event, Ask | Heard | Foreign | ClockApart | OutOfReach) or type(event).__name__ == "TxtDue"


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([b"txtvers", b"a", b"b", b"c"]), st.none() | mutants(DATAGRAMS) | st.just(b"1"), max_size=4
    )
)
def test_any_txt_record_too(properties: dict[bytes, bytes | None]) -> None:
    lan = node()
    lan.receive_txt("instance", properties, NOW)
    assert not lan.peers()
    with contextlib.suppress(DecodeError):
        assert len(from_txt(properties)) > 40


@settings(max_examples=300, deadline=None)
@given(mutants(MESSAGES))
def test_what_a_member_seals_is_read_whole_or_refused(message: bytes) -> None:
    try:
        said = decode_message(message, bytes(24), KEYS)
    except DecodeError:
        return
    assert isinstance(said, Query) or message in MESSAGES
    assert isinstance(said, Announcement | Query)


@settings(max_examples=200, deadline=None)
@given(mutants(DATAGRAMS))
def test_what_opens_is_what_was_sealed(data: bytes) -> None:
    try:
        message = unseal(data[4:], KEYS.network)
    except BoxError:
        return
    assert message in MESSAGES
