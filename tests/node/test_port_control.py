"""PCP and NAT-PMP, byte for byte: what a router is asked, and what its answers mean."""

import ipaddress
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.protocols.port_control import (
    FIRST_REPEAT,
    LIFETIME,
    PAUSE_AFTER_REFUSAL,
    Dialect,
    Mapped,
    NotMapped,
    PortControl,
)

OWN = "192.168.1.7"
NOW = 1000.0


def control(own: str = OWN) -> PortControl:
    return PortControl(own, 7716, random.Random(1), NOW)


def pcp_answer(request: bytes, *, result: int = 0, lifetime: int = 7200, ip: str = "198.51.100.4", port: int = 7716):
    nonce = request[24:36]
    mapped = ipaddress.ip_address(ip)
    raw = mapped.packed if mapped.version == 6 else bytes(10) + b"\xff\xff" + mapped.packed
    head = struct.pack("!BBBBII12x", 2, 0x81, 0, result, lifetime, 77)
    return head + nonce + struct.pack("!B3xHH", 17, 7716, port) + raw


def pmp_answers(*, ip: str = "198.51.100.4", port: int = 7716, lifetime: int = 3600, result: int = 0):
    return (
        struct.pack("!BBHI4s", 0, 128, result, 77, ipaddress.ip_address(ip).packed),
        struct.pack("!BBHIHHI", 0, 129, result, 77, 7716, port, lifetime),
    )


def test_the_request_is_that_of_the_rfc() -> None:
    (request,) = control().datagrams_to_send()
    # RFC 6887 figures 2 and 9: version, opcode MAP, lifetime, our address; nonce, UDP, ports, any address.
    assert request[:8] == bytes((2, 1, 0, 0)) + LIFETIME.to_bytes(4, "big")
    assert request[8:24] == bytes(10) + b"\xff\xff" + bytes((192, 168, 1, 7))
    assert request[36:44] == bytes((17, 0, 0, 0)) + (7716).to_bytes(2, "big") * 2
    assert request[44:] == bytes(10) + b"\xff\xff" + bytes(4)
    assert len(request) == 60


def test_a_granted_port_is_told_and_renewed_at_half_its_life() -> None:
    one = control()
    (request,) = one.datagrams_to_send()
    one.receive_datagram(pcp_answer(request, lifetime=3600, port=40000), NOW + 0.01)
    assert one.next_event() == Mapped(("198.51.100.4", 40000), 3600.0, Dialect.PCP)
    assert one.next_timer() == NOW + 0.01 + 1800
    one.handle_timer(NOW + 1801)
    (renewal,) = one.datagrams_to_send()
    assert renewal[24:36] == request[24:36], "the nonce says that it is ours"
    assert renewal[42:44] == (40000).to_bytes(2, "big"), "and the same port is asked for"


def test_silence_is_repeated_then_tried_as_nat_pmp_then_told() -> None:
    one, now, sent = control(), NOW, 0
    while (event := one.next_event()) is None:
        sent += len(one.datagrams_to_send())
        due = one.next_timer()
        assert due is not None
        now = due
        one.handle_timer(now)
    assert event == NotMapped("the router does not answer")
    assert sent == 5 + 2 * 2
    assert 8 < now - NOW < 15
    assert one.next_timer() == now + PAUSE_AFTER_REFUSAL
    assert FIRST_REPEAT < 1


def test_an_older_router_is_asked_in_its_own_words() -> None:
    one = control()
    one.datagrams_to_send()
    one.receive_datagram(struct.pack("!BBHI", 0, 0x81, 1, 77), NOW)
    address, request = one.datagrams_to_send()
    assert address == bytes(2)
    assert request == struct.pack("!BBHHHI", 0, 1, 0, 7716, 7716, LIFETIME)
    for answer in pmp_answers(port=7717):
        assert one.next_event() is None
        one.receive_datagram(answer, NOW)
    assert one.next_event() == Mapped(("198.51.100.4", 7717), 3600.0, Dialect.NAT_PMP)


@pytest.mark.parametrize(("result", "said"), [(2, "does not allow"), (8, "no resources"), (99, "result 99")])
def test_a_refusal_says_why_and_rests(result: int, said: str) -> None:
    one = control()
    (request,) = one.datagrams_to_send()
    one.receive_datagram(pcp_answer(request, result=result), NOW)
    event = one.next_event()
    assert isinstance(event, NotMapped)
    assert said in event.detail
    assert one.next_timer() == NOW + PAUSE_AFTER_REFUSAL


def test_a_pinhole_for_ipv6_names_the_own_address() -> None:
    one = control("2001:db8::7")
    (request,) = one.datagrams_to_send()
    assert request[8:24] == ipaddress.ip_address("2001:db8::7").packed
    one.receive_datagram(pcp_answer(request, ip="2001:db8::7"), NOW)
    event = one.next_event()
    assert isinstance(event, Mapped)
    assert event.address == ("2001:db8::7", 7716)


def test_what_others_say_changes_nothing() -> None:
    one = control()
    (request,) = one.datagrams_to_send()
    forged = pcp_answer(bytes(60), ip="203.0.113.66")
    other_port = pcp_answer(request)[:40] + b"\0\1" + pcp_answer(request)[42:]
    for data in (forged, other_port, b"", b"\2", request, bytes(2000)):
        one.receive_datagram(data, NOW)
    assert one.next_event() is None
    assert one.ignored == 6


def test_a_mapping_is_given_back() -> None:
    one = control()
    (request,) = one.datagrams_to_send()
    one.receive_datagram(pcp_answer(request), NOW)
    one.next_event()
    one.release(NOW + 5)
    (last,) = one.datagrams_to_send()
    assert last[4:8] == bytes(4), "lifetime 0 deletes (RFC 6887 section 15)"
    assert one.next_timer() is None


def test_an_absurd_lifetime_is_bounded() -> None:
    for lifetime, lasting in ((0, 120.0), (2**32 - 1, 86400.0)):
        one = control()
        (request,) = one.datagrams_to_send()
        one.receive_datagram(pcp_answer(request, lifetime=lifetime), NOW)
        event = one.next_event()
        assert isinstance(event, Mapped)
        assert event.lifetime == lasting


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_no_bytes_of_a_router_raise(datagrams: list[bytes]) -> None:
    one = control()
    for data in [*datagrams, struct.pack("!BBHI", 0, 0x81, 1, 77), *datagrams]:
        one.receive_datagram(data, NOW)
        one.handle_timer(NOW + 1)
        one.datagrams_to_send()
    assert one.ignored <= 2 * len(datagrams) + 1
