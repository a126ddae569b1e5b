"""Channels over TCP and TLS: dialling a node that offers a WebSocket, and offering one.

Decides what TLS is worth here: certificates are the nodes' own, so nobody vouches for them; the proof of identity keys
that follows is bound to the server's certificate, so that whoever stands between with another one proves nothing. A
link looks like any HTTPS to networks that let nothing else through. Refuses to know what the links are for.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    ClientWSTimeout,
    TCPConnector,
    web,
)

from dht.errors import LocalError
from dht.identity import IdentityKey, PublicKey, address_prefix
from node.adapters.proving import prove
from node.adapters.websocket import CLOSE_TIMEOUT, MAX_FRAME, WebSocketChannel
from node.ports import Address, LinkEnd, LinkError, LinkFault, LinkPath, Opened
from node.protocols.handshake import Handshake

PATH: Final = "/rookery"
"""Where the WebSocket is; anything else at the port is answered 404."""

PROTOCOL: Final = "rookery.1"
"""The WebSocket subprotocol (RFC 6455 section 1.9)."""

PROOF_TIMEOUT: Final = 10.0
"""Seconds a caller has to prove its key: bounds how long a stranger holds a connection. UNSOURCED"""

MAX_UNPROVEN: Final = 64
MAX_UNPROVEN_PREFIX: Final = 8
"""Connections that have proven nothing yet, in all and of one /24 or /48: a flood from one network leaves room for
others. UNSOURCED"""


class WebSockets:
    """Opens channels over WebSockets for one identity, and takes them where it listens."""

    def __init__(self, identity: IdentityKey, rng: Random) -> None:
        self.on_opened: Callable[[PublicKey, Opened], None] = lambda _peer, _opened: None
        self.counters: Counter[str] = Counter()
        """opened, taken, turned_away, not_proven."""
        self.listening: tuple[Address, ...] = ()
        self._identity = identity
        self._rng = rng
        self._unproven: Counter[object] = Counter()
        self._client: ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._binding = b""

    async def dial(self, peer: PublicKey, address: Address, fingerprint: bytes = b"", *, timeout: float) -> Opened:
        """Open a channel to `peer`, which listens at `address` over TCP; `fingerprint` is its certificate's, if known.

        Raises `LinkError` with a typed reason.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(timeout):
                socket, tls = await self._connect(address)
        except TimeoutError:
            raise LinkError(LinkEnd(LinkFault.LOST, f"no WebSocket at {_text(address)} after {timeout:g} s")) from None
        except (ClientError, OSError) as error:
            raise LinkError(LinkEnd(LinkFault.LOST, f"no WebSocket at {_text(address)}: {error}")) from None
        phases = {"tls": loop.time() - started}
        channel = WebSocketChannel(socket)
        digest = hashlib.sha256(tls.getpeercert(binary_form=True) or b"").digest()
        if fingerprint and digest != fingerprint:
            await channel.close()
            raise LinkError(LinkEnd(LinkFault.FINGERPRINT_MISMATCH, f"{_text(address)} has another certificate"))
        handshake = Handshake(self._identity, self._rng, initiator=True, binding=digest, expected=peer)
        left = max(timeout - (loop.time() - started), 0.1)
        proven = await prove(channel, handshake, left)
        phases["proof"] = loop.time() - started - phases["tls"]
        self.counters["opened"] += 1
        return Opened(proven.channel, LinkPath("websocket", None, "websocket", address), phases)

    async def listen(self, host: str, port: int, certificate: Path, fingerprint: bytes) -> None:
        """Take channels at a TCP port, under the certificate and key in a PEM file, whose SHA-256 is `fingerprint`.

        Raises `LocalError` saying what to do.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(certificate)
        except (OSError, ssl.SSLError) as error:
            raise LocalError(f"cannot read the certificate {certificate}: {error}") from None
        self._binding = fingerprint
        app = web.Application()
        app.router.add_get(PATH, self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, ssl_context=context).start()
        except OSError as error:
            await self._runner.cleanup()
            raise LocalError(
                f"cannot listen on TCP port {port} of {host}: {error.strerror or error}; "
                "choose another port in `websocket`, or let nobody else use this one"
            ) from None
        self.listening = tuple(address[:2] for address in self._runner.addresses)

    async def close(self) -> None:
        """Stop listening, and dial no more; channels that were handed over are closed by who has them."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._client is not None:
            await self._client.close()

    async def _connect(self, address: Address) -> tuple[ClientWebSocketResponse, ssl.SSLObject]:
        if self._client is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connector = TCPConnector(ssl=context, force_close=True, limit=0)
            self._client = ClientSession(connector=connector, timeout=ClientTimeout(total=None))
        socket = await self._client.ws_connect(
            f"https://{_text(address)}{PATH}",
            protocols=(PROTOCOL,),
            max_msg_size=MAX_FRAME,
            compress=0,
            timeout=ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
        )
        return socket, socket.get_extra_info("ssl_object")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        name = request.transport.get_extra_info("peername") if request.transport is not None else None
        host, port = name[:2] if name else ("", 0)
        prefix = address_prefix(host) if host else host
        if self._unproven.total() >= MAX_UNPROVEN or self._unproven[prefix] >= MAX_UNPROVEN_PREFIX:
            self.counters["turned_away"] += 1
            raise web.HTTPServiceUnavailable(text="too many callers at once: try again later\n")
        socket = web.WebSocketResponse(protocols=(PROTOCOL,), max_msg_size=MAX_FRAME, compress=False)
        self._unproven[prefix] += 1
        try:
            await socket.prepare(request)
            channel = WebSocketChannel(socket)
            handshake = Handshake(self._identity, self._rng, initiator=False, binding=self._binding)
            proven = await prove(channel, handshake, PROOF_TIMEOUT)
        except LinkError:
            self.counters["not_proven"] += 1
            return socket
        finally:
            self._unproven[prefix] -= 1
            if not self._unproven[prefix]:
                del self._unproven[prefix]
        self.counters["taken"] += 1
        self.on_opened(proven.peer, Opened(proven.channel, LinkPath("websocket", None, "websocket", (host, port))))
        await channel.ended
        return socket


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
