"""ICE on aioice, with what its stock form lacks for us.

Decides which addresses are offered, how often a check is repeated and how data reaches DTLS without a queue. aioice
repeats a check after 0.5 s, so any pair behind a filtering NAT opens in over half a second; it leaves loopback out and
reports failure after a minute. Consent checks (RFC 7675) keep their stock timing: six misses end a connection.
Uses private parts of aioice 0.13, each guarded by a contract test.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from aioice import Candidate, Connection, stun
from aioice.candidate import candidate_foundation
from aioice.ice import (
    ICE_COMPLETED,
    ICE_FAILED,
    ConnectionClosed,
    ConnectionEvent,
    StunProtocol,
    get_host_addresses,
)
from aiortc import RTCIceGatherer

from dht.nat_report import NatReport, observed
from node.adapters.webrtc_punch import Puncher
from node.adapters.webrtc_udp import BatchedUdpTransport
from node.ports import Address, PairTried
from node.protocols.offer import derived_priority
from node.protocols.punching import Budget, Part, Plan

logger = logging.getLogger(__name__)

CHECK_INTERVAL: Final = 0.05
"""Seconds before a check is first repeated. Measured: a pair of filtering NATs opens in 0.05-0.25 s instead of 0.55."""
CHECK_INTERVAL_MAX: Final = 0.2
"""The pause doubles up to this: the other side may start a second later, when the answer has arrived. UNSOURCED."""
CHECK_TRIES: Final = 60
"""About 12 s of checks; the session's own timer ends them earlier."""
CHECK_PACING: Final = 0.005
"""Seconds between starts of checks: the least RFC 8445 section 14.2 allows."""
STUN_TIMEOUT: Final = 0.3
"""Seconds a DHT node has to tell our address before the offer leaves without it. UNSOURCED: a slow round trip."""
MAX_HOST_CANDIDATES: Final = 8
"""Addresses of our own in one offer; a machine full of container bridges has more than help. UNSOURCED."""

DataSink = Callable[[memoryview, int], None]


class QuickTransaction(stun.Transaction):
    """A STUN transaction that repeats soon and steadily."""

    def __init__(self, request: stun.Message, addr: Address, protocol: Any, integrity_key: bytes | None) -> None:
        super().__init__(request, addr, protocol, retransmissions=CHECK_TRIES, integrity_key=integrity_key)
        self._Transaction__timeout_delay = CHECK_INTERVAL

    def _Transaction__retry(self) -> None:
        super()._Transaction__retry()  # type: ignore[misc]
        self._Transaction__timeout_delay = min(self._Transaction__timeout_delay, CHECK_INTERVAL_MAX)


class BatchedStunProtocol(StunProtocol):
    """Receives runs of datagrams from our own UDP transport: STUN to aioice, the rest straight to the sink."""

    receiver: DirectConnection

    def run_received(self, data: memoryview, size: int, addr: Address) -> None:
        """Take a run of datagrams of `size` bytes each."""
        # The first byte tells STUN (0..3) from DTLS (20..63): RFC 7983 section 7. The kernel joins by size alone, so
        # every datagram of the run has its say.
        sink = self.receiver.data_sink
        if sink is not None and min(bytes(data[::size])) > 3:
            sink(data, size)
            return
        for start in range(0, len(data), size):
            datagram = data[start : start + size]
            if datagram[0] < 4:
                self.datagram_received(bytes(datagram), addr)
            elif sink is not None:
                sink(datagram, len(datagram))
            else:
                self.receiver.data_received(bytes(datagram), 1)

    def wakeup_done(self) -> None:
        """Let the layers above answer everything of this wake-up at once."""
        if self.receiver.wakeup_sink is not None:
            self.receiver.wakeup_sink()

    async def request(
        self,
        request: stun.Message,
        addr: Address,
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[stun.Message, Address]:
        """Run a transaction; a check (no number of retransmissions given) repeats quickly, consent does not."""
        if retransmissions is not None:
            return await super().request(request, addr, integrity_key, retransmissions)
        if integrity_key is not None:
            request.add_message_integrity(integrity_key)
        transaction = QuickTransaction(request, addr, self, integrity_key)
        self.transactions[request.transaction_id] = transaction
        try:
            return await transaction.run()
        finally:
            del self.transactions[request.transaction_id]


class DirectConnection(Connection):
    """An ICE connection that gathers as we want it and hands data on synchronously."""

    def __init__(
        self,
        *,
        controlling: bool,
        include_loopback: bool = False,
        only_addresses: Sequence[str] | None = None,
        stun_servers: Sequence[Address] = (),
        observed: Sequence[Address] = (),
        reaches: Callable[[str], bool] = lambda _ip: True,
    ) -> None:
        super().__init__(ice_controlling=controlling)
        self.data_sink: DataSink | None = None
        self.wakeup_sink: Callable[[], None] | None = None
        self._include_loopback = include_loopback
        self._only_addresses = only_addresses
        self._stun_servers = tuple(stun_servers)
        self._observed = tuple(observed)
        self._reaches = reaches
        self.report = NatReport()
        """What gathering told of the router before us."""
        self.puncher: Puncher | None = None

    def punch(self, plan: Plan, budget: Budget, rng: Random) -> None:
        """Do more than ordinary checks when `connect` runs."""
        if plan.part is not Part.NOTHING:
            self.puncher = Puncher(self, plan, budget, rng)

    def host_protocols(self) -> list[BatchedStunProtocol]:
        """The sockets, in the order of gathering."""
        return [protocol for protocol in self._protocols if isinstance(protocol, BatchedStunProtocol)]

    def new_protocol(self) -> BatchedStunProtocol:
        """What speaks for one more socket."""
        return BatchedStunProtocol(self)

    def adopt(self, protocol: BatchedStunProtocol) -> None:
        """Take one more socket in; its checks are answered, and it is closed with the connection."""
        self._protocols.append(protocol)

    def request_received(self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """Answer a check, unless it comes from where nothing may be sent to."""
        if self._reaches(addr[0]):
            super().request_received(message, addr, protocol)

    async def gather_candidates(self) -> None:
        """Bind one socket an address, then ask the neighbours how it looks from outside."""
        if self._local_candidates_start:
            return
        self._local_candidates_start = True
        hosts = self._bind_hosts()
        self._local_candidates += [protocol.local_candidate for protocol in hosts]
        outside = await self._ask_outside(hosts) if self._stun_servers else []
        if not outside:
            outside = self._guess_outside(hosts)
        for index, (protocol, address) in enumerate(outside):
            self._local_candidates.append(_reflexive(protocol.local_candidate, address, index))
        self._local_candidates_end = True

    async def connect(self) -> None:
        """Run the checks; returns with a nominated pair or raises `ConnectionError`. Stock, but paced four times faster
        and not waiting out a pause when the pair is already found."""
        if not self._local_candidates_end or self.remote_username is None or self.remote_password is None:
            raise ConnectionError("the connection was not prepared")
        for remote in self._remote_candidates:
            self._pair_remote_candidate(remote)
        self.sort_check_list()
        self._unfreeze_initial()
        for check in self._early_checks:
            self.check_incoming(*check)
        self._early_checks.clear()
        self._early_checks_done = True
        punching = None if self.puncher is None else asyncio.create_task(self.puncher.run())
        try:
            outcome = await self._checked()
        finally:
            if punching is not None:
                punching.cancel()
                await asyncio.gather(punching, return_exceptions=True)
        for pair in self._check_list:
            if pair.task:
                pair.task.cancel()
        if outcome != ICE_COMPLETED:
            raise ConnectionError("no pair of addresses worked")
        self._query_consent_task = asyncio.create_task(self.query_consent())

    async def get_event(self) -> ConnectionEvent:
        """What happens next; of a connection that is closed, that. aiortc's monitor takes stock None for no event, and
        asks again for ever without a pause: a connection that closes before it runs would stop the whole program."""
        return await super().get_event() or ConnectionClosed()

    async def _checked(self) -> int:
        outcome: int | None = None
        while outcome is None and self._check_periodic():
            with contextlib.suppress(TimeoutError):
                outcome = await asyncio.wait_for(self._check_list_state.get(), CHECK_PACING)
        if outcome is None:
            outcome = await self._check_list_state.get() if self._check_list else ICE_FAILED
        return outcome

    def send_now(self, data: bytes) -> None:
        """Send one datagram over the nominated pair. Raises `ConnectionError` when there is none."""
        pair = self._nominated.get(1)
        if pair is None:
            raise ConnectionError("the path is gone")
        pair.protocol.transport.sendto(data, pair.remote_addr)

    def send_run(self, data: memoryview, size: int) -> None:
        """Send a run of datagrams of `size` bytes over the nominated pair."""
        pair = self._nominated.get(1)
        if pair is None:
            raise ConnectionError("the path is gone")
        transport = pair.protocol.transport
        assert isinstance(transport, BatchedUdpTransport)
        transport.send_run(data, size, pair.remote_addr)

    def end_data(self) -> None:
        """Make whoever receives find the connection ended."""
        self._queue.put_nowait(None)

    def tried(self) -> tuple[PairTried, ...]:
        """The pairs of the check list and what became of them, and what punching did."""
        pairs = []
        for pair in self._check_list:
            local, far = pair.local_candidate, pair.remote_candidate
            outcome = "nominated" if pair.nominated else pair.state.name.lower().replace("_", "-")
            pairs.append(
                PairTried(f"{local.type} {local.host}:{local.port}", f"{far.type} {far.host}:{far.port}", outcome)
            )
        return (*pairs, *(() if self.puncher is None else self.puncher.tried))

    def selected(self) -> tuple[Candidate, Candidate] | None:
        """Return the local and remote candidate in use."""
        pair = self._nominated.get(1)
        return None if pair is None else (pair.local_candidate, pair.remote_candidate)

    def _bind_hosts(self) -> list[BatchedStunProtocol]:
        addresses = list(self._only_addresses or get_host_addresses(use_ipv4=True, use_ipv6=True))
        if self._include_loopback and "127.0.0.1" not in addresses:
            addresses.append("127.0.0.1")
        addresses = [address for address in addresses if self._reaches(address)]
        loop = asyncio.get_running_loop()
        hosts: list[BatchedStunProtocol] = []
        for address in addresses[:MAX_HOST_CANDIDATES]:
            protocol = BatchedStunProtocol(self)
            try:
                transport = BatchedUdpTransport.bind(loop, address, protocol)
            except OSError as error:
                logger.info("cannot bind to %s: %s", address, error)
                continue
            protocol.local_candidate = Candidate(
                foundation=candidate_foundation("host", "udp", address),
                component=1,
                transport="udp",
                priority=derived_priority("host", len(hosts)),
                host=address,
                port=transport.get_extra_info("sockname")[1],
                type="host",
            )
            hosts.append(protocol)
        self._protocols += hosts
        return hosts

    async def _ask_outside(self, hosts: list[BatchedStunProtocol]) -> list[tuple[BatchedStunProtocol, Address]]:
        asked = [
            asyncio.create_task(self._ask(protocol, server))
            for protocol in hosts
            for server in self._stun_servers
            if _same_family(protocol.local_candidate.host, server[0])
            and not ipaddress.ip_address(protocol.local_candidate.host).is_loopback
        ]
        if not asked:
            return []
        done, late = await asyncio.wait(asked, timeout=STUN_TIMEOUT)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        self.report = self._report(asked)
        known = {(p.local_candidate.host, p.local_candidate.port) for p in hosts}
        found: dict[Address, BatchedStunProtocol] = {}
        for task in done:
            answer = task.result()
            if answer is not None and answer[1] not in known:
                found.setdefault(answer[1], answer[0])
        return [(protocol, address) for address, protocol in found.items()]

    def _report(self, asked: list[asyncio.Task[tuple[BatchedStunProtocol, Address] | None]]) -> NatReport:
        """What the answers to the first IPv4 socket say: its questions left in the order of the tasks."""
        seen: dict[BatchedStunProtocol, list[Address]] = {}
        for task in asked:
            answer = None if task.cancelled() else task.result()
            if answer is not None and ":" not in answer[1][0]:
                seen.setdefault(answer[0], []).append(answer[1])
        if not seen:
            return observed(("", 0), [], len(asked))
        protocol, addresses = next(iter(seen.items()))
        own = protocol.local_candidate
        return observed((own.host, own.port), addresses, len(asked))

    async def _ask(self, protocol: BatchedStunProtocol, server: Address) -> tuple[BatchedStunProtocol, Address] | None:
        request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        try:
            response, _ = await protocol.request(request, server)
        except stun.TransactionError:
            return None
        address = response.attributes.get("XOR-MAPPED-ADDRESS")
        return None if address is None else (protocol, (address[0], address[1]))

    def _guess_outside(self, hosts: list[BatchedStunProtocol]) -> list[tuple[BatchedStunProtocol, Address]]:
        """Offer our observed address with our own port: right without NAT, and behind those that keep ports."""
        own = {protocol.local_candidate.host for protocol in hosts}
        guesses = []
        for ip, _port in self._observed:
            if ip in own:
                continue
            for protocol in hosts:
                host = ipaddress.ip_address(protocol.local_candidate.host)
                if _same_family(str(host), ip) and not host.is_loopback:
                    guesses.append((protocol, (ip, protocol.local_candidate.port)))
                    break
        return guesses


class DirectGatherer(RTCIceGatherer):
    """aiortc's gatherer around our connection: no server by default, nothing asked of strangers."""

    def __init__(self, connection: DirectConnection) -> None:
        super().__init__(iceServers=[])
        self._connection: DirectConnection = connection


def _reflexive(base: Candidate, address: Address, index: int) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("srflx", "udp", base.host),
        component=1,
        transport="udp",
        priority=derived_priority("srflx", index),
        host=address[0],
        port=address[1],
        type="srflx",
        related_address=base.host,
        related_port=base.port,
    )


def _same_family(one: str, other: str) -> bool:
    return (":" in one) == (":" in other)
