"""Notices that this machine is on another network: its own addresses changed, the way out did, or it slept.

Decides how often to look, and what counts as a change. Refuses to know what is done about it. Asks the system for the
list of its addresses, which every platform gives to everybody: no root, no netlink, nothing is sent.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import ifaddr

INTERVAL: Final = 2.0
"""Seconds between looks. UNSOURCED: as long as a silent path takes to be suspected; a look costs a quarter of a
millisecond."""

SLEPT: Final = 15.0
"""Seconds the two clocks may drift apart between two looks before it counts as sleep: some clocks stop then, others do
not. UNSOURCED: longer than a step of NTP, shorter than a router's memory of UDP."""

FAR: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses of nobody (RFC 5737, RFC 3849), to ask which of ours the system would use to get out."""

Own = frozenset[str]
"""IP texts."""


def own_addresses() -> Own:
    """The addresses of this machine that others could use: neither loopback nor link-local ones."""
    found: set[str] = set()
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            try:
                address = ipaddress.ip_address(text.partition("%")[0])
            except ValueError:
                continue
            if not (address.is_loopback or address.is_link_local or address.is_unspecified):
                found.add(str(address))
    return frozenset(found)


def ways_out() -> Own:
    """Those of them from which the system would send to far places now. Nothing is sent."""
    found: set[str] = set()
    for family, far in FAR:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.connect((far, 9))
                found.add(asking.getsockname()[0])
        except OSError:
            continue  # No route, or not this family: that is an answer, too.
    return frozenset(found)


class Interfaces:
    """Looks again and again, and calls back."""

    def __init__(
        self,
        on_change: Callable[[Own, Own], None],
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        interval: float = INTERVAL,
        addresses: Callable[[], Own] = own_addresses,
        routes: Callable[[], Own] = ways_out,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`on_change(old, new)` is told the addresses; equal ones mean another way out, or that the machine slept.
        `clock` gives seconds that never jump, `now` Unix seconds; `rest` waits for so many seconds at the most.
        """
        self._on_change = on_change
        self._clock = clock
        self._now = now
        self._interval = interval
        self._addresses = addresses
        self._routes = routes
        self._rest = rest
        self._own, self._out = addresses(), routes()
        self._looked_at, self._looked_now = clock(), now()

    @property
    def own(self) -> Own:
        """The addresses at the last look."""
        return self._own

    def look(self) -> bool:
        """Look now; True when anything has changed, which was told."""
        try:
            own, out = self._addresses(), self._routes()
        except OSError:
            return False  # The list is being changed this moment: the next look sees it.
        clock, now = self._clock(), self._now()
        passed = clock - self._looked_at
        drifted = (now - self._looked_now) - passed
        # A clock that went on while we slept shows a long pause, one that stood still a drift.
        slept = drifted > SLEPT or passed > self._interval + SLEPT
        self._looked_at, self._looked_now = clock, now
        if own == self._own and out == self._out and not slept:
            return False
        old, self._own, self._out = self._own, own, out
        self._on_change(old, own)
        return True

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._rest(self._interval)
            self.look()
