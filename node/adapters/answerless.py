"""Dialling a peer that can be reached, with no offer and no answer before, and being dialled so.

The dialler knows an address and a certificate's fingerprint from the peer's record. It checks the address (ICE), comes
to DTLS with exactly that certificate, opens the channel, and then both prove their identity keys in it, bound to both
certificates: five round trips and no signaling. Decides that order, how long it may take and with which typed reason it
fails. aiortc is imported with the first dial, or with the first dialler who has shown where he is.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from dht.errors import LocalError
from dht.identity import IdentityKey, PublicKey
from node.adapters.answerless_listen import ATTEMPT_TIMEOUT, Dialler, Listener, SharedPort
from node.adapters.certificate import KeptCertificate
from node.adapters.proving import prove
from node.ports import Address, LinkEnd, LinkError, LinkFault, LinkPath, Opened
from node.protocols.handshake import Handshake

if TYPE_CHECKING:
    from node.adapters.webrtc_dtls import RunCertificate

logger = logging.getLogger(__name__)

FINGERPRINT_BYTES: Final = 32
"""SHA-256."""

_BINDING: Final = b"rookery/dtls/1\x00"


class WebRtcAnswerless:
    """`Answerless` over WebRTC on a port that the DHT has, too. Made by `open`."""

    def __init__(
        self,
        identity: IdentityKey,
        certificate: KeptCertificate,
        rng: random.Random,
        only_address: str | None,
        reaches: Callable[[str], bool],
    ) -> None:
        self.fingerprint = certificate.fingerprint
        self.on_opened: Callable[[PublicKey, Opened], None] = _nobody
        self._identity = identity
        self._certificate = certificate
        self._rng = rng
        self._only_address = only_address
        self._reaches = reaches
        self._listener: Listener | None = None
        self._port: SharedPort | None = None
        self._loaded: RunCertificate | None = None
        self._importing: asyncio.Future[ModuleType] | None = None
        self._dials: set[asyncio.Task[Any]] = set()
        self._closing = False

    @classmethod
    async def open(
        cls,
        identity: IdentityKey,
        port: SharedPort,
        certificate: KeptCertificate,
        *,
        rng: random.Random | None = None,
        only_address: str | None = None,
        reaches: Callable[[str], bool] = lambda _ip: True,
    ) -> WebRtcAnswerless:
        """Listen on `port`. `rng` makes keys: outside of simulations it must be `random.SystemRandom`, the default.
        `only_address`: dial from this address of ours alone. `reaches(ip)`: whether an address may be dialled."""
        self = cls(identity, certificate, rng or random.SystemRandom(), only_address, reaches)
        self._port = port
        self._listener = Listener(port, self._rng, self._begin)
        return self

    @property
    def counters(self) -> Counter[str]:
        """What became of diallers: answered, challenged, arrived, malformed, limited, stray, full, limited_handshakes,
        opened, failed."""
        return Counter() if self._listener is None else self._listener.counters

    async def dial(self, peer: PublicKey, address: Address, fingerprint: bytes, *, timeout: float) -> Opened:
        """Open a channel to `peer`, which listens at `address` with the certificate of `fingerprint`.

        Raises `LinkError` with a typed reason; whatever happens, nothing is left behind.
        """
        if len(fingerprint) != FINGERPRINT_BYTES:
            raise LocalError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(fingerprint)}")
        if self._closing:
            raise LinkError(LinkEnd(LinkFault.CLOSED_BY_US, "the node is stopping"))
        if not self._reaches(address[0]):
            raise LinkError(LinkEnd(LinkFault.ICE_FAILED, f"{address[0]} is not on the local network (scope = lan)"))
        task = asyncio.current_task()
        assert task is not None
        self._dials.add(task)
        try:
            return await self._dial(peer, address, fingerprint, timeout)
        finally:
            self._dials.discard(task)

    async def close(self) -> None:
        """Let nobody in any more, and give up every attempt."""
        self._closing = True
        current = asyncio.current_task()
        dials = [task for task in self._dials if task is not current]
        for task in dials:
            task.cancel()
        if dials:
            await asyncio.wait(dials)
        if self._listener is not None:
            await self._listener.close()

    async def _dial(self, peer: PublicKey, address: Address, fingerprint: bytes, timeout: float) -> Opened:
        dial = None
        try:
            async with asyncio.timeout(timeout):
                webrtc = await self._webrtc()
                certificate = _own_certificate()
                connection, dial = webrtc.prepare_dial(address, certificate, self._only_address)
                channel = await dial.open(webrtc.name_of(connection), fingerprint)
                connection.opened = True
                started = time.perf_counter()
                binding = _binding(certificate.sha256(), fingerprint)
                handshake = Handshake(self._identity, self._rng, initiator=True, binding=binding, expected=peer)
                proven = await prove(channel, handshake, timeout)
        except TimeoutError:
            late = LinkFault.ICE_TIMEOUT if dial is None else dial.late
            await _given_up(dial)
            raise LinkError(LinkEnd(late, f"not open after {timeout:g} s")) from None
        except BaseException as error:
            await _given_up(dial)
            if isinstance(error, ConnectionError):
                raise LinkError(LinkEnd(LinkFault.LOST, str(error))) from None
            raise
        dial.phases["proof"] = time.perf_counter() - started
        return Opened(proven.channel, connection.path(), dial.phases)

    # Being dialled

    def _begin(self, dialler: Dialler) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self._serve(dialler))

    async def _serve(self, dialler: Dialler) -> None:
        """Take one dialler in. Never raises: it is nobody yet, so nobody is told but the log."""
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT):
                peer, opened = await self._answer(dialler)
        except (LinkError, ConnectionError, TimeoutError) as error:
            self.counters["failed"] += 1
            logger.debug("%s dialled in vain: %s", dialler.address, error)
            return
        except Exception:
            self.counters["failed"] += 1
            logger.exception("taking in %s failed", dialler.address)
            return
        self.counters["opened"] += 1
        self.on_opened(peer, opened)

    async def _answer(self, dialler: Dialler) -> tuple[PublicKey, Opened]:
        listener, port = self._listener, self._port
        assert listener is not None
        assert port is not None
        dial = None
        try:
            webrtc = await self._webrtc()
            if self._loaded is None:
                self._loaded = webrtc.loaded(self._certificate)
            path = webrtc.PortConnection(port, dialler.address, lambda: listener.forget(dialler))
            dtls, dial = webrtc.prepare_dialled(path, self._loaded)
            listener.attach(dialler, path)
            # Nothing is known of its certificate before: what is found there is bound to the proof.
            channel = await dial.open("dialled", bytes(FINGERPRINT_BYTES))
            started = time.perf_counter()
            binding = _binding(dtls.remote_fingerprint, self.fingerprint)
            handshake = Handshake(self._identity, self._rng, initiator=False, binding=binding)
            proven = await prove(channel, handshake, ATTEMPT_TIMEOUT)
            dial.phases["proof"] = time.perf_counter() - started
        except BaseException:
            await _given_up(dial)
            listener.forget(dialler)
            raise
        found = LinkPath("host", _bound(port, dialler.address), "prflx", dialler.address)
        return proven.peer, Opened(proven.channel, found, dial.phases)

    async def _webrtc(self) -> Any:
        """What needs aiortc; imported once, and in a thread: half a second in which the loop must go on."""
        if self._importing is None:
            loop = asyncio.get_running_loop()
            self._importing = loop.run_in_executor(None, importlib.import_module, "node.adapters.answerless_webrtc")
        return await asyncio.shield(self._importing)


def _binding(dialler: bytes, dialled: bytes) -> bytes:
    return _BINDING + dialler + dialled


def _own_certificate() -> RunCertificate:
    from node.adapters.webrtc import CERTIFICATE_LIFETIME, current_certificate

    # Not the kept one: DTLS 1.2 shows certificates to everybody on the way, and this one changes.
    return current_certificate(int(time.time() // CERTIFICATE_LIFETIME))


async def _given_up(dial: Any) -> None:
    if dial is not None:
        await dial.close()


def _bound(port: SharedPort, address: Address) -> Address | None:
    same = [own for own in port.addresses if (":" in own[0]) == (":" in address[0])]
    return same[0] if same and same[0][0] not in ("0.0.0.0", "::") else None


def _nobody(_peer: PublicKey, opened: Opened) -> None:
    """Nobody waits for channels yet: this one is given up."""
    task = asyncio.get_running_loop().create_task(opened.channel.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


_closing: Final[set[asyncio.Task[None]]] = set()
