"""What asyncio promises about datagrams: one body, run on a real loop over loopback and on the virtual one."""

import asyncio

import pytest

from simulations.events import EventQueue
from simulations.loop import run
from simulations.network import Network
from simulations.randomness import Streams

HOST = "127.0.0.1"


class Echo(asyncio.DatagramProtocol):
    """Answers everything with the same bytes, except what it is told to choke on."""

    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        if data == b"choke":
            raise ValueError("told to")
        self.transport.sendto(data, addr)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class Inbox(asyncio.DatagramProtocol):
    def __init__(self):
        self.got: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.got.put_nowait((data, addr))

    async def next(self):
        async with asyncio.timeout(20):
            return await self.got.get()


async def echo_comes_back():
    loop = asyncio.get_running_loop()
    server, echo = await loop.create_datagram_endpoint(Echo, local_addr=(HOST, 0))
    client, inbox = await loop.create_datagram_endpoint(Inbox, local_addr=(HOST, 0))
    there, here = server.get_extra_info("sockname"), client.get_extra_info("sockname")
    assert there[0] == here[0] == HOST
    assert there[1] != here[1]
    for data in (b"one", bytearray(b"two"), memoryview(b"three"), bytes(1200)):
        client.sendto(data, there)
        got = await inbox.next()
        assert got == (bytes(data), there)
        assert (type(got[0]), type(got[1])) == (bytes, tuple)
    client.close()
    server.close()
    assert server.is_closing()
    assert await echo.lost is None


async def connected_endpoint_hears_its_peer_only():
    loop = asyncio.get_running_loop()
    server, echo = await loop.create_datagram_endpoint(Echo, local_addr=(HOST, 0))
    there = server.get_extra_info("sockname")
    client, inbox = await loop.create_datagram_endpoint(Inbox, remote_addr=there, local_addr=(HOST, 0))
    stranger, _ = await loop.create_datagram_endpoint(Inbox, local_addr=(HOST, 0))
    assert client.get_extra_info("peername") == there
    stranger.sendto(b"unasked", client.get_extra_info("sockname"))
    client.sendto(b"hello")
    assert await inbox.next() == (b"hello", there)
    assert inbox.got.empty()
    with pytest.raises(ValueError, match="address"):
        client.sendto(b"x", stranger.get_extra_info("sockname"))
    for transport in (client, stranger, server):
        transport.close()
    await echo.lost


async def bad_arguments_are_refused():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Inbox, local_addr=(HOST, 0))
    with pytest.raises(TypeError):
        transport.sendto("text", (HOST, 9))  # type: ignore[arg-type]
    with pytest.raises(OSError):
        await loop.create_datagram_endpoint(Inbox, local_addr=transport.get_extra_info("sockname"))
    transport.close()
    # Real transports call connection_lost one turn later; let it happen before the loop ends.
    await asyncio.sleep(0)


async def an_exception_is_reported_and_the_next_datagram_delivered():
    loop = asyncio.get_running_loop()
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context["exception"]))
    server, echo = await loop.create_datagram_endpoint(Echo, local_addr=(HOST, 0))
    client, inbox = await loop.create_datagram_endpoint(Inbox, local_addr=(HOST, 0))
    there = server.get_extra_info("sockname")
    client.sendto(b"choke", there)
    client.sendto(b"alive?", there)
    assert await inbox.next() == (b"alive?", there)
    assert [str(error) for error in reported] == ["told to"]
    client.close()
    server.close()
    await echo.lost


BODIES = [
    echo_comes_back,
    connected_endpoint_hears_its_peer_only,
    bad_arguments_are_refused,
    an_exception_is_reported_and_the_next_datagram_delivered,
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_on_a_real_loop(body):
    asyncio.run(body())


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_on_the_virtual_loop(body):
    run(body(), Network(EventQueue(), Streams(1)))


@pytest.mark.parametrize(
    ("address", "error"),
    [([HOST, 9], TypeError), ((HOST, "9"), TypeError), ((HOST, 70_000), OverflowError)],
)
def test_addresses_a_real_socket_refuses_are_refused_at_once(address, error):
    # A real transport reports these later or not at all (it differs by version); here the mistake is shown where it is.
    async def body():
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Inbox, local_addr=(HOST, 0))
        with pytest.raises(error):
            transport.sendto(b"x", address)
        transport.close()

    run(body(), Network(EventQueue(), Streams(1)))


def test_an_ipv6_sender_has_four_parts_as_on_a_real_socket():
    async def body():
        loop = asyncio.get_running_loop()
        one, inbox = await loop.create_datagram_endpoint(Inbox, local_addr=("2001:db8::1", 7))
        two, _ = await loop.create_datagram_endpoint(Inbox, local_addr=("2001:db8::2", 8))
        two.sendto(b"x", one.get_extra_info("sockname"))
        got = await inbox.next()
        one.close()
        two.close()
        return got

    assert run(body(), Network(EventQueue(), Streams(1))) == (b"x", ("2001:db8::2", 8, 0, 0))
