"""STUN answers: RFC 5769's vectors, and what aioice reads in them."""

import pytest
from aioice import stun as aioice
from hypothesis import given
from hypothesis import strategies as st

from dht.contact import Address
from dht.stun import HEADER, MAGIC_COOKIE, binding_response, is_stun

# https://www.rfc-editor.org/rfc/rfc5769#section-2.1, sample request
SAMPLE_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff"
    "80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")

# Of sections 2.2 and 2.3: the address in the samples' text, and the XOR-MAPPED-ADDRESS in their bytes.
SAMPLES: list[tuple[Address, str]] = [
    (("192.0.2.1", 32853), "002000080001a147e112a643"),
    (("2001:db8:1234:5678:11:2233:4455:6677", 32853), "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),
]

SOFTWARE = bytes.fromhex("802200105354554e207465737420636c69656e74")
"""The one attribute of the sample request that a server need not understand."""


def request(body: bytes = b"", *, kind: int = 0x0001, length: int | None = None) -> bytes:
    return HEADER.pack(kind, len(body) if length is None else length, MAGIC_COOKIE, TRANSACTION) + body


class TestIsStun:
    def test_samples_are(self) -> None:
        assert is_stun(SAMPLE_REQUEST)
        assert is_stun(request())

    @pytest.mark.parametrize("first", [4, 20, 64, 0xD1, 255])
    def test_first_byte_of_other_protocols_is_not(self, first: int) -> None:
        # RFC 7983 section 7
        assert not is_stun(bytes((first,)) + request()[1:])

    def test_without_the_magic_cookie_it_is_not(self) -> None:
        assert not is_stun(request()[:4] + b"\x21\x12\xa4\x43" + TRANSACTION)

    @pytest.mark.parametrize("size", range(20))
    def test_under_twenty_bytes_it_is_not(self, size: int) -> None:
        assert not is_stun(request()[:size])


class TestBindingResponse:
    @pytest.mark.parametrize("address, attribute", SAMPLES, ids=["IPv4", "IPv6"])
    def test_address_is_written_as_in_rfc_5769(self, address: Address, attribute: str) -> None:
        response = binding_response(request(SOFTWARE), address)
        assert response is not None
        assert response[20:].hex() == attribute
        assert response[:20] == HEADER.pack(0x0101, len(attribute) // 2, MAGIC_COOKIE, TRANSACTION)

    def test_request_that_asks_for_more_than_an_address_has_no_answer(self) -> None:
        # RFC 5769's own has a USERNAME and a MESSAGE-INTEGRITY, which must be understood.
        assert binding_response(SAMPLE_REQUEST, SAMPLES[0][0]) is None

    @pytest.mark.parametrize("address, attribute", SAMPLES, ids=["IPv4", "IPv6"])
    def test_sizes_are_those_the_byte_rule_excepts(self, address: Address, attribute: str) -> None:
        response = binding_response(request(), address)
        assert response is not None
        assert len(response) == (32 if ":" not in address[0] else 44)

    @given(st.ip_addresses().map(str), st.integers(1, 65535), st.binary(min_size=12, max_size=12))
    def test_aioice_reads_the_address(self, ip: str, port: int, transaction: bytes) -> None:
        asked = aioice.Message(aioice.Method.BINDING, aioice.Class.REQUEST, transaction_id=transaction)
        response = binding_response(bytes(asked), (ip, port))
        assert response is not None
        message = aioice.parse_message(response)
        assert message.message_method is aioice.Method.BINDING
        assert message.message_class is aioice.Class.RESPONSE
        assert message.transaction_id == transaction
        assert message.attributes == {"XOR-MAPPED-ADDRESS": (ip, port)}

    def test_request_of_aioice_with_attributes_is_answered(self) -> None:
        asked = aioice.Message(aioice.Method.BINDING, aioice.Class.REQUEST, attributes={"SOFTWARE": "test"})
        asked.add_fingerprint()
        assert binding_response(bytes(asked), ("192.0.2.1", 1000)) is not None

    def test_the_sample_is_as_the_rfc_prints_it(self) -> None:
        # aioice checks the fingerprint: a misprint in the bytes above would show.
        assert aioice.parse_message(SAMPLE_REQUEST).attributes["USERNAME"] == "evtj:h6vY"

    @pytest.mark.parametrize(
        "data",
        [
            request(kind=0x0101),
            request(kind=0x0011),
            request(kind=0x0111),
            request(kind=0x0003),
            request(length=4),
            request(b"\x80\x22\x00\x00", length=0),
            request(bytes(3)),
            SAMPLE_REQUEST[:-1],
            SAMPLE_REQUEST + b"\x00",
        ],
        ids=[
            "a response",
            "an indication",
            "an error",
            "another method",
            "shorter than it says",
            "longer than it says",
            "not of four-byte steps",
            "cut",
            "trailing byte",
        ],
    )
    def test_anything_else_is_not_answered(self, data: bytes) -> None:
        assert is_stun(data)
        assert binding_response(data, ("192.0.2.1", 1000)) is None

    @given(st.binary(max_size=60), st.integers(0, 65535))
    def test_never_raises_for_what_looks_like_stun(self, body: bytes, length: int) -> None:
        response = binding_response(request(body, length=length), ("192.0.2.1", 1000))
        assert (response is not None) == (length == len(body) and length % 4 == 0)
