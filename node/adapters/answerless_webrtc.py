"""Both ends of a dial without an answer, on aiortc: a dialler's socket, and a dialled end on a port it shares.

Decides the ICE that is left when one address is tried and nothing is nominated, and in which order the layers come up.
Refuses to know who is let in and who is at the other end. Imported with the first dial: it costs 0.4 s and 44 MB.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aioice import Candidate, stun
from aioice.candidate import candidate_foundation
from aioice.ice import CandidatePair, StunProtocol
from aiortc import RTCIceTransport
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, State
from aiortc.rtcicetransport import RTCIceParameters
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from node.adapters.answerless_listen import SharedPort
from node.adapters.certificate import KeptCertificate
from node.adapters.webrtc_channel import WebRtcChannel, close_transports
from node.adapters.webrtc_dtls import RunCertificate, RunDtlsTransport
from node.adapters.webrtc_ice import BatchedStunProtocol, DirectConnection, DirectGatherer
from node.adapters.webrtc_sctp import RunSctpTransport
from node.adapters.webrtc_udp import BatchedUdpTransport
from node.ports import Address, LinkEnd, LinkError, LinkFault, LinkPath
from node.protocols.dialing import SOFTWARE_PADDING, name_for
from node.protocols.offer import derived_priority

logger = logging.getLogger(__name__)

MAX_EARLY: Final = 16
"""Datagrams kept while DTLS begins: a flight and its repeats. Bounds memory; more are lost, as on any network."""


class DialConnection(DirectConnection):
    """ICE with one address that listens: one check, which nominates, and one round trip."""

    def __init__(self, address: Address, own: str) -> None:
        """Binds a socket on our address `own`. Raises `OSError`."""
        super().__init__(controlling=True)
        self.opened = False
        self.seen_as: Address | None = None
        """How the other end sees us."""
        protocol = BatchedStunProtocol(self)
        transport = BatchedUdpTransport.bind(asyncio.get_running_loop(), own, protocol)
        protocol.local_candidate = _candidate((own, transport.get_extra_info("sockname")[1]))
        self._protocols.append(protocol)
        self._pair = CandidatePair(protocol, _candidate(address))
        self._early_checks_done = True

    async def gather_candidates(self) -> None:
        """The one socket there is was bound already."""

    async def connect(self) -> None:
        """Check the address until it answers. Raises `ConnectionError` when it never does."""
        assert self.remote_password is not None
        request = self.build_request(self._pair, nominate=True)
        # Room for the answer and for the other end's own check, which may be no longer than this together.
        request.attributes["SOFTWARE"] = "rookery".ljust(SOFTWARE_PADDING)
        protocol = cast(BatchedStunProtocol, self._pair.protocol)
        try:
            response, _ = await protocol.request(request, self._pair.remote_addr, self.remote_password.encode())
        except stun.TransactionError as error:
            raise ConnectionError(str(error)) from None
        mapped = response.attributes.get("XOR-MAPPED-ADDRESS")
        self.seen_as = None if mapped is None else (mapped[0], mapped[1])
        self._nominated[1] = self._pair
        self._query_consent_task = asyncio.create_task(self.query_consent())

    def request_received(self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """Answer the other end's check, by which it finds that this address is ours; but not once we are through: one
        who has forgotten us (as after a restart) must not take us for somebody new."""
        if not self.opened:
            super().request_received(message, addr, protocol)

    def check_incoming(self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """Their checks make no new pairs: there is one address to try."""

    def path(self) -> LinkPath:
        """Which way the bytes go."""
        own = self._pair.local_candidate
        local = (own.host, own.port)
        seen = self.seen_as or local
        remote = self._pair.remote_addr
        return LinkPath("host" if seen == local else "prflx", seen, "host", (remote[0], remote[1]))


class PortConnection(DirectConnection):
    """The path to one dialler over a port that others use, too: what arrives is handed in."""

    def __init__(self, port: SharedPort, address: Address, closed: Callable[[], object]) -> None:
        """`address` is the dialler's; `closed()` is called when the path is given up."""
        super().__init__(controlling=False)
        self._port = port
        self._address = address
        self._on_close = closed
        self._nominated[1] = cast(Any, address)  # Not empty: there is a path.

    async def gather_candidates(self) -> None:
        """Nothing to gather: the port is there."""

    async def connect(self) -> None:
        """Nothing to check: the dialler has shown that the address is its own."""

    async def send(self, data: bytes) -> None:
        """Send one datagram of the handshake."""
        self.send_now(data)

    def send_now(self, data: bytes) -> None:
        """Send one datagram. Raises `ConnectionError` when the path was given up."""
        if not self._nominated:
            raise ConnectionError("the path is gone")
        self._port.send(data, self._address)

    def send_run(self, data: memoryview, size: int) -> None:
        """Send a run of datagrams of `size` bytes, the last perhaps shorter."""
        if not self._nominated:
            raise ConnectionError("the path is gone")
        self._port.send_run(data, size, self._address)

    def receive(self, data: bytes) -> None:
        """Take a DTLS datagram."""
        if self.data_sink is not None:
            self.data_sink(memoryview(data), len(data))
        elif self._queue.qsize() < MAX_EARLY:
            self.data_received(data, 1)

    def turn_done(self) -> None:
        """Everything that had arrived was handed in."""
        if self.wakeup_sink is not None:
            self.wakeup_sink()

    async def close(self) -> None:
        """Give the path up."""
        await super().close()
        self._on_close()


class AnyDtlsTransport(RunDtlsTransport):
    """DTLS with whoever it is: the identity is proven inside, and bound to the certificate found here."""

    remote_fingerprint = b""

    def _validate_peer_identity(self, remoteParameters: RTCDtlsParameters) -> None:
        assert self._ssl is not None
        certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            self._set_state(State.FAILED)
            return
        self.remote_fingerprint = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()


class Dial:
    """The layers of one attempt, brought up one after the other with a reason for each failure."""

    def __init__(self, ice: RTCIceTransport, dtls: RunDtlsTransport) -> None:
        self.phases: dict[str, float] = {}
        self.late = LinkFault.ICE_TIMEOUT
        """What it is called when time runs out now."""
        self._ice = ice
        self._dtls = dtls
        self._sctp = RunSctpTransport(dtls)

    async def open(self, name: str, fingerprint: bytes) -> WebRtcChannel:
        """Bring the layers up. Raises `LinkError`; the caller then calls `close`."""
        await self._phase("ice", self._ice.start(RTCIceParameters(name, name)), LinkFault.ICE_TIMEOUT)
        if self._ice.state != "completed":
            raise LinkError(LinkEnd(LinkFault.ICE_FAILED, "nobody answers there"))
        parameters = RTCDtlsParameters([RTCDtlsFingerprint("sha-256", fingerprint.hex(":").upper())])
        await self._phase("dtls", self._dtls.start(parameters), LinkFault.DTLS_FAILED)
        if self._dtls.mismatched:
            raise LinkError(
                LinkEnd(LinkFault.FINGERPRINT_MISMATCH, "the certificate is not the one the peer's record names")
            )
        if self._dtls.state != "connected":
            raise LinkError(LinkEnd(LinkFault.DTLS_FAILED, "the peer broke the handshake off"))
        await self._phase("sctp", self._associate(), LinkFault.SCTP_FAILED)
        if self._sctp.state != "connected":
            raise LinkError(LinkEnd(LinkFault.SCTP_FAILED, "the peer ended the connection before the channel was up"))
        self.late = LinkFault.NO_PROOF
        return WebRtcChannel(self._ice, self._dtls, self._sctp)

    async def close(self) -> None:
        """Give everything up."""
        await close_transports(self._ice, self._dtls, self._sctp)

    async def _phase(self, name: str, work: Awaitable[None], late: LinkFault) -> None:
        started, self.late = time.perf_counter(), late
        await work
        self.phases[name] = time.perf_counter() - started

    async def _associate(self) -> None:
        sctp, dtls = self._sctp, self._dtls
        changed = asyncio.Event()
        sctp.on_state = dtls.on_state = changed.set
        await sctp.start()
        while sctp.state not in ("connected", "closed") and dtls.state == "connected":
            await changed.wait()
            changed.clear()


def prepare_dial(address: Address, certificate: RunCertificate, own: str | None) -> tuple[DialConnection, Dial]:
    """Bind a socket and make the layers. `own`: the address to dial from. Raises `LinkError` (ice-failed)."""
    try:
        connection = DialConnection(address, own or _own_address(address))
    except OSError as error:
        raise LinkError(LinkEnd(LinkFault.ICE_FAILED, f"no way to {address[0]}: {error.strerror or error}")) from None
    ice = RTCIceTransport(DirectGatherer(connection))
    return connection, Dial(ice, RunDtlsTransport(ice, certificate, client=True))


def name_of(connection: DialConnection) -> str:
    """What the other end's name and password are to be."""
    return name_for(connection.local_password)


def prepare_dialled(connection: PortConnection, certificate: RunCertificate) -> tuple[AnyDtlsTransport, Dial]:
    """Make the layers of the end that was dialled."""
    ice = RTCIceTransport(DirectGatherer(connection))
    dtls = AnyDtlsTransport(ice, certificate, client=False)
    return dtls, Dial(ice, dtls)


def loaded(certificate: KeptCertificate) -> RunCertificate:
    """The certificate as aiortc wants it."""
    key = serialization.load_pem_private_key(certificate.key.encode(), None)
    return RunCertificate(key=cast(Any, key), cert=x509.load_pem_x509_certificate(certificate.certificate.encode()))


def _own_address(address: Address) -> str:
    """Which address of ours a datagram to `address` would leave from. Raises `OSError`."""
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # Sends nothing: it only asks the kernel's table of routes.
        return str(probe.getsockname()[0])


def _candidate(address: Address) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("host", "udp", address[0]),
        component=1,
        transport="udp",
        priority=derived_priority("host", 0),
        host=address[0],
        port=address[1],
        type="host",
    )
