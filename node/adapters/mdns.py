"""Announcing and finding nodes by mDNS (RFC 6762, RFC 6763), on the zeroconf package.

Decides names on the wire, and that nothing is probed: an instance has a random name of 80 bits, which nobody else has,
so that the 1.2 s which probing takes are spared (RFC 6762, section 8.1 asks it of names that others could have). The
name is another one on each network, and says nothing of the machine. Refuses to know what the TXT records mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from node.protocols.lan_beacon import SERVICE, announced_ips
from node.protocols.lan_segment import Segment

MAX_RESOLVING: Final = 16
"""Instances asked for their TXT record at once: made-up names cost no more. UNSOURCED"""

MAX_INSTANCES: Final = 256
"""Instances known at once. UNSOURCED: as many as nodes are kept"""

RESOLVE_MS: Final = 1500
"""Milliseconds for it. UNSOURCED: zeroconf asks three times in it"""

CLOSE_TIMEOUT: Final = 0.6
"""Seconds for saying goodbye: zeroconf says it three times, 125 ms apart."""

# Its warnings are of others' packets and of interfaces that have gone: both are ordinary here.
logging.getLogger("zeroconf").setLevel(logging.ERROR)


class Mdns:
    """One node on mDNS. Made by `open`."""

    def __init__(
        self,
        zeroconf: AsyncZeroconf,
        rng: Random,
        on_txt: Callable[[str, Mapping[bytes, bytes | None]], object],
        on_gone: Callable[[str], object],
    ) -> None:
        self._zeroconf = zeroconf
        self._rng = rng
        self._on_txt = on_txt
        self._on_gone = on_gone
        self._info: AsyncServiceInfo | None = None
        self._segments: tuple[Segment, ...] = ()
        self._instances: set[str] = set()
        self._resolving: set[asyncio.Task[None]] = set()
        self.counters: Counter[str] = Counter()
        """seen, gone, dropped, unresolved."""
        self._browser: AsyncServiceBrowser | None = None

    @classmethod
    async def open(
        cls,
        segments: Sequence[Segment],
        rng: Random,
        on_txt: Callable[[str, Mapping[bytes, bytes | None]], object],
        on_gone: Callable[[str], object],
    ) -> Mdns:
        """Open port 5353 beside others who have it, and browse. `on_txt(instance, properties)` is told what is there,
        our own among it; `on_gone(instance)` what is no more. Raises `OSError`."""
        interfaces, version = _interfaces(segments)
        zeroconf = AsyncZeroconf(interfaces=interfaces, ip_version=version)
        mdns = cls(zeroconf, rng, on_txt, on_gone)
        try:
            await zeroconf.zeroconf.async_wait_for_start()
            mdns._segments = tuple(segments)
            mdns._browse()
        except (ZeroconfError, RuntimeError) as error:
            await mdns.close()
            raise OSError(f"mDNS does not start: {error}") from None
        except BaseException:
            await mdns.close()
            raise
        return mdns

    async def publish(self, properties: Mapping[str, bytes], port: int, segments: Sequence[Segment]) -> None:
        """Announce ourselves with this TXT record; on other interfaces than before under a new name.

        Raises `OSError`.
        """
        try:
            if tuple(segments) != self._segments:
                await self._move(segments)
            ips = announced_ips([ip for segment in segments for ip in segment.ips])
            fresh = self._info is None
            name = self._new_name() if self._info is None else self._info.name.removesuffix(f".{SERVICE}")
            self._info = AsyncServiceInfo(
                SERVICE,
                f"{name}.{SERVICE}",
                port=port,
                properties=dict(properties),
                server=f"{name}.local.",
                parsed_addresses=list(ips),
            )
            if fresh:
                await self._zeroconf.async_register_service(self._info, cooperating_responders=True)
            else:
                await self._zeroconf.async_update_service(self._info)
        except (ZeroconfError, RuntimeError) as error:
            raise OSError(f"mDNS does not announce: {error or type(error).__name__}") from None

    async def close(self) -> None:
        """Say goodbye and close the sockets."""
        for task in self._resolving:
            task.cancel()
        if self._browser is not None:
            await self._browser.async_cancel()
        with contextlib.suppress(TimeoutError, OSError, ZeroconfError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._zeroconf.async_unregister_all_services()
        await self._zeroconf.async_close()

    async def _move(self, segments: Sequence[Segment]) -> None:
        if self._info is not None:
            # Its goodbyes go out beside what follows.
            await self._zeroconf.async_unregister_service(self._info)
            self._info = None
        interfaces, version = _interfaces(segments)
        await self._zeroconf.async_update_interfaces(interfaces, version)
        self._segments = tuple(segments)
        if self._browser is not None:
            await self._browser.async_cancel()
        self._browse()

    def _browse(self) -> None:
        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._on_change])

    def _on_change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Removed:
            self.counters["gone"] += 1
            self._instances.discard(name)
            self._on_gone(name)
            return
        if name not in self._instances and len(self._instances) >= MAX_INSTANCES:
            self.counters["dropped"] += 1
            return
        self._instances.add(name)
        self.counters["seen"] += 1
        info = AsyncServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf) or info.properties:
            self._on_txt(name, info.properties)
        elif len(self._resolving) >= MAX_RESOLVING:
            self.counters["dropped"] += 1
        else:
            task = asyncio.get_running_loop().create_task(self._resolve(info))
            self._resolving.add(task)
            task.add_done_callback(self._resolving.discard)

    async def _resolve(self, info: AsyncServiceInfo) -> None:
        with contextlib.suppress(ZeroconfError, OSError):
            await info.async_request(self._zeroconf.zeroconf, RESOLVE_MS)
        if info.properties:
            self._on_txt(info.name, info.properties)
        else:
            self.counters["unresolved"] += 1
            self._instances.discard(info.name)

    def _new_name(self) -> str:
        return self._rng.randbytes(10).hex()


def _interfaces(segments: Sequence[Segment]) -> tuple[list[str | int | tuple[tuple[str, int, int], int]], IPVersion]:
    ips = [ip for segment in segments for ip in segment.ips]
    v4, v6 = any(":" not in ip for ip in ips), any(":" in ip for ip in ips)
    version = IPVersion.All if v4 and v6 else IPVersion.V6Only if v6 else IPVersion.V4Only
    return [*ips], version
