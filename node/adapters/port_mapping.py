"""Port mapping at the router of this network: PCP and NAT-PMP over UDP, UPnP IGD by async-upnp-client.

Decides how the router is found and which protocol is used: PCP first (two datagrams), UPnP where it is not spoken.
Refuses to know what the mapping is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from node.protocols.port_control import PORT, Mapped, NotMapped, PortControl

if TYPE_CHECKING:
    from async_upnp_client.profiles.igd import IgdDevice

log = logging.getLogger("rookery.mapping")

UPNP_LEASE: Final = 3600
"""Seconds asked of UPnP; renewed at half. UNSOURCED: an hour after a crash the router has forgotten us."""

UPNP_SEARCH: Final = 3
"""Seconds routers get to answer M-SEARCH: its MX allows 1 to 5 (UPnP Device Architecture 1.1, section 1.3.2)."""

UPNP_TIMEOUT: Final = 10.0
"""Seconds for all of UPnP's requests. UNSOURCED: small routers take a second for each."""

HEAD_START: Final = 1.0
"""Seconds PCP has before UPnP is asked, too: a home's router answers in milliseconds, or not at all. UNSOURCED"""

RETRY: Final = 1800.0
"""Seconds until a network without a mapping is asked again: as `port_control.PAUSE_AFTER_REFUSAL`."""

ANYCAST: Final = "192.0.0.9"
"""A PCP server near by, where the default gateway cannot be read (RFC 7723 section 2.1)."""

SOMEWHERE_V6: Final = "2001:500:2f::f"
"""A global address (a DNS root server's) on whose way our own one is looked up; nothing is sent there."""

NOBODY: Final = b""
"""What stands in the inbox for a refusal by ICMP; no answer is empty."""

DESCRIPTION: Final = "rookery"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A port that the router forwards to us."""

    address: tuple[str, int]
    """Where others reach us."""
    protocol: str
    """PCP, NAT-PMP or UPnP."""
    lifetime: float


def default_gateway() -> str | None:
    """The IPv4 router of this machine, where the system tells it in a file (Linux)."""
    try:
        rows = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    for row in rows:
        fields = row.split()
        # Flags: RTF_UP 1, RTF_GATEWAY 2 (route(8)); the kernel writes addresses in its own byte order.
        if len(fields) > 7 and fields[1] == "00000000" and int(fields[3], 16) & 3 == 3:
            return socket.inet_ntoa(struct.pack("=I", int(fields[2], 16)))
    return None


def default_gateway_v6() -> str | None:
    """The IPv6 router of this machine with its scope, likewise."""
    try:
        rows = Path("/proc/net/ipv6_route").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for row in rows:
        fields = row.split()
        if len(fields) > 9 and fields[0] == "0" * 32 and fields[1] == "00" and int(fields[8], 16) & 3 == 3:
            gateway = ipaddress.IPv6Address(bytes.fromhex(fields[4]))
            return f"{gateway}%{fields[9]}" if gateway.is_link_local else str(gateway)
    return None


def own_address_towards(host: str) -> str | None:
    """Our address on the way to `host`, or None when there is no way. Sends nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return str(probe.getsockname()[0])
    return None


class PortMapper:
    """Keeps one UDP port mapped, or open in an IPv6 firewall, until cancelled."""

    def __init__(
        self,
        port: int,
        rng: Random,
        clock: Callable[[], float],
        on_change: Callable[[Mapping | None, str], object],
        *,
        ipv6: bool = False,
    ) -> None:
        """`on_change(mapping, why)` is told of each mapping that comes, changes or goes; None with the reason."""
        self._port = port
        self._rng = rng
        self._clock = clock
        self._on_change = on_change
        self._ipv6 = ipv6
        self._told: Mapping | None = None
        self._why = ""
        self._mapped = asyncio.Event()

    async def run(self) -> None:
        """Ask, renew, and when cancelled give the mapping back."""
        while True:
            self._tell(None, await (self._run_v6() if self._ipv6 else self._run_v4()))
            await asyncio.sleep(RETRY)

    async def _run_v4(self) -> str:
        gateway = default_gateway() or ANYCAST
        own = own_address_towards(gateway)
        if own is None:
            return "this machine has no route to a router"
        if not ipaddress.ip_address(own).is_private:
            return f"this machine's own address {own} is public: nothing is to be mapped"
        return await self._race("PCP and NAT-PMP", self._by_pcp(gateway, own), "UPnP", self._by_upnp(gateway, own))

    async def _run_v6(self) -> str:
        gateway, own = default_gateway_v6(), own_address_towards(SOMEWHERE_V6)
        if gateway is None or own is None or not ipaddress.ip_address(own).is_global:
            return "this machine has no global IPv6 address"
        return await self._race("PCP", self._by_pcp(gateway, own), "UPnP", self._by_pinhole(gateway, own))

    async def _race(
        self, name: str, first: Coroutine[Any, Any, str], other: str, second: Coroutine[Any, Any, str]
    ) -> str:
        """Ask both ways, the first a moment earlier; the one that maps goes on alone. Returns why none does."""
        self._mapped.clear()
        async with asyncio.TaskGroup() as group:
            one = group.create_task(first)
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEAD_START):
                        await self._mapped.wait()
            except BaseException:
                second.close()
                raise
            if self._mapped.is_set():
                second.close()
                return f"{name}: {await one}"
            two = group.create_task(second)
            for task in (one, two):
                task.add_done_callback(lambda _: self._mapped.set())
            while not self._mapped.is_set() or (self._told is None and not (one.done() and two.done())):
                self._mapped.clear()
                await self._mapped.wait()
            if one.done() and two.done():
                return f"{name}: {one.result()}; {other}: {two.result()}"
            kept = one if self._told is not None and self._told.protocol != "UPnP" else two
            (two if kept is one else one).cancel()
            return f"{name if kept is one else other}: {await kept}"

    def _tell(self, mapping: Mapping | None, why: str) -> None:
        same = mapping is not None and self._told is not None and mapping.address == self._told.address
        if not same and (mapping, why) != (self._told, self._why):
            self._on_change(mapping, why)
        self._told, self._why = mapping, why
        if mapping is not None:
            self._mapped.set()

    # PCP and NAT-PMP

    async def _by_pcp(self, gateway: str, own: str) -> str:
        """Keep the port mapped as long as the router does. Returns why it does not."""
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[bytes] = asyncio.Queue(maxsize=16)
        try:
            # A connected socket takes datagrams of the router alone (RFC 6887 section 8.3).
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Inbox(inbox), local_addr=(own, 0), remote_addr=(gateway, PORT)
            )
        except OSError as error:
            return f"cannot ask {gateway}: {error.strerror or error}"
        control = PortControl(own, self._port, self._rng, self._clock())
        mapped = False
        try:
            while True:
                for data in control.datagrams_to_send():
                    transport.sendto(data)
                event = control.next_event()
                if isinstance(event, Mapped):
                    mapped = True
                    self._tell(Mapping(event.address, event.dialect.value, event.lifetime), "")
                elif isinstance(event, NotMapped):
                    return event.detail
                due = control.next_timer()
                pause = None if due is None else max(0.0, due - self._clock())
                try:
                    async with asyncio.timeout(pause):
                        data = await inbox.get()
                    if data == NOBODY and not mapped:
                        return "the router does not speak it"
                    control.receive_datagram(data, self._clock())
                except TimeoutError:
                    control.handle_timer(self._clock())
        finally:
            if mapped:
                control.release(self._clock())
                for data in control.datagrams_to_send():
                    transport.sendto(data)
            transport.close()

    # UPnP

    async def _by_upnp(self, gateway: str, own: str) -> str:
        """Keep the port mapped as long as the router does. Returns why it does not."""
        from async_upnp_client.exceptions import UpnpError

        try:
            async with asyncio.timeout(UPNP_SEARCH + UPNP_TIMEOUT):
                device = await _find_igd(own, gateway)
        except (UpnpError, OSError, TimeoutError) as error:
            return f"{type(error).__name__} {error}".strip()
        if device is None:
            return "no router answers"
        external, mapped = self._port, False
        try:
            while True:
                async with asyncio.timeout(UPNP_TIMEOUT):
                    await self._add(device, external, own)
                    mapped = True
                    ip = await device.async_get_external_ip_address()
                if ip is None or not _is_ipv4(ip):
                    return f"the router names {ip!r} as its address outside"
                self._tell(Mapping((ip, external), "UPnP", UPNP_LEASE), "")
                await asyncio.sleep(UPNP_LEASE / 2)
        except (UpnpError, OSError, TimeoutError) as error:
            return f"{type(error).__name__} {error}".strip()
        finally:
            if mapped:
                with contextlib.suppress(UpnpError, OSError, TimeoutError):
                    async with asyncio.timeout(0.5):
                        await device.async_delete_port_mapping(ipaddress.IPv4Address("0.0.0.0"), external, "UDP")

    async def _by_pinhole(self, gateway: str, own: str) -> str:
        """Keep the port open in the router's IPv6 firewall (UPnP WANIPv6FirewallControl:1). Returns why it is not."""
        from async_upnp_client.exceptions import UpnpError

        v4 = default_gateway()
        address = None if v4 is None else own_address_towards(v4)
        hole: int | None = None
        device: IgdDevice | None = None
        try:
            async with asyncio.timeout(UPNP_SEARCH + UPNP_TIMEOUT):
                # Routers that speak UPnP over IPv6 alone are unheard of; the pinhole is asked for over IPv4.
                device = None if v4 is None or address is None else await _find_igd(address, v4)
            if device is None:
                return "no router answers"
            while True:
                async with asyncio.timeout(UPNP_TIMEOUT):
                    if hole is None:
                        hole = await device.async_add_pinhole(
                            remote_host=ipaddress.IPv6Address("::"),
                            remote_port=0,
                            internal_client=ipaddress.IPv6Address(own),
                            internal_port=self._port,
                            protocol=socket.IPPROTO_UDP,
                            lease_time=timedelta(seconds=UPNP_LEASE),
                        )
                    else:
                        await device.async_update_pinhole(hole, UPNP_LEASE)
                if hole is None:
                    return "the router has no IPv6 firewall service"
                self._tell(Mapping((own, self._port), "UPnP", UPNP_LEASE), "")
                await asyncio.sleep(UPNP_LEASE / 2)
        except (UpnpError, OSError, TimeoutError) as error:
            return f"{type(error).__name__} {error}".strip()
        finally:
            if hole is not None and device is not None:
                with contextlib.suppress(UpnpError, OSError, TimeoutError):
                    async with asyncio.timeout(0.5):
                        await device.async_delete_pinhole(hole)

    async def _add(self, device: IgdDevice, external: int, own: str) -> None:
        await device.async_add_port_mapping(
            remote_host=ipaddress.IPv4Address("0.0.0.0"),
            external_port=external,
            protocol="UDP",
            internal_port=self._port,
            internal_client=ipaddress.IPv4Address(own),
            enabled=True,
            description=DESCRIPTION,
            lease_duration=timedelta(seconds=UPNP_LEASE),
        )


class _Inbox(asyncio.DatagramProtocol):
    def __init__(self, inbox: asyncio.Queue[bytes]) -> None:
        self._inbox = inbox

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Keep what came; what is too much is lost, as datagrams are."""
        with contextlib.suppress(asyncio.QueueFull):
            self._inbox.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there, says the router (ICMP port unreachable): there is nothing to wait for."""
        if isinstance(exc, ConnectionRefusedError):
            self.datagram_received(NOBODY, ("", 0))


async def _find_igd(own: str, gateway: str) -> IgdDevice | None:
    """The gateway device that answers from our router; others on the network could send us anywhere."""
    from async_upnp_client.aiohttp import AiohttpRequester
    from async_upnp_client.client_factory import UpnpFactory
    from async_upnp_client.profiles.igd import IgdDevice
    from async_upnp_client.search import async_search

    locations: list[str] = []

    async def found(headers: Any) -> None:
        location = str(headers.get("location", ""))
        answers_from = str(headers.get("_host", ""))
        # Its description must lie where the answer came from, on the router: else any neighbour names any host to us.
        if urlsplit(location).hostname == answers_from == gateway and location not in locations:
            locations.append(location)

    for target in IgdDevice.DEVICE_TYPES:
        await async_search(found, timeout=UPNP_SEARCH, search_target=target, source=(own, 0))
        if locations:
            break
    for location in locations:
        device = await UpnpFactory(AiohttpRequester(timeout=5), non_strict=True).async_create_device(location)
        return IgdDevice(device, None)
    return None


def _is_ipv4(text: str) -> bool:
    try:
        return not ipaddress.IPv4Address(text).is_unspecified
    except ValueError:
        return False
