"""Attempts at links between simulated nodes: what ICE, DTLS and SCTP do, as datagrams of the in-memory network.

Decides addresses offered, checks and their timing as `node.adapters.webrtc_ice` has them, and round trips of the
handshakes. Offers and answers are the real ones (`node.protocols.offer`) and go the real way, in sealed signals through
home nodes; neighbours are really asked by STUN how a socket looks from outside. So routers, firewalls, partitions and
losses decide who meets whom. Refuses to know cryptography: a check is recognised by a name of four characters.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

from dht.errors import DecodeError
from dht.identity import PublicKey
from dht.stun import BINDING_REQUEST, BINDING_SUCCESS, HEADER, MAGIC_COOKIE, is_stun
from node.adapters.webrtc import WebRtcConfig
from node.ports import Extras, LinkEnd, LinkError, LinkFault, LinkPath, Opened, PairTried, StreamMisuse
from node.protocols.offer import (
    FINGERPRINT_BYTES,
    Kind,
    PackedCandidate,
    Refusal,
    SessionDescription,
    Setup,
    decode_description,
)
from simulations.hops import Address
from simulations.link_channel import NetworkChannel
from simulations.network import Network

CHECK_INTERVAL, CHECK_INTERVAL_MAX, CHECK_TRIES, STUN_TIMEOUT = 0.05, 0.2, 60, 0.3
"""Seconds before a check is first repeated, the longest pause between repeats, how often, and seconds that neighbours
have to answer: those of `node.adapters.webrtc_ice`, which cannot be imported without aioice."""

HANDSHAKE_REPEAT: Final = 1.0
"""Seconds before a lost flight is repeated, doubling (RFC 6347 section 4.2.4.1; RFC 9260 section 16)."""

STEPS: Final = ("ice", "dtls", "dtls", "sctp", "sctp")
"""Round trips after the first check that got through, by phase: nomination (RFC 8445 section 8.1.1), two of DTLS 1.2
(RFC 6347 section 4.2.4), two of SCTP's association (RFC 9260 section 5.1)."""

CHECK, CHECKED, STEP, STEPPED = range(0x10, 0x14)
"""First byte of each datagram; STUN has 0 to 3 there, a channel 0x20 and above."""

_NAME: Final = 4
"""Characters of the name by which a session is called: as many as aioice's."""


class LinkHost:
    """The links of one life of one simulated machine."""

    def __init__(self, network: Network, ip: str, rng: Random) -> None:
        self.network = network
        self.ip = ip
        self.rng = rng
        self.alive = True
        self._sessions: dict[NetworkSession, None] = {}
        self._channels: dict[NetworkChannel, None] = {}

    @property
    def open_links(self) -> int:
        """Links that have not ended."""
        return len(self._channels)

    def new_session(self, config: WebRtcConfig) -> NetworkSession:
        """Make an attempt at a link: the `new_session` of `NodeParts`."""
        session = NetworkSession(self, config)
        self._sessions[session] = None
        return session

    def open_channel(self, transmit: Callable[[bytes], object], release: Callable[[], object]) -> NetworkChannel:
        """Make the channel over a path that was found; `release` frees the path."""

        def end(channel: NetworkChannel) -> None:
            self._channels.pop(channel, None)
            release()

        channel = NetworkChannel(transmit, end, self.rng)
        self._channels[channel] = None
        return channel

    def forget(self, session: NetworkSession) -> None:
        """Take an attempt off the list."""
        self._sessions.pop(session, None)

    def cut(self) -> None:
        """End everything without a word: the machine has died."""
        self.alive = False
        for session in list(self._sessions):
            session.unbind()
        for channel in list(self._channels):
            channel.cut("this machine was switched off")


class NetworkSession:
    """One attempt at one link; a `Session` of `node.node_meeting`."""

    def __init__(self, host: LinkHost, config: WebRtcConfig) -> None:
        self.phases: dict[str, float] = {}
        self.on_candidates: Callable[[bytes], None] = lambda _payload: None
        self._host = host
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._endpoint = host.network.bind((host.ip, 0), self._receive)
        self._name = _ice_text(host.rng, 3)
        self._description: SessionDescription | None = None
        self._remote: SessionDescription | None = None
        self._outside: dict[Address, None] = {}
        self._asked: dict[bytes, asyncio.Future[Address]] = {}
        self._far_ends: dict[Address, str] = {}
        """Addresses of the other end to try, and what kind each is."""
        self._chosen: asyncio.Future[tuple[Address, Address]] = self._loop.create_future()
        """The other end's address that answered, and how it sees us."""
        self._steps: list[asyncio.Future[None]] = [self._loop.create_future() for _ in STEPS]
        self._path: Address | None = None
        self._seen_as: Address | None = None
        self._channel: NetworkChannel | None = None
        self._early: list[bytes] = []

    @property
    def local_candidates(self) -> tuple[str, ...]:
        """Ours, for people."""
        return ()

    @property
    def remote_candidates(self) -> tuple[str, ...]:
        """The peer's, for people."""
        return ()

    @property
    def tried(self) -> tuple[PairTried, ...]:
        """The pairs of addresses that were tried."""
        return ()

    def add_remote(self, payload: bytes) -> None:
        """Take further candidates of the peer."""

    # What a node asks

    async def offer(self, extras: Extras = ()) -> bytes:
        """Gather and return our offer."""
        return (await self._describe(Kind.OFFER, extras)).to_bytes()

    async def answer(self, offer: bytes, extras: Extras = ()) -> bytes:
        """Take the peer's offer, gather, and return our answer. Raises `LinkError` (bad-description)."""
        self._take(offer, Kind.OFFER)
        return (await self._describe(Kind.ANSWER, extras)).to_bytes()

    async def connect(self, peer: PublicKey, answer: bytes | None = None, *, timeout: float | None = None) -> Opened:
        """Find a path, go through the handshakes and return the link. Raises `LinkError` with a typed reason."""
        try:
            async with asyncio.timeout(timeout):
                if answer is not None:
                    self._take(answer, Kind.ANSWER)
                if self._description is None or self._remote is None:
                    raise StreamMisuse("connect needs an offer made and its answer, or an offer answered")
                return await self._connect(peer, dialled=answer is not None)
        except TimeoutError:
            raise LinkError(LinkEnd(LinkFault.ICE_TIMEOUT, f"not open after {timeout:g} s")) from None
        finally:
            await self.close()

    async def close(self) -> None:
        """Give the attempt up; a link that was returned is closed by itself."""
        if self._channel is None:
            self.unbind()

    def unbind(self) -> None:
        """Take the socket off the network."""
        self._host.forget(self)
        self._host.network.unbind(self._endpoint)

    # Describing

    def _take(self, data: bytes, kind: Kind) -> None:
        try:
            remote = decode_description(data)
        except DecodeError as error:
            raise LinkError(LinkEnd(LinkFault.BAD_DESCRIPTION, str(error))) from None
        if isinstance(remote, Refusal):
            raise LinkError(LinkEnd(LinkFault.REFUSED, remote.reason.name.lower().replace("_", "-")))
        if remote.kind is not kind:
            problem = f"expected {kind.name.lower()}, got {remote.kind.name.lower()}"
            raise LinkError(LinkEnd(LinkFault.BAD_DESCRIPTION, problem))
        self._remote = remote
        for candidate in remote.candidates:
            self._far_ends.setdefault((candidate.host, candidate.port), candidate.kind)

    async def _describe(self, kind: Kind, extras: Extras) -> SessionDescription:
        if self._description is not None:
            raise StreamMisuse("a session makes one offer or answer: take a new one")
        started = self._loop.time()
        rng, own = self._host.rng, self._endpoint.address
        outside = await self._ask_outside() or [
            (ip, own[1]) for ip, _ in self._config.observed if ip != own[0] and ":" not in ip
        ]
        self._outside = dict.fromkeys(address for address in outside if address != own)
        self.phases["gather"] = self._loop.time() - started
        self._description = SessionDescription(
            kind=kind,
            setup=Setup.ACTPASS if kind is Kind.OFFER else Setup.ACTIVE,
            ufrag=self._name.decode(),
            password=_ice_text(rng, 16).decode()[:22],
            fingerprint=rng.randbytes(FINGERPRINT_BYTES),
            candidates=(
                PackedCandidate("host", *own),
                *(PackedCandidate("srflx", *address) for address in self._outside),
            ),
            extras=extras,
        )
        return self._description

    async def _ask_outside(self) -> list[Address]:
        """How neighbours see our socket, in the order in which they were asked."""
        requests = {}
        for server in self._config.stun_servers:
            transaction = self._host.rng.randbytes(12)
            self._asked[transaction] = self._loop.create_future()
            requests[transaction] = server
        waiting, deadline, pause = list(self._asked.values()), self._loop.time() + STUN_TIMEOUT, CHECK_INTERVAL
        while waiting and (left := deadline - self._loop.time()) > 0:
            for transaction, server in requests.items():
                if not self._asked[transaction].done():
                    self._send(server, HEADER.pack(BINDING_REQUEST, 0, MAGIC_COOKIE, transaction))
            _, late = await asyncio.wait(waiting, timeout=min(pause, left))
            waiting = [future for future in waiting if future in late]
            pause *= 2
        answered = [future.result() for future in self._asked.values() if future.done()]
        self._asked.clear()
        return answered

    # Meeting

    async def _connect(self, peer: PublicKey, *, dialled: bool) -> Opened:
        assert self._remote is not None
        started = self._loop.time()
        checking = self._loop.create_task(self._check_all(self._remote.ufrag.encode()))
        try:
            if dialled:
                await self._found(checking)
                await self._lead(started)
            else:
                await self._follow(started, checking)
        finally:
            checking.cancel()
        return self._hand_over()

    async def _check_all(self, name: bytes) -> None:
        pause = CHECK_INTERVAL
        frame = bytes((CHECK,)) + name + self._name
        for _ in range(CHECK_TRIES):
            for address in list(self._far_ends):
                self._send(address, frame)
            await asyncio.sleep(pause)
            pause = min(2 * pause, CHECK_INTERVAL_MAX)

    async def _found(self, checking: asyncio.Task[None]) -> None:
        """Wait until a check has come back. Raises `LinkError` when none does."""
        async with _within(self._config.ice_timeout, LinkFault.ICE_TIMEOUT, "ICE"):
            ends: list[asyncio.Future[Any]] = [checking, self._chosen]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not self._chosen.done():
            assert self._description is not None
            pairs = f"{len(self._description.candidates)} own and {len(self._far_ends)} offered addresses"
            raise LinkError(LinkEnd(LinkFault.ICE_FAILED, f"none of {pairs} worked"))
        self._path, self._seen_as = self._chosen.result()

    async def _lead(self, started: float) -> None:
        """Nominate the path, then shake hands, as the side that dialled."""
        assert self._path is not None
        assert self._remote is not None
        for number, phase in enumerate(STEPS):
            limit = self._config.ice_timeout if phase == "ice" else self._config.handshake_timeout
            async with _within(limit, _FAULTS[phase], phase.upper()):
                pause = CHECK_INTERVAL if phase == "ice" else HANDSHAKE_REPEAT
                while not self._steps[number].done():
                    self._send(self._path, bytes((STEP,)) + self._remote.ufrag.encode() + bytes((number,)))
                    await asyncio.wait([self._steps[number]], timeout=pause)
                    pause = min(2 * pause, CHECK_INTERVAL_MAX) if phase == "ice" else 2 * pause
            started = self._phase_ends(number, started)

    async def _follow(self, started: float, checking: asyncio.Task[None]) -> None:
        """Answer the other side's steps."""
        for number, phase in enumerate(STEPS):
            limit = self._config.ice_timeout if phase == "ice" else self._config.handshake_timeout
            async with _within(limit, _FAULTS[phase], phase.upper()):
                await self._steps[number]
            if number == 0:
                checking.cancel()
            started = self._phase_ends(number, started)

    def _phase_ends(self, number: int, started: float) -> float:
        phase, now = STEPS[number], self._loop.time()
        if phase in STEPS[number + 1 :]:
            return started
        self.phases[phase] = now - started
        return now

    def _hand_over(self) -> Opened:
        path, own = self._path, self._endpoint.address
        assert path is not None
        if not self._host.alive:
            raise LinkError(LinkEnd(LinkFault.LOST, "this machine was switched off"))
        seen = self._seen_as or own
        local = "host" if seen == own else "srflx" if seen in self._outside else "prflx"
        path_found = LinkPath(local, seen, self._far_ends.get(path, "prflx"), path)
        self._host.forget(self)
        self._channel = self._host.open_channel(
            lambda data: self._send(path, data), lambda: self._host.network.unbind(self._endpoint)
        )
        early, self._early = self._early, []
        for data in early:
            self._loop.call_soon(self._channel.receive, data)
        return Opened(self._channel, path_found, self.phases)

    # Datagrams

    def _send(self, address: Address, data: bytes) -> None:
        if self._host.alive:
            self._host.network.send(self._endpoint, address, data)

    def _receive(self, data: bytes, src: Address) -> None:
        if is_stun(data):
            self._on_stun(data)
            return
        kind, name, rest = data[0], data[1 : 1 + _NAME], data[1 + _NAME :]
        if kind > STEPPED:
            self._on_channel(data, src)
        elif name == self._name:
            if kind == CHECK:
                self._on_check(rest, src)
            elif kind == CHECKED and not self._chosen.done():
                self._chosen.set_result((src, _unpack(rest)))
            elif kind == STEP:
                self._on_step(rest[0], src)
            elif kind == STEPPED and not self._steps[rest[0]].done():
                self._steps[rest[0]].set_result(None)

    def _on_channel(self, data: bytes, src: Address) -> None:
        if self._channel is not None:
            if src == self._path:
                self._channel.receive(data)
        elif src == self._path:
            self._early.append(data)  # The other end is a round trip ahead.

    def _on_check(self, name: bytes, src: Address) -> None:
        self._send(src, bytes((CHECKED,)) + name + _pack(src))
        if src not in self._far_ends:
            # A router has given the other end an address that nobody knew: try that, too (RFC 8445 section 7.3.1.3).
            self._far_ends[src] = "prflx"
            if self._remote is not None:
                self._send(src, bytes((CHECK,)) + self._remote.ufrag.encode() + self._name)

    def _on_step(self, number: int, src: Address) -> None:
        if self._remote is None:
            return
        if number == 0:
            self._path = src
            if self._chosen.done():
                self._seen_as = self._chosen.result()[1]
        self._send(src, bytes((STEPPED,)) + self._remote.ufrag.encode() + bytes((number,)))
        if not self._steps[number].done():
            self._steps[number].set_result(None)

    def _on_stun(self, data: bytes) -> None:
        kind, _, cookie, transaction = HEADER.unpack_from(data)
        asked = self._asked.get(transaction)
        if kind != BINDING_SUCCESS or asked is None or asked.done():
            return
        # Of our own simulated neighbours: one attribute, XOR-MAPPED-ADDRESS over IPv4 (RFC 8489 section 14.2).
        port = int.from_bytes(data[26:28], "big") ^ cookie >> 16
        ip = ipaddress.IPv4Address(int.from_bytes(data[28:32], "big") ^ cookie)
        asked.set_result((str(ip), port))


_FAULTS: Final = {"ice": LinkFault.ICE_TIMEOUT, "dtls": LinkFault.DTLS_FAILED, "sctp": LinkFault.SCTP_FAILED}


@asynccontextmanager
async def _within(seconds: float, fault: LinkFault, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise LinkError(LinkEnd(fault, f"no {what} after {seconds:g} s")) from None


def _ice_text(rng: Random, size: int) -> bytes:
    """Random text of ICE's characters: base64's (RFC 8839 section 5.4)."""
    return base64.b64encode(rng.randbytes(size)).rstrip(b"=")


def _pack(address: Address) -> bytes:
    return f"{address[0]} {address[1]}".encode()


def _unpack(data: bytes) -> Address:
    ip, port = data.decode().split(" ")
    return ip, int(port)
