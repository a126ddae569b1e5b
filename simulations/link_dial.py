"""Dialling without an answer between simulated nodes: the round trips of `node.adapters.answerless` as datagrams.

Decides what a dialler sends, to the DHT's own port, and when each of the two is through. The datagrams cross the
in-memory network, so routers, firewalls, partitions and losses decide who is reached. Refuses to know cryptography: a
certificate is a digest of the key that has it, and a key is believed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

from dht.errors import WeakKey
from dht.identity import PublicKey
from node.adapters.proving import ProvenChannel
from node.adapters.udp_transport import TransportSockets
from node.ports import LinkEnd, LinkError, LinkFault, LinkPath, Opened
from simulations.hops import Address
from simulations.link_channel import NetworkChannel
from simulations.link_words import CHECK_INTERVAL, CHECK_INTERVAL_MAX, HANDSHAKE_REPEAT
from simulations.links import LinkHost

STEPS: Final = ("ice", "dtls", "dtls", "sctp", "proof")
"""Round trips by phase. ICE: one check, which nominates (RFC 8445 section 8.1.1 asks for one more only where several
pairs are tried). DTLS 1.2: two (RFC 6347 section 4.2.4). SCTP: both ends begin (RFC 8841 section 9.3), and the dialled
one's INIT comes with the end of DTLS, so that its COOKIE ECHO is there a round trip later. The proof: one."""

_CERTIFICATE, _IDENTITY = 2, 4
"""Steps in whose answers these come."""

CLOSING: Final = len(STEPS)
"""The dialler's own proof, which nobody waits for."""

DIAL, DIALLED = 0x18, 0x19
"""First byte of each datagram, in the range of DTLS; a channel has 0x20 and above."""

MAX_DIALLERS: Final = 512
"""As `node.adapters.answerless_listen` has it."""


class SimulatedAnswerless:
    """`Answerless` on the in-memory network, beside a node's DHT on one port."""

    def __init__(self, host: LinkHost, sockets: TransportSockets, key: PublicKey) -> None:
        self.fingerprint = fingerprint_of(key)
        self.on_opened: Callable[[PublicKey, Opened], None] = lambda _peer, _opened: None
        self._host = host
        self._sockets = sockets
        self._key = key
        self._diallers: dict[Address, _Dialler] = {}
        self._dials: set[asyncio.Task[object]] = set()
        self._closing = False
        sockets.share(self)

    async def dial(self, peer: PublicKey, address: Address, fingerprint: bytes, *, timeout: float) -> Opened:
        """Open a channel to `peer`. Raises `LinkError`."""
        if self._closing:
            raise LinkError(LinkEnd(LinkFault.CLOSED_BY_US, "the node is stopping"))
        task = asyncio.current_task()
        assert task is not None
        self._dials.add(task)
        try:
            return await _Dial(self._host, self._key, address).run(peer, fingerprint, timeout)
        finally:
            self._dials.discard(task)

    async def close(self) -> None:
        """Let nobody in any more, and give up every attempt; channels that stand go on until they are closed."""
        self._closing = True
        current = asyncio.current_task()
        for task in self._dials:
            if task is not current:
                task.cancel()
        for dialler in [dialler for dialler in self._diallers.values() if dialler.channel is None]:
            del self._diallers[dialler.address]
        self._stop_if_idle()

    # The port

    def take(self, data: bytes, addr: Address) -> bool:
        """Take a dialler's datagram, and say whether it was one."""
        if data[:1] == bytes((DIAL,)) and len(data) >= 2:
            self._on_step(data[1], data[2:], addr)
            return True
        dialler = self._diallers.get(addr)
        if dialler is None or data[:1] < b"\x20":
            return False
        dialler.receive(data)
        return True

    def turn_done(self) -> None:
        """Everything was answered already."""

    def _on_step(self, number: int, rest: bytes, addr: Address) -> None:
        dialler = self._diallers.get(addr)
        if dialler is None:
            if self._closing or number != 0 or len(self._diallers) >= MAX_DIALLERS:
                return
            dialler = self._diallers[addr] = _Dialler(addr)
            dialler.limit = asyncio.get_running_loop().call_later(_ATTEMPT_TIMEOUT, self._forget, dialler)
        if number == CLOSING and dialler.channel is None and not self._let_in(dialler, rest):
            return
        said = {_CERTIFICATE: self.fingerprint, _IDENTITY: self._key.raw, 0: _pack(addr)}.get(number, b"")
        self._send(bytes((DIALLED, number)) + said, addr)

    def _let_in(self, dialler: _Dialler, key: bytes) -> bool:
        try:
            peer = PublicKey(key)
        except WeakKey:
            return False
        if dialler.limit is not None:
            dialler.limit.cancel()
        channel = self._host.open_channel(lambda data: self._send(data, dialler.address), lambda: self._forget(dialler))
        held = _holding(channel)
        dialler.open(channel)
        local = self._sockets.addresses[0]
        self.on_opened(peer, Opened(held, LinkPath("host", local, "prflx", dialler.address)))
        return True

    def _forget(self, dialler: _Dialler) -> None:
        if self._diallers.get(dialler.address) is dialler:
            del self._diallers[dialler.address]
            self._stop_if_idle()

    def _stop_if_idle(self) -> None:
        if self._closing and not self._diallers:
            self._sockets.share(None)

    def _send(self, data: bytes, addr: Address) -> None:
        if self._host.alive:
            self._sockets.send(data, addr)


_ATTEMPT_TIMEOUT: Final = 10.0
"""Seconds a dialler has: as `node.adapters.answerless_listen`."""

_EARLY: Final = 256
"""Datagrams of a channel kept until the dialler's proof is there: a window and some."""


class _Dialler:
    """One that dials this node."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.channel: NetworkChannel | None = None
        self.limit: asyncio.TimerHandle | None = None
        self._early: list[bytes] = []

    def receive(self, data: bytes) -> None:
        if self.channel is not None:
            self.channel.receive(data)
        elif len(self._early) < _EARLY:
            self._early.append(data)  # The dialler's proof was lost, or is late.

    def open(self, channel: NetworkChannel) -> None:
        self.channel = channel
        early, self._early = self._early, []
        for data in early:
            channel.receive(data)


class _Dial:
    """One attempt."""

    def __init__(self, host: LinkHost, key: PublicKey, address: Address) -> None:
        self._host = host
        self._key = key
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._answers: list[asyncio.Future[bytes]] = [self._loop.create_future() for _ in range(CLOSING + 1)]
        self._endpoint = host.network.bind((host.ip, 0), self._receive)
        self._channel: NetworkChannel | None = None
        self._closing: asyncio.Task[None] | None = None

    async def run(self, peer: PublicKey, fingerprint: bytes, timeout: float) -> Opened:
        phases: dict[str, float] = {}
        phase = STEPS[0]
        try:
            async with asyncio.timeout(timeout):
                for number, phase in enumerate(STEPS):
                    started = self._loop.time()
                    answer = await self._step(number, b"", CHECK_INTERVAL if phase == "ice" else HANDSHAKE_REPEAT)
                    phases[phase] = phases.get(phase, 0.0) + self._loop.time() - started
                    if number == _CERTIFICATE and answer != fingerprint:
                        detail = "the certificate is not the one the peer's record names"
                        raise LinkError(LinkEnd(LinkFault.FINGERPRINT_MISMATCH, detail))
                    if number == _IDENTITY and answer != peer.raw:
                        detail = "it says that it is another peer than the one we meant to reach"
                        raise LinkError(LinkEnd(LinkFault.NO_PROOF, detail))
            if not self._host.alive:
                raise LinkError(LinkEnd(LinkFault.LOST, "this machine was switched off"))
        except BaseException as error:
            self._host.network.unbind(self._endpoint)
            if isinstance(error, TimeoutError):
                raise LinkError(LinkEnd(_FAULTS[phase], f"not open after {timeout:g} s")) from None
            raise
        return self._open(phases)

    def _open(self, phases: dict[str, float]) -> Opened:
        self._channel = self._host.open_channel(self._send, self._release)
        self._closing = self._loop.create_task(self._close())
        seen, own = _unpack(self._answers[0].result()), self._endpoint.address
        path = LinkPath("host" if seen == own else "prflx", seen, "host", self._address)
        return Opened(_holding(self._channel), path, phases)

    async def _close(self) -> None:
        """Give our own proof; it is repeated as any message of the channel would be."""
        await self._step(CLOSING, self._key.raw, HANDSHAKE_REPEAT)

    async def _step(self, number: int, said: bytes, pause: float) -> bytes:
        while not self._answers[number].done():
            self._send(bytes((DIAL, number)) + said)
            await asyncio.wait([self._answers[number]], timeout=pause)
            pause = min(2 * pause, CHECK_INTERVAL_MAX) if number == 0 else 2 * pause
        return self._answers[number].result()

    def _release(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        self._host.network.unbind(self._endpoint)

    def _send(self, data: bytes) -> None:
        if self._host.alive:
            self._host.network.send(self._endpoint, self._address, data)

    def _receive(self, data: bytes, src: Address) -> None:
        if src != self._address or not data:
            return
        if data[0] == DIALLED:
            if len(data) >= 2 and data[1] <= CLOSING and not self._answers[data[1]].done():
                self._answers[data[1]].set_result(data[2:])
        elif data[0] > DIALLED and self._channel is not None:
            self._channel.receive(data)


def fingerprint_of(key: PublicKey) -> bytes:
    """What stands for the digest of the certificate that a simulated node keeps."""
    return hashlib.blake2b(key.raw, digest_size=32, person=b"simulated cert").digest()


def _holding(channel: NetworkChannel) -> ProvenChannel:
    """Nothing is delivered before `start`."""
    held = ProvenChannel(channel)
    channel.on_message, channel.on_closed = held.hold, held.ended
    return held


_FAULTS: Final = {
    "ice": LinkFault.ICE_TIMEOUT,
    "dtls": LinkFault.DTLS_FAILED,
    "sctp": LinkFault.SCTP_FAILED,
    "proof": LinkFault.NO_PROOF,
}


def _pack(address: Address) -> bytes:
    return f"{address[0]} {address[1]}".encode()


def _unpack(data: bytes) -> Address:
    ip, port = data.decode().split(" ")
    return ip, int(port)
