"""Which of this machine's interfaces lie on a local network, with their addresses and prefixes.

Decides which interfaces count: up, able to multicast, no loopback and no tunnel to one other end. Refuses to know what
is sent over them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

import ifaddr

from node.protocols.lan_segment import Net, Segment

_GET_FLAGS: Final = 0x8913
_UP, _LOOPBACK, _POINT_TO_POINT, _MULTICAST = 0x1, 0x8, 0x10, 0x1000
"""SIOCGIFFLAGS and flags of netdevice(7)."""

MAX_SEGMENTS: Final = 16
"""Interfaces used at once. UNSOURCED: a machine full of containers has more, and peers on few of them."""


def local_segments(only: Sequence[str] = ()) -> tuple[Segment, ...]:
    """The networks there are now; `only`: names of interfaces, none for all. Raises `OSError`."""
    found = []
    for adapter in ifaddr.get_adapters():
        if adapter.index is None or (only and adapter.name not in only):
            continue
        if not only and not _is_local(adapter.name):
            continue
        nets: list[Net] = []
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            with contextlib.suppress(ValueError):
                net = ipaddress.ip_interface(f"{text.partition('%')[0]}/{ip.network_prefix}")
                if not (net.ip.is_loopback or net.ip.is_unspecified or (net.version == 6 and net.ip.is_link_local)):
                    nets.append(net)
        if nets:
            nets.sort(key=lambda net: net.version)
            found.append(Segment(adapter.index, adapter.name, tuple(nets)))
    return tuple(sorted(found, key=lambda segment: segment.index)[:MAX_SEGMENTS])


def _is_local(name: str) -> bool:
    """Whether an interface is one between many machines; where the system does not tell, it counts."""
    if not sys.platform.startswith("linux"):
        return True
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, _GET_FLAGS, struct.pack("16sH22x", name.encode()[:15], 0))
        except OSError:
            return False  # It has gone this moment.
    flags = struct.unpack_from("H", answer, 16)[0]
    return bool(flags & _UP and flags & _MULTICAST and not flags & (_LOOPBACK | _POINT_TO_POINT))
