"""Contacts: the packed form of replies, hostile bytes, and what people write into lists."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.constants import KEY_BYTES
from dht.contact import (
    PACKED_V4,
    PACKED_V6,
    Contact,
    pack_address,
    pack_contacts,
    parse_contact,
    unpack_address,
    unpack_contact,
    unpack_contacts,
)
from dht.errors import DecodeError, LocalError
from dht.identity import node_id, to_zbase32

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "contacts.json").read_text(encoding="utf-8"))
KEY = bytes.fromhex(VECTORS["key"])
TEXT = to_zbase32(KEY)
V4 = Contact(KEY, ("124.31.75.21", 4701))
V6 = Contact(KEY, ("2a00:1:2::3", 4701))

addresses = st.tuples(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(0, 65535))


@pytest.mark.parametrize("vector", VECTORS["contacts"], ids=lambda vector: vector["ip"])
def test_frozen_contacts(vector: dict[str, Any]) -> None:
    contact = Contact(KEY, (vector["ip"], vector["port"]))
    assert contact.packed.hex() == vector["packed"]
    assert contact.id.hex() == vector["id"]
    assert contact.text == vector["text"]
    assert unpack_contact(contact.packed) == contact
    assert parse_contact(vector["text"]) == contact


def test_the_id_is_computed_from_key_and_address() -> None:
    assert V4.long_id == node_id(KEY, "124.31.75.21") == int.from_bytes(V4.id, "big")
    assert V4.id != V6.id


def test_contacts_are_equal_by_key_and_endpoint() -> None:
    assert Contact(KEY, ("124.31.75.21", 4701)) == V4
    assert len({V4, Contact(KEY, ("124.31.75.21", 4701)), Contact(KEY, ("124.31.75.21", 4702)), V6}) == 3
    assert V4.packed != V4


class TestAddresses:
    @given(addresses)
    def test_round_trip(self, address: tuple[str, int]) -> None:
        unpacked = unpack_address(pack_address(address))
        assert unpacked == address
        assert isinstance(unpacked, tuple)  # a list would work in memory and break on a socket

    @pytest.mark.parametrize("length", [0, 1, 5, 7, 17, 19, 38])
    def test_other_lengths_are_refused(self, length: int) -> None:
        with pytest.raises(DecodeError, match=f"{length} bytes, expected 6 or 18"):
            unpack_address(bytes(length))


class TestUnpacking:
    @pytest.mark.parametrize(
        "address",
        [
            *(("1.2.3.4", 0), ("224.0.0.1", 1), ("239.255.255.255", 1), ("0.0.0.0", 1), ("255.255.255.255", 1)),
            *(("2a00::1", 0), ("ff02::1", 1), ("::", 1), ("::ffff:1.2.3.4", 1)),
        ],
    )
    def test_where_no_node_can_be_gives_no_contact(self, address: tuple[str, int]) -> None:
        assert unpack_contact(KEY + pack_address(address)) is None

    def test_the_others_of_the_reply_are_kept(self) -> None:
        dead = KEY + pack_address(("224.0.0.1", 1))
        assert unpack_contacts(dead + V4.packed, V6.packed) == [V4, V6]

    @pytest.mark.parametrize("length", [1, PACKED_V4 - 1, PACKED_V4 + 1, 2 * PACKED_V4 - 1])
    def test_parts_of_contacts_are_refused(self, length: int) -> None:
        with pytest.raises(DecodeError, match="not whole contacts"):
            unpack_contacts((V4.packed * 2)[:length], b"")

    def test_parts_of_ipv6_contacts_are_refused(self) -> None:
        with pytest.raises(DecodeError, match="not whole contacts"):
            unpack_contacts(b"", V6.packed[:-1])

    @given(st.binary(max_size=200), st.binary(max_size=200))
    def test_any_bytes_are_read_or_refused(self, v4: bytes, v6: bytes) -> None:
        whole = len(v4) % PACKED_V4 == 0 and len(v6) % PACKED_V6 == 0
        try:
            contacts = unpack_contacts(v4, v6)
        except DecodeError:
            assert not whole
            return
        assert whole
        assert len(contacts) <= len(v4) // PACKED_V4 + len(v6) // PACKED_V6

    @given(st.binary(min_size=PACKED_V4, max_size=PACKED_V4))
    def test_unpacked_contacts_pack_to_the_same_bytes(self, packed: bytes) -> None:
        contact = unpack_contact(packed)
        assert contact is None or contact.packed == packed

    @given(st.binary(min_size=PACKED_V6, max_size=PACKED_V6))
    def test_unpacked_ipv6_contacts_pack_to_the_same_bytes(self, packed: bytes) -> None:
        contact = unpack_contact(packed)
        assert contact is None or contact.packed == packed


class TestPacking:
    def test_sizes(self) -> None:
        assert len(V4.packed) == PACKED_V4 == KEY_BYTES + 6
        assert len(V6.packed) == PACKED_V6 == KEY_BYTES + 18

    @pytest.mark.parametrize("room, fits", [(0, 0), (37, 0), (38, 1), (87, 1), (88, 2), (125, 2), (126, 3), (1000, 3)])
    def test_as_many_as_fit_nearest_first(self, room: int, fits: int) -> None:
        contacts = [V4, V6, Contact(KEY, ("9.9.9.9", 9))]
        v4, v6 = pack_contacts(contacts, room)
        assert len(v4) + len(v6) <= room
        assert set(unpack_contacts(v4, v6)) == set(contacts[:fits])

    def test_order_within_a_family_is_kept(self) -> None:
        contacts = [Contact(KEY, (f"9.9.9.{host}", 9)) for host in (3, 1, 2)]
        assert unpack_contacts(*pack_contacts(contacts, 1000)) == contacts


class TestParsing:
    def test_ipv6_is_bracketed(self) -> None:
        assert V6.text == f"{TEXT}@[2a00:1:2::3]:4701"
        assert parse_contact(f"  {V6.text.upper()}\n") == V6

    @pytest.mark.parametrize(
        "text, problem",
        [
            ("", "expected KEY@HOST:PORT"),
            ("1.2.3.4:80", "expected KEY@HOST:PORT"),
            (f"{TEXT[:-1]}@1.2.3.4:80", "52 characters"),
            (f"{TEXT[:-1]}l@1.2.3.4:80", "52 characters"),
            (f"{'9' * 52}@1.2.3.4:80", "52 characters"),
            (TEXT, "expected KEY@HOST:PORT"),
            (f"{TEXT}@1.2.3.4", "'' is not an IP address"),
            (f"{TEXT}@example.org:80", "'example.org' is not an IP address"),
            (f"{TEXT}@1.2.3:80", "is not an IP address"),
            (f"{TEXT}@[2a00::g]:80", "is not an IP address"),
            (f"{TEXT}@1.2.3.4:", "'' is not a port"),
            (f"{TEXT}@1.2.3.4:0", "'0' is not a port"),
            (f"{TEXT}@1.2.3.4:65536", "'65536' is not a port"),
            (f"{TEXT}@1.2.3.4:-1", "'-1' is not a port"),
            (f"{TEXT}@1.2.3.4:{'9' * 5000}", "is not a port"),
            (f"{TEXT}@1.2.3.4:٣", "'٣' is not a port"),
            (f"{TEXT}@224.0.0.1:80", "not the address of one host"),
            (f"{TEXT}@0.0.0.0:80", "not the address of one host"),
            (f"{TEXT}@[::ffff:1.2.3.4]:80", "not the address of one host"),
            (f"{TEXT}@[fe80::1%eth0]:80", "not the address of one host"),
        ],
    )
    def test_errors_say_what_is_wrong(self, text: str, problem: str) -> None:
        with pytest.raises(LocalError) as caught:
            parse_contact(text)
        assert problem in str(caught.value)

    @given(st.text(max_size=80))
    def test_any_text_is_refused_cleanly(self, tail: str) -> None:
        with pytest.raises(LocalError):
            parse_contact(tail)

    @given(st.text(max_size=20))
    def test_any_endpoint_is_read_or_refused_cleanly(self, endpoint: str) -> None:
        try:
            contact = parse_contact(f"{TEXT}@{endpoint}")
        except LocalError:
            return
        assert parse_contact(contact.text) == contact
