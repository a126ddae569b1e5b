"""The part of punching that needs sockets: many that send one check each, or one that sends many.

Decides how sockets are opened, paced, and how one that hears something becomes an ordinary part of ICE. Refuses to know
which side does what (`node.protocols.punching`). Uses private parts of aioice 0.13, guarded by a contract test.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from aioice import Candidate, stun
from aioice.candidate import candidate_foundation

from node.adapters.webrtc_udp import BatchedUdpTransport
from node.ports import PairTried
from node.protocols.offer import derived_priority
from node.protocols.punching import HEAD_START, MOST, OPEN_RATE, RATE, Budget, Part, Plan, ports_to_try

if TYPE_CHECKING:
    from node.adapters.webrtc_ice import BatchedStunProtocol, DirectConnection

logger = logging.getLogger(__name__)

PACE: Final = 0.01
"""Seconds between bursts: what timers of every system hold."""

FILES_LEFT: Final = 128
"""Open files that are left to the rest of the node. UNSOURCED"""

_ANY_PAIR: Final = SimpleNamespace(component=1)


class Puncher:
    """Runs beside the checks of one connection until it has met, or is cancelled."""

    def __init__(self, connection: DirectConnection, plan: Plan, budget: Budget, rng: Random) -> None:
        self._connection = connection
        self._plan = plan
        self._budget = budget
        self._rng = rng
        self._sockets: dict[int, socket.socket] = {}
        self._opened = 0
        self._tried = 0
        self._to = ""

    @property
    def tried(self) -> tuple[PairTried, ...]:
        """What was done, as one pair."""
        if self._opened:
            return (PairTried(f"{self._opened} sockets", self._to, "opened", self._opened),)
        if self._tried:
            return (PairTried("one socket", f"{self._tried} ports of {self._to}", "tried", self._tried),)
        return ()

    async def run(self) -> None:
        """Do this side's part."""
        base = self._base()
        if base is None:
            return
        try:
            await asyncio.sleep(HEAD_START)
            if self._plan.part is Part.OPEN:
                await self._open(base)
            elif self._plan.part is Part.TRY:
                await self._try(base)
        finally:
            self._close()

    def _base(self) -> BatchedStunProtocol | None:
        """The socket that the other side knows: the first on an IPv4 address that is not loopback."""
        for protocol in self._connection.host_protocols():
            ip = ipaddress.ip_address(protocol.local_candidate.host)
            if ip.version == 4 and not ip.is_loopback:
                return protocol
        return None

    async def _open(self, base: BatchedStunProtocol) -> None:
        targets = [
            (candidate.host, candidate.port)
            for candidate in self._connection.remote_candidates
            if _outside(candidate.host)
        ]
        if not targets:
            return
        host, self._to = base.local_candidate.host, " and ".join(f"{ip}:{port}" for ip, port in targets)
        burst, loop = max(1, int(OPEN_RATE * PACE)), asyncio.get_running_loop()
        count = min(self._plan.sockets, _files_free())
        while self._opened < count:
            for _ in range(min(burst, count - self._opened)):
                one = _socket(host)
                if one is None:
                    count = self._opened
                    break
                self._opened += 1
                self._sockets[one.fileno()] = one
                loop.add_reader(one.fileno(), self._heard, one)
                for target in targets:
                    # The peer says where it is: 16 candidates on a victim's address would be 4,096 checks.
                    if self._budget.take(target[0], loop.time()):
                        with contextlib.suppress(OSError):
                            one.sendto(self._check(), target)
            await asyncio.sleep(PACE)
        # Their ports stay open in the router for half a minute at least; whoever gets through does so by then.
        await asyncio.Event().wait()

    async def _try(self, base: BatchedStunProtocol) -> None:
        outside = [(c.host, c.port) for c in self._connection.remote_candidates if _outside(c.host)]
        if not outside:
            return
        ip, loop = outside[0][0], asyncio.get_running_loop()
        self._to = ip
        ports = ports_to_try([port for host, port in outside if host == ip], self._plan.step, self._rng)
        burst = max(1, int(RATE * PACE))
        while self._tried < MOST:
            for port in (next(ports) for _ in range(burst)):
                if not self._budget.take(ip, loop.time()):
                    logger.info("no more ports of %s are tried: it has had as many as any address may have", ip)
                    return
                self._tried += 1
                base.transport.sendto(self._check(), (ip, port))
            await asyncio.sleep(PACE)

    def _check(self) -> bytes:
        """A connectivity check (RFC 8445 section 7.2.2) whose answer nobody waits for: what gets through makes the
        other side check in turn."""
        connection: Any = self._connection
        request: stun.Message = connection.build_request(_ANY_PAIR, nominate=False)
        request.add_message_integrity(connection.remote_password.encode())
        return bytes(request)

    def _heard(self, one: socket.socket) -> None:
        """Something came in: from now on the socket is one of the connection's."""
        try:
            data, addr = one.recvfrom(2048)
        except OSError:
            return
        asyncio.get_running_loop().remove_reader(one.fileno())
        del self._sockets[one.fileno()]
        protocol = self._connection.new_protocol()
        transport = BatchedUdpTransport(asyncio.get_running_loop(), one, protocol)
        host, port = transport.get_extra_info("sockname")
        protocol.local_candidate = Candidate(
            foundation=candidate_foundation("host", "udp", host),
            component=1,
            transport="udp",
            priority=derived_priority("host", 1000),
            host=host,
            port=port,
            type="host",
        )
        self._connection.adopt(protocol)
        protocol.run_received(memoryview(data), len(data), addr[:2])

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for number, one in self._sockets.items():
            loop.remove_reader(number)
            one.close()
        self._sockets.clear()


def _socket(host: str) -> socket.socket | None:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)
        one.bind((host, 0))
    except OSError as error:
        logger.info("no more sockets: %s", error)
        one.close()
        return None
    return one


def _files_free() -> int:
    """Files that may be opened without taking the last ones."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return 1 << 20
        return max(0, soft - len(os.listdir("/proc/self/fd")) - FILES_LEFT)
    except (ImportError, OSError):
        return 64  # UNSOURCED: systems that do not tell allow some hundreds.


def _outside(host: str) -> bool:
    ip = ipaddress.ip_address(host)
    return ip.version == 4 and not (ip.is_private or ip.is_loopback or ip.is_link_local)
