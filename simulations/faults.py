"""Ready-made faults: rules over packets, which `Network.add_fault` takes.

Decides whose packets they stop, and nothing else. A fault is judged when the packet is sent: what was under way
when a cable was cut still arrives.
"""

from __future__ import annotations

from collections.abc import Iterable

from simulations.errors import BadScenario
from simulations.hops import Address, Drop, Verdict

_PARTITIONED = Drop("partition")


class Partition:
    """Hosts split into groups that cannot reach one another; hosts in no group form one more together."""

    __slots__ = ("_group_of",)

    def __init__(self, *groups: Iterable[str]) -> None:
        self._group_of: dict[str, int] = {}
        for number, group in enumerate(groups, start=1):
            for ip in group:
                if self._group_of.setdefault(ip, number) != number:
                    raise BadScenario(f"host {ip} stands in two groups of one partition")

    def __call__(self, src: Address, dst: Address, size: int, now: float) -> Verdict:
        """Drop what crosses from one group to another."""
        group = self._group_of.get
        return None if group(src[0], 0) == group(dst[0], 0) else _PARTITIONED


class Blackhole:
    """Packets to or from the named hosts vanish, while the hosts themselves run on: a pulled cable."""

    __slots__ = ("_hosts",)

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = frozenset(hosts)

    def __call__(self, src: Address, dst: Address, size: int, now: float) -> Verdict:
        """Drop what starts or ends at one of the hosts."""
        return Drop("blackhole") if src[0] in self._hosts or dst[0] in self._hosts else None
