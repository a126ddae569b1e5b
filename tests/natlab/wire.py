"""The delay and the rate of the open network's lines, by a device that hands packets to a process (TUN).

Decides when a packet goes on: the scheduler that would do it in the kernel (netem) is missing from many. Every packet
that crosses the open network comes by here once. Refuses to know routes: those that bring packets here are laid by
`topology`.

A Python process passes some ten thousand packets a second: enough for meetings, too little to measure throughput.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import time
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final

DEVICE: Final = "/dev/net/tun"

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
"""linux/if_tun.h"""

BATCH: Final = 64
"""Packets read in a row before those that are due go on. UNSOURCED"""

QUEUE: Final = 0.2
"""Seconds of a line's rate that it queues before it drops. UNSOURCED: access lines queue 0.1 to 0.3 s"""


def missing() -> str:
    """Why there can be no delay on this machine; empty when there can."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR))
    except OSError as error:
        return f"no delay without {DEVICE}: {error.strerror}"
    return ""


def main(arguments: Sequence[str]) -> int:
    """Make the device NAME and pass packets on after MILLISECONDS, at BYTES a second for each destination (0: any)."""
    name, delay, rate = arguments[0], float(arguments[1]) / 1000, float(arguments[2])
    device = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    print("ready", flush=True)
    line = Line(delay, rate)
    while True:
        select.select([device], [], [], line.pause(time.monotonic()))
        for _ in range(BATCH):
            try:
                packet = os.read(device, 65_535)
            except BlockingIOError:
                break
            except OSError:  # The device is not up yet.
                time.sleep(0.01)
                break
            line.take(packet, time.monotonic())
        for packet in line.due(time.monotonic()):
            try:
                os.write(device, packet)
            except OSError:  # As a line does: what the far end does not take is lost.
                continue


class Line:
    """Packets under way."""

    def __init__(self, delay: float, rate: float) -> None:
        self._delay = delay
        self._rate = rate
        self._under_way = deque[tuple[float, bytes]]()
        self._queued: list[tuple[float, int, bytes]] = []
        self._busy: dict[bytes, float] = {}
        self._count = 0

    def take(self, packet: bytes, now: float) -> None:
        """Take a packet; one too many for its line is dropped."""
        if not self._rate:
            self._under_way.append((now + self._delay, packet))
            return
        to = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
        begins = max(now, self._busy.get(to, 0.0))
        if begins - now > QUEUE:
            return
        self._busy[to] = ends = begins + len(packet) / self._rate
        self._count += 1
        heappush(self._queued, (ends + self._delay, self._count, packet))

    def due(self, now: float) -> list[bytes]:
        """The packets that have arrived by now, in order."""
        arrived = []
        while self._under_way and self._under_way[0][0] <= now:
            arrived.append(self._under_way.popleft()[1])
        while self._queued and self._queued[0][0] <= now:
            arrived.append(heappop(self._queued)[2])
        return arrived

    def pause(self, now: float) -> float | None:
        """Seconds until the next arrives; None while nothing is under way."""
        heads = [line[0][0] for line in (self._under_way, self._queued) if line]
        return max(0.0, min(heads) - now) if heads else None
