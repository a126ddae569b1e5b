"""Opening a WebRTC link from a compact offer and answer.

Decides the order of the phases, how long each may take, and with which typed reason it fails. Whoever carries offer and
answer vouches for them (sealed and signed by the peers' identities); the fingerprint inside is enforced here, so the
channel is bound to the identity given to `connect`. aiortc is imported with the first session: 0.4 s and 44 MB.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from dht.errors import BadConfig, DecodeError
from dht.identity import PublicKey
from dht.nat_report import Filtering, NatReport
from node.ports import Address, Extras, LinkEnd, LinkError, LinkFault, LinkPath, Opened, PairTried, StreamMisuse
from node.protocols.offer import (
    MAX_CANDIDATES,
    TYPE_PREFERENCE,
    Extra,
    Kind,
    PackedCandidate,
    Refusal,
    SessionDescription,
    Setup,
    decode_description,
    derived_priority,
)
from node.protocols.punching import Budget, Plan, plan

if TYPE_CHECKING:
    from aiortc import RTCIceTransport

    from node.adapters.webrtc_dtls import RunCertificate, RunDtlsTransport
    from node.adapters.webrtc_ice import DirectConnection
    from node.adapters.webrtc_sctp import RunSctpTransport

logger = logging.getLogger(__name__)

CERTIFICATE_LIFETIME: Final = 7 * 86_400
"""Seconds one certificate serves; aiortc makes them valid for 30 days. UNSOURCED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRtcConfig:
    """How sessions gather, wait and buffer."""

    stun_servers: tuple[Address, ...] = ()
    """DHT nodes that answer STUN. None by default: no third party is ever asked."""
    observed: tuple[Address, ...] = ()
    """Our addresses as DHT nodes saw them; offered as a guess when no STUN server answered."""
    udp_blocked: bool = False
    """It is known that no UDP gets out of this network."""
    share_local: bool = True
    """Tell the peer this machine's private addresses (RFC 8828 section 5.2: without them mode 2)."""
    include_loopback: bool = False
    """Offer 127.0.0.1 as well: for peers on one machine."""
    only_addresses: tuple[str, ...] | None = None
    """Bind to these addresses alone."""
    reaches: Callable[[str], bool] = lambda _ip: True
    """Whether an address may be sent to: others are neither tried nor answered nor offered."""
    budget: Budget = field(default_factory=Budget)
    """Of ports tried at others' routers; a node shares one among its sessions."""
    ice_timeout: float = 15.0
    """Seconds for the checks. aioice itself gives up after 63. UNSOURCED."""
    handshake_timeout: float = 10.0
    """Seconds for DTLS, and again for SCTP: three repeats of a lost flight (RFC 6347 section 4.2.4.1)."""

    def __post_init__(self) -> None:
        if self.ice_timeout <= 0 or self.handshake_timeout <= 0:
            raise BadConfig("ice_timeout, handshake_timeout", (self.ice_timeout, self.handshake_timeout), "above 0")


class WebRtcSession:
    """One attempt at one link: `offer` or `answer`, then `connect`, once."""

    def __init__(self, config: WebRtcConfig | None = None) -> None:
        self.config = config or WebRtcConfig()
        self.phases: dict[str, float] = {}
        self.on_candidates: Callable[[bytes], None] = lambda _payload: None
        self._late = LinkFault.ICE_TIMEOUT
        self._remote: SessionDescription | None = None
        self._connection: DirectConnection | None = None
        self._ice: RTCIceTransport | None = None
        self._dtls: RunDtlsTransport | None = None
        self._sctp: RunSctpTransport | None = None
        self._handed_over = False

    @property
    def local_candidates(self) -> tuple[str, ...]:
        """Ours, for people."""
        found = [] if self._connection is None else self._connection.local_candidates
        return tuple(f"{one.type} {one.host}:{one.port}" for one in found)

    @property
    def remote_candidates(self) -> tuple[str, ...]:
        """The peer's, for people."""
        found = [] if self._connection is None else self._connection.remote_candidates
        return tuple(f"{one.type} {one.host}:{one.port}" for one in found)

    @property
    def tried(self) -> tuple[PairTried, ...]:
        """The pairs of addresses that were tried."""
        return () if self._connection is None else self._connection.tried()

    @property
    def hopeless(self) -> bool:
        """Whether theory says that no direct path can open."""
        return self._remote is not None and self._connection is not None and self._plan(self._remote).hopeless

    def add_remote(self, payload: bytes) -> None:
        """Take further candidates of the peer."""

    async def offer(self, extras: Extras = ()) -> bytes:
        """Gather and return our offer."""
        return (await self._describe(Kind.OFFER, extras)).to_bytes()

    async def answer(self, offer: bytes, extras: Extras = ()) -> bytes:
        """Take the peer's offer, gather, and return our answer. Raises `LinkError` (bad-description)."""
        remote = _decode(offer)
        if remote.kind is not Kind.OFFER:
            raise LinkError(LinkEnd(LinkFault.BAD_DESCRIPTION, f"expected an offer, got an {remote.kind.name.lower()}"))
        self._remote = remote
        return (await self._describe(Kind.ANSWER, extras)).to_bytes()

    async def connect(self, peer: PublicKey, answer: bytes | None = None, *, timeout: float | None = None) -> Opened:
        """Run ICE, DTLS and SCTP and return the channel. The side that offered passes the peer's `answer`.

        Raises `LinkError` with a typed reason; whatever happens, nothing is left behind.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._connect(answer)
        except TimeoutError:
            raise LinkError(LinkEnd(self._late, f"not open after {timeout:g} s")) from None
        finally:
            if not self._handed_over:
                await self.close()

    async def close(self) -> None:
        """Give the attempt up and free everything; a link that was returned is closed by itself."""
        if self._handed_over or self._ice is None or self._dtls is None or self._sctp is None:
            return
        from node.adapters.webrtc_channel import close_transports

        ice, self._ice = self._ice, None
        await close_transports(ice, self._dtls, self._sctp)
        if self._connection is not None:
            await self._connection.close()

    async def _describe(self, kind: Kind, extras: Extras) -> SessionDescription:
        from aiortc import RTCIceTransport

        from node.adapters.webrtc_dtls import RunDtlsTransport
        from node.adapters.webrtc_ice import DirectConnection, DirectGatherer
        from node.adapters.webrtc_sctp import RunSctpTransport

        if self._ice is not None:
            raise StreamMisuse("a session makes one offer or answer: take a new one")
        started = time.perf_counter()
        config = self.config
        connection = DirectConnection(
            controlling=kind is Kind.OFFER,
            include_loopback=config.include_loopback,
            only_addresses=config.only_addresses,
            stun_servers=config.stun_servers,
            observed=config.observed,
            reaches=config.reaches,
        )
        gatherer = DirectGatherer(connection)
        certificate = current_certificate(int(time.time() // CERTIFICATE_LIFETIME))
        self._connection = connection
        self._ice = RTCIceTransport(gatherer)
        # The answering side starts the handshake, as RFC 8842 section 5.3 recommends.
        self._dtls = RunDtlsTransport(self._ice, certificate, client=kind is Kind.ANSWER)
        self._sctp = RunSctpTransport(self._dtls)
        try:
            await gatherer.gather()
        except BaseException:
            await self.close()
            raise
        self.phases["gather"] = time.perf_counter() - started
        return SessionDescription(
            kind=kind,
            setup=Setup.ACTPASS if kind is Kind.OFFER else Setup.ACTIVE,
            ufrag=connection.local_username,
            password=connection.local_password,
            fingerprint=certificate.sha256(),
            candidates=_pack_candidates(connection, share_local=config.share_local),
            extras=(*extras, (Extra.NAT_REPORT, self._report().to_bytes())),
        )

    async def _connect(self, answer: bytes | None) -> Opened:
        if answer is not None:
            self._remote = self._read_answer(answer)
        remote = self._remote
        if remote is None or self._ice is None or self._dtls is None or self._sctp is None:
            raise StreamMisuse("connect needs an offer made and its answer, or an offer answered")
        await self._phase("ice", self._start_ice(self._ice, remote), self.config.ice_timeout, LinkFault.ICE_TIMEOUT)
        if self._ice.state != "completed":
            raise LinkError(LinkEnd(LinkFault.ICE_FAILED, f"none of {_pairs(self._connection, remote)} worked"))
        await self._phase(
            "dtls", self._start_dtls(self._dtls, remote), self.config.handshake_timeout, LinkFault.DTLS_FAILED
        )
        if self._dtls.mismatched:
            raise LinkError(
                LinkEnd(LinkFault.FINGERPRINT_MISMATCH, "the certificate is not the one the peer's description names")
            )
        if self._dtls.state != "connected":
            raise LinkError(LinkEnd(LinkFault.DTLS_FAILED, "the peer broke the handshake off"))
        await self._phase("sctp", self._start_sctp(), self.config.handshake_timeout, LinkFault.SCTP_FAILED)
        return self._hand_over()

    def _read_answer(self, answer: bytes) -> SessionDescription:
        remote = _decode(answer)
        if remote.kind is not Kind.ANSWER:
            raise LinkError(LinkEnd(LinkFault.BAD_DESCRIPTION, "expected an answer, got an offer"))
        if remote.setup is not Setup.ACTIVE:
            raise LinkError(LinkEnd(LinkFault.BAD_DESCRIPTION, "the answer must start the handshake (setup active)"))
        return remote

    async def _phase(self, name: str, work: Awaitable[None], timeout: float, late: LinkFault) -> None:
        started = time.perf_counter()
        self._late = late
        try:
            async with asyncio.timeout(timeout):
                await work
        except TimeoutError:
            raise LinkError(LinkEnd(late, f"no {name.upper()} after {timeout:g} s")) from None
        except ConnectionError as error:
            raise LinkError(LinkEnd(late, str(error))) from None
        self.phases[name] = time.perf_counter() - started

    def _plan(self, remote: SessionDescription) -> Plan:
        assert self._connection is not None
        said = remote.extra(Extra.NAT_REPORT)
        try:
            theirs = NatReport() if said is None else NatReport.from_bytes(said)
        except DecodeError:
            theirs = NatReport()
        return plan(self._report(), theirs)

    def _report(self) -> NatReport:
        assert self._connection is not None
        return NatReport(filtering=Filtering.BLOCKED) if self.config.udp_blocked else self._connection.report

    async def _start_ice(self, ice: RTCIceTransport, remote: SessionDescription) -> None:
        from aiortc import RTCIceCandidate
        from aiortc.rtcicetransport import RTCIceParameters

        for index, candidate in enumerate(remote.candidates):
            if not self.config.reaches(candidate.host):
                continue
            await ice.addRemoteCandidate(
                RTCIceCandidate(
                    component=1,
                    foundation=f"{candidate.kind}{index}",
                    ip=candidate.host,
                    port=candidate.port,
                    priority=candidate.priority or derived_priority(candidate.kind, index),
                    protocol="udp",
                    type=candidate.kind,
                )
            )
        await ice.addRemoteCandidate(None)
        if self._connection is not None:
            self._connection.punch(self._plan(remote), self.config.budget, random.SystemRandom())
        await ice.start(RTCIceParameters(usernameFragment=remote.ufrag, password=remote.password))

    async def _start_dtls(self, dtls: RunDtlsTransport, remote: SessionDescription) -> None:
        from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters

        value = remote.fingerprint.hex(":").upper()
        await dtls.start(RTCDtlsParameters(fingerprints=[RTCDtlsFingerprint("sha-256", value)]))

    async def _start_sctp(self) -> None:
        sctp, dtls = self._sctp, self._dtls
        assert sctp is not None
        assert dtls is not None
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look() -> None:
            if not changed.done() and (sctp.state in ("connected", "closed") or dtls.state != "connected"):
                changed.set_result(None)

        sctp.on_state = dtls.on_state = look
        await sctp.start()
        look()
        await changed
        if sctp.state != "connected":
            raise ConnectionError("the peer ended the connection before the channel was up")

    def _hand_over(self) -> Opened:
        from node.adapters.webrtc_channel import WebRtcChannel

        assert self._ice is not None
        assert self._dtls is not None
        assert self._sctp is not None
        assert self._connection is not None
        path = LinkPath()
        selected = self._connection.selected()
        if selected is not None:
            local, far = selected
            path = LinkPath(local.type, (local.host, local.port), far.type, (far.host, far.port))
        self._handed_over = True
        return Opened(WebRtcChannel(self._ice, self._dtls, self._sctp), path, self.phases)


@functools.lru_cache(maxsize=1)
def current_certificate(period: int) -> RunCertificate:
    """Return the certificate of this period; made once, since making one costs as much as a handshake."""
    from node.adapters.webrtc_dtls import RunCertificate

    return RunCertificate.generateCertificate()


def _decode(data: bytes) -> SessionDescription:
    try:
        remote = decode_description(data)
    except DecodeError as error:
        raise LinkError(LinkEnd(LinkFault.BAD_DESCRIPTION, str(error))) from None
    if isinstance(remote, Refusal):
        raise LinkError(LinkEnd(LinkFault.REFUSED, remote.reason.name.lower().replace("_", "-")))
    return remote


def _pack_candidates(connection: DirectConnection, *, share_local: bool) -> tuple[PackedCandidate, ...]:
    ordered = sorted(connection.local_candidates, key=lambda candidate: -candidate.priority)
    return tuple(
        PackedCandidate(candidate.type, candidate.host, candidate.port)
        for candidate in ordered[:MAX_CANDIDATES]
        if candidate.type in TYPE_PREFERENCE
        and (share_local or candidate.type != "host" or not ipaddress.ip_address(candidate.host).is_private)
    )


def _pairs(connection: DirectConnection | None, remote: SessionDescription) -> str:
    local = 0 if connection is None else len(connection.local_candidates)
    return f"{local} own and {len(remote.candidates)} offered addresses"
