"""Attempts at links between simulated nodes: what ICE, DTLS and SCTP do, as datagrams of the in-memory network.

Decides addresses offered, checks and their timing as `node.adapters.webrtc_ice` has them, and round trips of the
handshakes. Offers and answers are the real ones (`node.protocols.offer`) and go the real way, in sealed signals through
home nodes; neighbours are really asked by STUN how a socket looks from outside. So routers, firewalls, partitions and
losses decide who meets whom. Refuses to know cryptography: a check is recognised by a name of four characters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from dht.errors import DecodeError
from dht.identity import PublicKey
from dht.nat_report import NatReport, observed
from dht.stun import is_stun
from node.adapters.webrtc import WebRtcConfig
from node.ports import Extras, LinkEnd, LinkError, LinkFault, LinkPath, Opened, PairTried, StreamMisuse
from node.protocols.offer import (
    FINGERPRINT_BYTES,
    Extra,
    Kind,
    PackedCandidate,
    Refusal,
    SessionDescription,
    Setup,
    decode_description,
)
from node.protocols.punching import Part, Plan, plan
from simulations.hops import Address
from simulations.link_channel import NetworkChannel
from simulations.link_punch import punches
from simulations.link_stun import StunQuestions
from simulations.link_words import (
    CHECK,
    CHECK_INTERVAL,
    CHECK_INTERVAL_MAX,
    CHECK_TRIES,
    CHECKED,
    FAULTS,
    HANDSHAKE_REPEAT,
    NAME_BYTES,
    STEP,
    STEPPED,
    STEPS,
    ice_text,
    pack,
    unpack,
    within,
)
from simulations.network import Endpoint, Network


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
        self._endpoint = self._bind()
        self._active = self._endpoint
        """The socket that got through."""
        self._more: list[Endpoint] = []
        """Sockets opened for the sake of punching."""
        self._name = ice_text(host.rng, 3)
        self._description: SessionDescription | None = None
        self._remote: SessionDescription | None = None
        self._outside: dict[Address, None] = {}
        self._report = NatReport()
        self._stun = StunQuestions(self._send)
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
        return _texts(self._description)

    @property
    def remote_candidates(self) -> tuple[str, ...]:
        """The peer's, for people."""
        return _texts(self._remote)

    @property
    def tried(self) -> tuple[PairTried, ...]:
        """The pairs of addresses that were tried."""
        own = self._endpoint.address
        return tuple(
            PairTried(f"host {own[0]}:{own[1]}", f"{kind} {ip}:{port}", "nominated" if far == self._path else "tried")
            for far, kind in self._far_ends.items()
            for ip, port in (far,)
        )

    @property
    def hopeless(self) -> bool:
        """Whether theory says that no direct path can open."""
        return self._remote is not None and self._plan(self._remote).hopeless

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
        """Take the sockets off the network."""
        self._host.forget(self)
        self._unbind(None)

    def _bind(self) -> Endpoint:
        bound: list[Endpoint] = []
        bound.append(self._host.network.bind((self._host.ip, 0), lambda data, src: self._receive(data, src, bound[0])))
        return bound[0]

    def _unbind(self, but: Endpoint | None) -> None:
        for endpoint in (self._endpoint, *self._more):
            if endpoint is not but:
                self._host.network.unbind(endpoint)

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
        answered = await self._stun.ask(self._config.stun_servers, self._host.rng)
        self._report = observed(own, answered, len(self._config.stun_servers) or self._config.udp_blocked)
        outside = answered or [(ip, own[1]) for ip, _ in self._config.observed if ip != own[0] and ":" not in ip]
        self._outside = dict.fromkeys(address for address in outside if address != own)
        self.phases["gather"] = self._loop.time() - started
        self._description = SessionDescription(
            kind=kind,
            setup=Setup.ACTPASS if kind is Kind.OFFER else Setup.ACTIVE,
            ufrag=self._name.decode(),
            password=ice_text(rng, 16).decode()[:22],
            fingerprint=rng.randbytes(FINGERPRINT_BYTES),
            candidates=(
                *(PackedCandidate("host", *own) for _ in range(self._config.only_addresses != ())),
                *(PackedCandidate("srflx", *address) for address in self._outside),
            ),
            extras=(*extras, (Extra.NAT_REPORT, self._report.to_bytes())),
        )
        return self._description

    # Meeting

    async def _connect(self, peer: PublicKey, *, dialled: bool) -> Opened:
        assert self._remote is not None
        started = self._loop.time()
        checking = self._loop.create_task(self._check_all(self._remote.ufrag.encode()))
        frame = bytes((CHECK,)) + self._remote.ufrag.encode() + self._name
        punching = self._loop.create_task(self._punch(frame))
        try:
            if dialled:
                await self._found(checking)
                await self._lead(started)
            else:
                await self._follow(started, checking)
        finally:
            checking.cancel()
            punching.cancel()
        return self._hand_over()

    def _plan(self, remote: SessionDescription) -> Plan:
        said = remote.extra(Extra.NAT_REPORT)
        return plan(self._report, NatReport() if said is None else NatReport.from_bytes(said))

    async def _punch(self, frame: bytes) -> None:
        assert self._remote is not None
        todo, take = self._plan(self._remote), self._config.budget.take
        async for address in punches(todo, self._remote, self._host.rng, take):
            if todo.part is Part.OPEN:
                self._more.append(self._bind())
            self._send(address, frame, self._more[-1] if self._more else self._endpoint)

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
        async with within(self._config.ice_timeout, LinkFault.ICE_TIMEOUT, "ICE"):
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
            async with within(limit, FAULTS[phase], phase.upper()):
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
            async with within(limit, FAULTS[phase], phase.upper()):
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
        path, own = self._path, self._active.address
        assert path is not None
        if not self._host.alive:
            raise LinkError(LinkEnd(LinkFault.LOST, "this machine was switched off"))
        seen = self._seen_as or own
        local = "host" if seen == own else "srflx" if seen in self._outside else "prflx"
        path_found = LinkPath(local, seen, self._far_ends.get(path, "prflx"), path)
        self._host.forget(self)
        self._unbind(self._active)
        self._channel = self._host.open_channel(
            lambda data: self._send(path, data), lambda: self._host.network.unbind(self._active)
        )
        early, self._early = self._early, []
        for data in early:
            self._loop.call_soon(self._channel.receive, data)
        return Opened(self._channel, path_found, self.phases)

    # Datagrams

    def _send(self, address: Address, data: bytes, by: Endpoint | None = None) -> None:
        if self._host.alive:
            self._host.network.send(by or self._active, address, data)

    def _receive(self, data: bytes, src: Address, at: Endpoint) -> None:
        if is_stun(data):
            self._stun.receive(data)
            return
        kind, name, rest = data[0], data[1 : 1 + NAME_BYTES], data[1 + NAME_BYTES :]
        if kind > STEPPED:
            self._on_channel(data, src)
        elif name == self._name:
            if kind == CHECK:
                self._on_check(rest, src, at)
            elif kind == CHECKED and not self._chosen.done():
                self._active = at
                self._chosen.set_result((src, unpack(rest)))
            elif kind == STEP:
                self._on_step(rest[0], src, at)
            elif kind == STEPPED and not self._steps[rest[0]].done():
                self._steps[rest[0]].set_result(None)

    def _on_channel(self, data: bytes, src: Address) -> None:
        if self._channel is not None:
            if src == self._path:
                self._channel.receive(data)
        elif src == self._path:
            self._early.append(data)  # The other end is a round trip ahead.

    def _on_check(self, name: bytes, src: Address, at: Endpoint) -> None:
        self._send(src, bytes((CHECKED,)) + name + pack(src), at)
        if src not in self._far_ends or at is not self._endpoint:
            # A router has given the other end an address that nobody knew: try that, too (RFC 8445 section 7.3.1.3).
            self._far_ends.setdefault(src, "prflx")
            if self._remote is not None:
                self._send(src, bytes((CHECK,)) + self._remote.ufrag.encode() + self._name, at)

    def _on_step(self, number: int, src: Address, at: Endpoint) -> None:
        if self._remote is None:
            return
        if number == 0:
            self._path, self._active = src, at
            if self._chosen.done():
                self._seen_as = self._chosen.result()[1]
        self._send(src, bytes((STEPPED,)) + self._remote.ufrag.encode() + bytes((number,)))
        if not self._steps[number].done():
            self._steps[number].set_result(None)


def _texts(description: SessionDescription | None) -> tuple[str, ...]:
    return () if description is None else tuple(f"{c.kind} {c.host}:{c.port}" for c in description.candidates)
