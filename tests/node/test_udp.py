import asyncio
import errno
import socket
from typing import cast

import pytest

from dht.constants import MAX_DATAGRAM
from dht.errors import LocalError
from node.adapters import udp
from node.adapters.udp import BATCH, SEND_QUEUE, UdpSockets

LOCAL = "127.0.0.1"


class Inbox:
    """A receiver that keeps batches and can be waited for."""

    def __init__(self):
        self.batches = []
        self.changed = asyncio.Event()

    def __call__(self, batch):
        self.batches.append(batch)
        self.changed.set()

    @property
    def datagrams(self):
        return [one for batch in self.batches for one in batch]

    async def wait_for(self, count):
        async with asyncio.timeout(10):
            while len(self.datagrams) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def opened():
    made = []

    def make(hosts=(LOCAL,), port=0):
        one = UdpSockets.open(list(hosts), port)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


async def test_datagrams_come_with_their_senders_address(opened):
    one, other = opened(), opened()
    inbox = Inbox()
    other.attach(inbox)
    one.send(b"hello", (LOCAL, other.port))
    await inbox.wait_for(1)
    assert inbox.datagrams == [(b"hello", (LOCAL, one.port))]
    assert one.counters["sent"] == other.counters["received"] == 1


async def test_what_waits_is_handed_over_in_batches(opened):
    one, other = opened(), opened()
    inbox = Inbox()
    for number in range(BATCH + 10):
        one.send(b"%d" % number, (LOCAL, other.port))
    other.attach(inbox)
    await inbox.wait_for(BATCH + 10)
    assert [len(batch) for batch in inbox.batches] == [BATCH, 10]
    assert [data for data, _ in inbox.datagrams] == [b"%d" % number for number in range(BATCH + 10)]


async def test_both_families_share_a_port(opened):
    one, other = opened([LOCAL, "::1"]), opened(["::1", LOCAL])
    assert one.addresses == [(LOCAL, one.port), ("::1", one.port)]
    inbox = Inbox()
    other.attach(inbox)
    one.send(b"six", ("::1", other.port))
    one.send(b"four", (LOCAL, other.port))
    await inbox.wait_for(2)
    assert sorted(inbox.datagrams) == [(b"four", (LOCAL, one.port)), (b"six", ("::1", one.port))]


async def test_a_family_that_is_not_bound_is_counted(opened):
    one = opened()
    one.send(b"x", ("2001:db8::1", 4000))
    one.send_from_elsewhere(b"x", ("2001:db8::1", 4000))
    assert one.counters["no_family"] == 2


async def test_a_machine_without_ipv6_listens_on_ipv4_alone(opened, monkeypatch):
    real = udp._bound_socket

    def without_ipv6(family, host, port):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, host, port)

    monkeypatch.setattr(udp, "_bound_socket", without_ipv6)
    assert len(opened(["0.0.0.0", "::"]).addresses) == 1
    with pytest.raises(LocalError, match="::1"):
        opened([LOCAL, "::1"])


async def test_a_port_in_use_is_named_with_what_to_do(opened):
    taken = opened()
    with pytest.raises(LocalError, match=rf"UDP port {taken.port} on 127.0.0.1 is in use.*choose another port"):
        opened(port=taken.port)


async def test_a_port_of_which_ipv6_has_no_free_twin_is_left_for_another(opened, monkeypatch):
    real = udp._bound_socket
    refused: list[int] = []

    def taken_at_first(family, host, port):
        if family == socket.AF_INET6 and len(refused) < 2:
            refused.append(port)
            raise OSError(errno.EADDRINUSE, "in use")
        return real(family, host, port)

    monkeypatch.setattr(udp, "_bound_socket", taken_at_first)
    assert len(opened([LOCAL, "::1"]).addresses) == 2
    assert len(refused) == 2


@pytest.mark.parametrize("hosts", [[], ["localhost"], [LOCAL, "127.0.0.2"], ["192.0.2.77"]])
async def test_addresses_nobody_can_listen_on_are_refused_with_a_reason(opened, hosts):
    with pytest.raises(LocalError, match="cannot listen on"):
        opened(hosts)


async def test_a_datagram_longer_than_the_protocols_is_dropped(opened):
    one, other = opened(), opened()
    inbox = Inbox()
    other.attach(inbox)
    one.send(bytes(MAX_DATAGRAM + 200), (LOCAL, other.port))
    one.send(bytes(MAX_DATAGRAM), (LOCAL, other.port))
    await inbox.wait_for(1)
    assert len(inbox.datagrams[0][0]) == MAX_DATAGRAM
    assert other.counters["oversized"] == 1


async def test_errors_of_the_network_are_counted_and_nothing_more(opened):
    one = opened()
    one.send(b"x", ("255.255.255.255", 4000))  # Not allowed without SO_BROADCAST.
    one.send(b"x", (LOCAL, 0))
    one.send(b"x", (LOCAL, 70000))
    one.send(bytes(70000), (LOCAL, 9))
    assert one.counters["send_errors"] == 4


class FullSocket:
    """A socket whose buffer is full until told otherwise."""

    def __init__(self, real):
        self.real = real
        self.full = True
        self.sent = []

    family = socket.AF_INET

    def fileno(self):
        return self.real.fileno()

    def close(self):
        self.real.close()

    def getsockname(self):
        return LOCAL, 9

    def sendto(self, data, addr):
        if self.full:
            raise BlockingIOError
        self.sent.append(data)


async def test_a_full_kernel_buffer_queues_and_drops_the_oldest():
    real = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    real.setblocking(False)
    full = FullSocket(real)
    one = UdpSockets([cast(socket.socket, full)])
    try:
        for number in range(SEND_QUEUE + 3):
            one.send(b"%d" % number, (LOCAL, 9))
        assert one.counters["send_dropped"] == 3
        full.full = False
        async with asyncio.timeout(10):
            while len(full.sent) < SEND_QUEUE:
                await asyncio.sleep(0)
        assert full.sent == [b"%d" % number for number in range(3, SEND_QUEUE + 3)]
        one.send(b"direct", (LOCAL, 9))
        assert full.sent[-1] == b"direct"
    finally:
        one.close()


async def test_a_probe_comes_from_another_port(opened):
    one, other = opened(), opened()
    inbox = Inbox()
    other.attach(inbox)
    one.send_from_elsewhere(b"probe", (LOCAL, other.port))
    one.send_from_elsewhere(b"probe", (LOCAL, other.port))
    await inbox.wait_for(2)
    assert all(addr[1] != one.port for _, addr in inbox.datagrams)


async def test_a_larger_receive_buffer_than_the_systems_default(opened):
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    default = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    plain.close()
    assert opened().receive_buffer >= default


async def test_after_close_nothing_is_sent_or_read(opened):
    one, other = opened(), opened()
    inbox = Inbox()
    other.attach(inbox)
    one.send(b"x", (LOCAL, other.port))
    other.close()
    one.close()
    one.send(b"x", (LOCAL, 9))
    one.send_from_elsewhere(b"x", (LOCAL, 9))
    await asyncio.sleep(0)
    assert not inbox.batches


@pytest.mark.parametrize("can_segment", [True, False])
async def test_a_run_arrives_as_the_datagrams_it_was_made_of(opened, can_segment):
    one, other = opened(), opened()
    one._can_segment = one._can_segment and can_segment
    inbox = Inbox()
    other.attach(inbox)
    data = b"".join(bytes([number]) * 500 for number in range(100)) + b"the last"
    one.send_run(memoryview(data), 500, (LOCAL, other.port))
    one.send_run(memoryview(b"lone"), 500, (LOCAL, other.port))
    await inbox.wait_for(102)
    assert [datagram for datagram, _ in inbox.datagrams] == [
        *(bytes([number]) * 500 for number in range(100)),
        b"the last",
        b"lone",
    ]
    assert one.counters["sent"] == 102


async def test_a_neighbour_has_what_is_its_own_and_the_rest_goes_on(opened):
    one, other = opened(), opened()
    taken, turns = [], []

    class Neighbour:
        def take(self, data, addr):
            taken.append(data)
            return data[:1] == b"\x16"

        def turn_done(self):
            turns.append(len(taken))

    inbox = Inbox()
    other.attach(inbox)
    other.share(Neighbour())
    long = b"\x16" + bytes(1400)
    for data in (b"\xd1ours", long, b"\x16", b"\x05", b"@", b"", b"\xd1" + bytes(MAX_DATAGRAM)):
        one.send(data, (LOCAL, other.port))
    await inbox.wait_for(4)
    assert [data for data, _ in inbox.datagrams] == [b"\xd1ours", b"\x05", b"@", b""]
    assert taken == [long, b"\x16", b"\x05", b""]
    assert turns and turns[-1] in (2, 3, 4)
    assert other.counters["oversized"] == 1
    other.share(None)
    one.send(b"\x16", (LOCAL, other.port))
    await inbox.wait_for(5)
