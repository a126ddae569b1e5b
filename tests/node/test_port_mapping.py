"""Port mapping over sockets: a router on loopback, no router, and a neighbour that pretends to be one."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from node.adapters import port_mapping
from node.adapters.port_mapping import Mapping, PortMapper

OURS = 7716


class Router(asyncio.DatagramProtocol):
    """Speaks PCP."""

    def __init__(self, result: int = 0) -> None:
        self.result = result
        self.lifetimes: list[int] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        lifetime = int.from_bytes(data[4:8], "big")
        self.lifetimes.append(lifetime)
        head = struct.pack("!BBBBII12x", 2, 0x81, 0, self.result, lifetime, 1)
        outside = bytes(10) + b"\xff\xff" + socket.inet_aton("198.51.100.4")
        self.transport.sendto(head + data[24:42] + (40000).to_bytes(2, "big") + outside, addr)


@pytest.fixture
async def router(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Router]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Router, local_addr=("127.0.0.1", 0))
    monkeypatch.setattr(port_mapping, "PORT", transport.get_extra_info("sockname")[1])
    monkeypatch.setattr(port_mapping, "default_gateway", lambda: "127.0.0.1")
    yield protocol
    transport.close()


def no_upnp(own: str, gateway: str) -> Awaitable[None]:
    return asyncio.sleep(0)


async def told(count: int) -> tuple[asyncio.Task[None], list[tuple[Mapping | None, str]]]:
    """Run a mapper until it has told `count` things."""
    heard: list[tuple[Mapping | None, str]] = []
    enough = asyncio.Event()

    def hear(mapping: Mapping | None, why: str) -> None:
        heard.append((mapping, why))
        if len(heard) == count:
            enough.set()

    clock: Callable[[], float] = asyncio.get_running_loop().time
    task = asyncio.create_task(PortMapper(OURS, random.Random(1), clock, hear).run())
    async with asyncio.timeout(20):
        await enough.wait()
    return task, heard


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_port_is_mapped_and_given_back(router: Router) -> None:
    task, heard = await told(1)
    assert heard == [(Mapping(("198.51.100.4", 40000), "PCP", 7200.0), "")]
    await ended(task)
    async with asyncio.timeout(5):
        while router.lifetimes[-1] != 0:
            await asyncio.sleep(0.01)
    assert router.lifetimes == [7200, 0]


async def test_why_nothing_is_mapped_is_told_of_each_protocol(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    router.result = 2
    monkeypatch.setattr(port_mapping, "_find_igd", no_upnp)
    task, heard = await told(1)
    assert heard == [(None, "PCP and NAT-PMP: the router refused: it does not allow it; UPnP: no router answers")]
    await ended(task)


async def test_a_router_that_speaks_neither_is_not_waited_for(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    router.transport.close()
    await asyncio.sleep(0)
    monkeypatch.setattr(port_mapping, "_find_igd", no_upnp)
    task, heard = await told(1)
    assert heard == [(None, "PCP and NAT-PMP: the router does not speak it; UPnP: no router answers")]
    await ended(task)


async def test_a_public_address_needs_no_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_mapping, "default_gateway", lambda: "5.7.0.1")
    monkeypatch.setattr(port_mapping, "own_address_towards", lambda host: "5.7.0.2")
    task, heard = await told(1)
    assert heard == [(None, "this machine's own address 5.7.0.2 is public: nothing is to be mapped")]
    await ended(task)


@pytest.mark.parametrize(
    ("location", "answers_from"),
    [
        ("http://203.0.113.5:80/x.xml", "192.168.1.1"),
        ("http://192.168.1.66:80/x.xml", "192.168.1.66"),
        ("http://192.168.1.1@evil.example/x.xml", "192.168.1.1"),
        ("nonsense", "192.168.1.1"),
    ],
)
async def test_a_neighbour_that_is_not_the_router_is_not_asked(
    location: str, answers_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def search(found: Callable[[dict[str, str]], Awaitable[None]], **_: object) -> None:
        await found({"location": location, "_host": answers_from})

    monkeypatch.setattr("async_upnp_client.search.async_search", search)
    assert await port_mapping._find_igd("192.168.1.7", "192.168.1.1") is None


def test_the_way_to_a_router_is_read_from_the_system() -> None:
    gateway = port_mapping.default_gateway()
    assert gateway is None or socket.inet_aton(gateway)
    assert port_mapping.own_address_towards("127.0.0.1") == "127.0.0.1"
    v6 = port_mapping.default_gateway_v6()
    assert v6 is None or ":" in v6
