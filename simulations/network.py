"""The in-memory network: hosts, what lies between them, and delivery.

Decides whether and when a datagram sent from one address reaches another: host state, faults, loss, latency,
duplication, hops. Bare engines and the asyncio loop both bind endpoints here and share one clock. Refuses to know
what the datagrams mean or who answers them.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from heapq import heappush

from simulations.errors import BadScenario, SimulationError
from simulations.events import EventQueue
from simulations.faults import Partition
from simulations.hops import Address, Drop, Fault, Hop, Local, Packet
from simulations.latency import Constant, Latency
from simulations.randomness import Streams
from simulations.trace import Trace

LARGEST_DATAGRAM = 65_507
"""UDP payload over IPv4: 65,535 less 20 of IP and 8 of UDP (RFC 791, RFC 768)."""
RECEIVE_BUFFER = 212_992
"""Bytes a frozen host's socket holds: Linux `net.core.rmem_default` on x86-64."""
FIRST_EPHEMERAL_PORT = 49_152
"""RFC 6335 section 6."""
CARRIER_SPACE = 1 << 22
"""Addresses of 100.64.0.0/10, the space between homes and their carrier's translator (RFC 6598)."""
MOST_REWRITES = 16
"""Times one packet may be sent on to another host by downlink hops: a loop of translators ends here. UNSOURCED"""

UP, FROZEN, DOWN = 0, 1, 2

Receiver = Callable[[bytes, Address], object]


class AddressInUse(SimulationError, OSError):
    """Raised when an address is bound twice; an `OSError`, as a real socket raises."""


class Host:
    """One machine: its state, its counters, and the hops packets pass on leaving and on entering it.

    Frozen means stopped and later continued (SIGSTOP): packets wait in the socket's buffer, timers fire late. Down
    means off the network without a word: packets to and from it vanish. In both, engines on it stand still.
    """

    __slots__ = (
        "buffered",
        "buffered_bytes",
        "bytes_received",
        "bytes_sent",
        "downlink",
        "dropped",
        "ip",
        "late",
        "next_port",
        "received",
        "sent",
        "state",
        "uplink",
    )

    def __init__(self, ip: str) -> None:
        self.ip = ip
        self.state = UP
        self.sent = 0
        self.received = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        # Made at the first drop: most hosts of a large network never have one.
        self.dropped: dict[str, int] | None = None
        """Datagrams lost, by reason: on sending they count for the sender, on arrival for the receiver."""
        self.uplink: tuple[Hop, ...] = ()
        self.downlink: tuple[Hop, ...] = ()
        self.buffered: list[tuple[bytes, Address, Address]] | None = None
        self.buffered_bytes = 0
        self.late: list[Callable[[], object]] | None = None
        self.next_port = FIRST_EPHEMERAL_PORT

    def buffer(self, data: bytes, src: Address, dst: Address) -> bool:
        """Keep a datagram until the host runs again; false when the socket's buffer is full."""
        if self.buffered_bytes + len(data) > RECEIVE_BUFFER:
            return False
        if self.buffered is None:
            self.buffered = []
        self.buffered.append((data, src, dst))
        self.buffered_bytes += len(data)
        return True

    def postpone(self, call: Callable[[], object]) -> None:
        """Keep a timer's call until the host runs again."""
        if self.late is None:
            self.late = []
        self.late.append(call)


class Endpoint:
    """An address on a host, and who takes what arrives there."""

    __slots__ = ("address", "host", "receive")

    def __init__(self, address: Address, host: Host, receive: Receiver) -> None:
        self.address = address
        self.host = host
        self.receive = receive


class Network:
    """Everything between the hosts of one simulation, on one event queue."""

    def __init__(
        self,
        queue: EventQueue,
        streams: Streams,
        *,
        latency: Latency | None = None,
        loss: float = 0.0,
        duplication: float = 0.0,
        largest: int = LARGEST_DATAGRAM,
        trace: Trace | None = None,
    ) -> None:
        """Without a latency model every packet takes 50 ms one way (a 100 ms round trip)."""
        self.queue = queue
        self.trace = trace
        self.largest = largest
        self.hosts: dict[str, Host] = {}
        self.dropped: dict[str, int] = {}
        """Datagrams lost, by reason, over all hosts."""
        self._endpoints: dict[Address, Endpoint] = {}
        self._carrier_ips = 0
        self._faults: list[Fault] = []
        self._latency_rng = streams.stream("network/latency")
        self._chance = streams.stream("network/loss").random
        self._double = streams.stream("network/duplication").random
        # A bound method made once; `self._deliver` would make one for every packet.
        self._on_delivery = self._deliver
        self.set_latency(latency or Constant(0.05))
        self.set_loss(loss)
        self.set_duplication(duplication)

    def set_latency(self, latency: Latency) -> None:
        """Take another latency model, for packets sent from now on."""
        self._draw = latency.delay
        self._fixed = latency.seconds if type(latency) is Constant else None

    def set_loss(self, share: float) -> None:
        """Lose each packet with this probability."""
        self._loss = _probability("loss", share)

    def set_duplication(self, share: float) -> None:
        """Deliver each packet twice with this probability; the copy has a delay of its own."""
        self._duplication = _probability("duplication", share)

    # Hosts and endpoints

    def host(self, ip: str) -> Host:
        """Give the host of that IP, made at the first call."""
        host = self.hosts.get(ip)
        if host is None:
            host = self.hosts[ip] = Host(ip)
        return host

    def carrier_ip(self) -> str:
        """Give an address of 100.64.0.0/10 that nobody has in this network: a box between home and carrier takes it."""
        if self._carrier_ips == CARRIER_SPACE:
            raise BadScenario(f"100.64.0.0/10 is used up: at most {CARRIER_SPACE} boxes stand behind carriers")
        number = self._carrier_ips
        self._carrier_ips += 1
        return f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"

    def bind(self, address: Address, receive: Receiver) -> Endpoint:
        """Have `receive(data, src)` called for what arrives at `address`; port 0 chooses a free one."""
        ip, port = address
        host = self.host(ip)
        if port == 0:
            while (ip, host.next_port) in self._endpoints:
                host.next_port += 1
            if host.next_port > 0xFFFF:
                raise AddressInUse(errno.EADDRINUSE, f"host {ip} has no free port left")
            port = host.next_port
            host.next_port += 1
        if (ip, port) in self._endpoints:
            raise AddressInUse(errno.EADDRINUSE, f"address {ip}:{port} is already bound in this simulation")
        endpoint = self._endpoints[ip, port] = Endpoint((ip, port), host, receive)
        return endpoint

    def unbind(self, endpoint: Endpoint) -> None:
        """Close an endpoint: what arrives there from now on is lost as `no-listener`."""
        if self._endpoints.get(endpoint.address) is endpoint:
            del self._endpoints[endpoint.address]

    def freeze(self, ip: str) -> None:
        """Stop a host as SIGSTOP does, until `wake`."""
        self.host(ip).state = FROZEN

    def take_down(self, ip: str) -> None:
        """Cut a host off without a word, until `wake`; what a frozen host held is lost."""
        host = self.host(ip)
        host.state = DOWN
        for _ in host.buffered or ():
            self._drop(host, "down")
        host.buffered, host.buffered_bytes = None, 0

    def wake(self, ip: str) -> None:
        """Let a frozen or downed host run on: late timers first, then buffered datagrams, all at this instant."""
        host = self.host(ip)
        host.state = UP
        queue = self.queue
        late, host.late = host.late, None
        for call in late or ():
            queue.at(queue.now, call)
        buffered, host.buffered, host.buffered_bytes = host.buffered, None, 0
        for data, src, dst in buffered or ():
            queue.at(queue.now, self._hand_over, data, src, dst)

    # Faults

    def add_fault(self, fault: Fault) -> None:
        """Ask `fault` about every packet from now on, after those added before it."""
        self._faults.append(fault)

    def remove_fault(self, fault: Fault) -> None:
        """Ask `fault` no more."""
        self._faults.remove(fault)

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[Fault]:
        """Hold a fault for the length of a `with` block."""
        self.add_fault(fault)
        try:
            yield fault
        finally:
            self.remove_fault(fault)

    def partition(self, *groups: Iterable[str]) -> Partition:
        """Split the named hosts into groups; `remove_fault` of what is returned heals it."""
        partition = Partition(*groups)
        self.add_fault(partition)
        return partition

    # Packets

    def send(self, source: Endpoint, dst: Address, data: bytes) -> None:
        """Send a datagram on its way. Nothing is returned: a sender of UDP does not learn what became of it."""
        host = source.host
        size = len(data)
        host.sent += 1
        host.bytes_sent += size
        src = source.address
        delay = 0.0
        if host.state or host.uplink or size > self.largest:
            if host.state:
                return self._drop(host, "sender-down")
            if size > self.largest:
                return self._drop(host, "too-big")
            packet = Packet(src, dst, data)
            passed = self._pass(host.uplink, packet)
            if isinstance(passed, Drop):
                return self._drop(host, passed.reason)
            if isinstance(passed, Local):
                queue = self.queue
                queue.schedule(queue.now + passed.seconds, self._arrive, packet, MOST_REWRITES)
                return None
            src, dst, delay = packet.src, packet.dst, passed
        queue = self.queue
        now = queue.now
        for fault in self._faults:
            verdict = fault(src, dst, size, now)
            if verdict is not None:
                if isinstance(verdict, Drop):
                    return self._drop(host, verdict.reason)
                delay += _real_delay(verdict, fault)
                heappush(queue.heap, (now + delay, queue.next_number(), self._on_delivery, data, src, dst))
                return None
        if self._loss and self._chance() < self._loss:
            return self._drop(host, "loss")
        way = self._fixed
        if way is None:
            way = _real_delay(self._draw(src, dst, self._latency_rng), self._draw)
        heappush(queue.heap, (now + delay + way, queue.next_number(), self._on_delivery, data, src, dst))
        if self._duplication and self._double() < self._duplication:
            way = _real_delay(self._draw(src, dst, self._latency_rng), self._draw)
            heappush(queue.heap, (now + delay + way, queue.next_number(), self._on_delivery, data, src, dst))
        return None

    def hand_over_at(self, when: float, data: bytes, src: Address, dst: Address) -> None:
        """Give a datagram to whoever listens at `dst` at the Unix time `when`, past all hops: for hops that copy."""
        self.queue.schedule(when, self._hand_over, data, src, dst)

    def _deliver(self, data: bytes, src: Address, dst: Address) -> None:
        endpoint = self._endpoints.get(dst)
        if endpoint is None:
            return self._arrive(Packet(src, dst, data), MOST_REWRITES)
        host = endpoint.host
        if host.state or host.downlink:
            return self._arrive(Packet(src, dst, data), MOST_REWRITES)
        host.received += 1
        host.bytes_received += len(data)
        if self.trace is not None:
            self.trace.delivered(self.queue.now, src, dst, data)
        endpoint.receive(data, src)
        return None

    def _arrive(self, packet: Packet, rewrites_left: int, _: None = None) -> None:
        """Take a packet in at a host that is not simply up, there and directly connected.

        The last argument fills the place of an event's third.
        """
        while True:
            ip = packet.dst[0]
            host = self.hosts.get(ip)
            if host is None:
                return self._drop(None, "no-host")
            if host.state == DOWN:
                return self._drop(host, "down")
            if not host.downlink:
                return self._hand_over(packet.data, packet.src, packet.dst)
            passed = self._pass(host.downlink, packet)
            if isinstance(passed, Drop):
                return self._drop(host, passed.reason)
            if isinstance(passed, Local):
                raise BadScenario(f"a downlink hop of {ip} gave {passed!r}: only an uplink hop can keep a packet local")
            if packet.dst[0] == ip:
                if passed > 0:
                    self.hand_over_at(self.queue.now + passed, packet.data, packet.src, packet.dst)
                    return None
                return self._hand_over(packet.data, packet.src, packet.dst)
            if rewrites_left == 0:
                return self._drop(host, "too-many-rewrites")
            rewrites_left -= 1
            if passed > 0:
                self.queue.schedule(self.queue.now + passed, self._arrive, packet, rewrites_left)
                return None

    def _hand_over(self, data: bytes, src: Address, dst: Address) -> None:
        endpoint = self._endpoints.get(dst)
        if endpoint is None:
            return self._drop(self.host(dst[0]), "no-listener")
        host = endpoint.host
        if host.state == DOWN:
            return self._drop(host, "down")
        if host.state == FROZEN:
            return None if host.buffer(data, src, dst) else self._drop(host, "buffer-full")
        host.received += 1
        host.bytes_received += len(data)
        if self.trace is not None:
            self.trace.delivered(self.queue.now, src, dst, data)
        endpoint.receive(data, src)
        return None

    def _pass(self, hops: tuple[Hop, ...], packet: Packet) -> float | Drop | Local:
        delay = 0.0
        now = self.queue.now
        for hop in hops:
            passed = hop.forward(packet, now + delay)
            # Almost every hop says 0.0: then nothing need be checked or added.
            if passed == 0.0:
                continue
            if isinstance(passed, Drop):
                return passed
            if isinstance(passed, Local):
                return Local(delay + _real_delay(passed.seconds, hop))
            delay += _real_delay(passed, hop)
        return delay

    def _drop(self, host: Host | None, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        if host is not None:
            if host.dropped is None:
                host.dropped = {}
            host.dropped[reason] = host.dropped.get(reason, 0) + 1


def _real_delay(delay: float, giver: object) -> float:
    # One packet into the past would turn the one clock of the simulation back, one for never would end it.
    if not 0 <= delay < math.inf:
        raise BadScenario(f"{giver!r} gave {delay!r} as a delay: expected finite seconds from 0 up")
    return delay


def _probability(name: str, share: float) -> float:
    if not 0 <= share <= 1:
        raise BadScenario(f"{name} = {share!r} is no probability: expected 0 to 1")
    return share
