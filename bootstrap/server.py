"""The bootstrap server's HTTP side: serves the signed list, `/health`, a health page, and one that opens invites.

This file decides that a list which no node would take is never served, and that a slow or greedy client cannot hold
the server. It refuses to know the node: its state comes from a `health()` function.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from aiohttp import web

from bootstrap.firstcontacts import MAX_FILE, FirstContacts, ListFile, VerifiedList, decode_file, moment, verify
from bootstrap.page import health_page
from bootstrap.page_invite import INVITE_PAGE, INVITE_PAGE_POLICY
from bootstrap.refusals import ListRefused
from bootstrap.store import read_file
from bootstrap.trust import TrustRoot
from dht.errors import LocalError

MAX_CONNECTIONS: Final = 512
"""Open connections. UNSOURCED: half of the usual limit of 1,024 open files; the rest belongs to the node."""

CONNECTION_SECONDS: Final = 30.0
"""Longest life of a connection, whatever it does. UNSOURCED: a list crosses the slowest mobile link in this time. It
ends slow requests and slow readers alike (slowloris), with no look at what they send."""

MAX_AGE: Final = 300
"""Seconds that caches may keep a list. UNSOURCED: a new list is everywhere five minutes after it was put in place."""

ENDING: Final = 0.2
"""Part of a list's life at which it is time for the next one: six days of thirty. UNSOURCED"""

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Health:
    """What the node says of itself."""

    ok: bool
    contacts: int
    """Live contacts in its routing table."""
    reasons: tuple[str, ...] = ()
    """Why it is not ok; shown to people."""


class ListOnDisk:
    """The list file, read and checked again whenever it changes."""

    def __init__(self, path: Path, trust: TrustRoot, network: str, clock: Callable[[], float]) -> None:
        self._path = path
        self._trust = trust
        self._network = network
        self._clock = clock
        self._stamp: tuple[int, int, int] | None = None
        self._read: tuple[bytes, ListFile] | ListRefused | None = None
        self._taken: VerifiedList | None = None

    def current(self) -> tuple[bytes, VerifiedList]:
        """Return the bytes to serve. Raises `LocalError` or `ListRefused` when there is nothing fit to be served."""
        try:
            status = os.stat(self._path)
        except OSError as problem:
            raise LocalError(f"the list cannot be read: {problem.strerror}") from None
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self._stamp:
            self._stamp, self._read, self._taken = None, None, None
            data = read_file(self._path, MAX_FILE)
            try:
                self._read = (data, decode_file(data))
            except ListRefused as refused:
                self._read = refused
            self._stamp = stamp
        if self._read is None or isinstance(self._read, ListRefused):
            raise self._read or LocalError("the list was not read")
        data, file = self._read
        now = self._clock()
        # Signatures need one check for each file, times one for each request.
        if self._taken is None or now >= file.content.expires_at or now < file.content.issued_at:
            self._taken = verify(file, self._trust, self._network, now)
        return data, self._taken


@dataclass(frozen=True, slots=True)
class _State:
    ok: bool
    reasons: tuple[str, ...]
    contacts: int
    uptime: float
    version: str
    served: VerifiedList | None


def create_app(
    path: Path,
    trust: TrustRoot,
    network: str,
    health: Callable[[], Health],
    *,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> web.Application:
    """Return the application that serves the list at `path`, checked against `trust` as a node would check it."""
    source = ListOnDisk(path, trust, network, clock)
    started = monotonic()

    def state() -> _State:
        node = health()
        reasons = list(node.reasons)
        served = None
        try:
            served = source.current()[1]
        except (LocalError, ListRefused) as problem:
            reasons.append(_public(problem))
        if not node.ok and not node.reasons:
            reasons.append("the node reports a fault")
        if served is not None and (warning := _ending(served.content, clock())):
            reasons.append(warning)
        # Who watches /health has time to act while the list is still good: it is served until its very end.
        ok = node.ok and served is not None and not reasons
        return _State(ok, tuple(reasons), node.contacts, monotonic() - started, _version(), served)

    async def serve_list(request: web.Request) -> web.Response:
        try:
            data, verified = source.current()
        except (LocalError, ListRefused) as problem:
            reason = problem.reason.value if isinstance(problem, ListRefused) else "unreadable"
            return web.json_response(
                {"error": reason, "message": _public(problem)},
                status=503,
                headers={"Cache-Control": "no-store", "Retry-After": "300"},
            )
        tag = hashlib.sha256(data).hexdigest()[:32]
        age = min(MAX_AGE, int(verified.content.expires_at - clock()))
        # Any web page may read the list: it is public, and it proves itself.
        headers = {
            "ETag": f'"{tag}"',
            "Cache-Control": f"public, max-age={max(0, age)}",
            "Access-Control-Allow-Origin": "*",
        }
        asked = request.if_none_match or ()
        if any(each.value in {tag, "*"} for each in asked):
            return web.Response(status=304, headers=headers)
        return web.Response(body=data, content_type="application/json", headers=headers)

    async def serve_health(_: web.Request) -> web.Response:
        now = state()
        content = now.served.content if now.served else None
        body: dict[str, Any] = {
            "status": "ok" if now.ok else "degraded",
            "reasons": now.reasons,
            "uptime_seconds": round(now.uptime, 1),
            "contacts": now.contacts,
            "network": network,
            "list": content and {"sequence": content.sequence, "expires_at": content.expires_at},
            "version": now.version,
        }
        return web.json_response(body, status=200 if now.ok else 503, headers={"Cache-Control": "no-store"})

    async def serve_page(_: web.Request) -> web.Response:
        now = state()
        facts = [
            ("Network", network),
            ("Contacts", str(now.contacts)),
            ("Up for", _duration(now.uptime)),
            ("Version", now.version),
        ]
        if now.served:
            content = now.served.content
            facts.append(("List", f"{content.sequence}, {len(content.contacts)} contacts"))
            facts.append(("List expires", moment(content.expires_at)))
        return web.Response(
            text=health_page(now.ok, now.reasons, facts),
            content_type="text/html",
            status=200 if now.ok else 503,
            headers={"Cache-Control": "no-store"},
        )

    async def serve_invite_page(_: web.Request) -> web.Response:
        headers = {"Cache-Control": f"public, max-age={MAX_AGE}", "Content-Security-Policy": INVITE_PAGE_POLICY}
        return web.Response(text=INVITE_PAGE, content_type="text/html", headers=headers)

    app = web.Application(client_max_size=1024, middlewares=[_harden])
    # GET brings HEAD along; every other method is answered 405 by the router.
    app.router.add_get("/bootstrap.json", serve_list)
    app.router.add_get("/health", serve_health)
    app.router.add_get("/", serve_page)
    app.router.add_get("/join", serve_invite_page)
    return app


class BootstrapServer:
    """Runs an application on a port: `async with BootstrapServer(app, host, port) as server: server.address`."""

    def __init__(
        self,
        app: web.Application,
        host: str,
        port: int,
        *,
        max_connections: int = MAX_CONNECTIONS,
        connection_seconds: float = CONNECTION_SECONDS,
    ) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=10, max_line_size=2048, max_field_size=4096, shutdown_timeout=1
        )
        self._endpoint = (host, port)
        self._max_connections = max_connections
        self._connection_seconds = connection_seconds
        self._listener: asyncio.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port is the real one when 0 was asked for."""
        if self._listener is None:
            raise LocalError("the bootstrap server is not running")
        host, port = self._listener.sockets[0].getsockname()[:2]
        return host, port

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        host, port = self._endpoint
        try:
            self._listener = await asyncio.get_running_loop().create_server(self._accept, host, port)
        except OSError as problem:
            await self._runner.cleanup()
            raise LocalError(
                f"cannot listen on {host} port {port}: {os.strerror(problem.errno) if problem.errno else problem}"
            ) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._runner.cleanup()
        self._listener = None

    def _accept(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= self._max_connections:
            return _Turnaway()
        return _Timed(server(), self._connection_seconds)


class _Timed(asyncio.Protocol):
    """Hands a connection to aiohttp and ends it when its time is over; the timer goes with the connection."""

    def __init__(self, handler: asyncio.Protocol, seconds: float) -> None:
        self._handler = handler
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance check: uvloop's transports are not asyncio's, though they do the same.
        abort = cast("asyncio.Transport", transport).abort
        self._timer = asyncio.get_running_loop().call_later(self._seconds, abort)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._handler.connection_lost(exc)


class _Turnaway(asyncio.Protocol):
    """Ends a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@web.middleware
async def _harden(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        answer.headers.update(_HEADERS)
        raise
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _public(problem: LocalError | ListRefused) -> str:
    # A path of the machine is nothing for strangers; a refusal speaks of the list alone.
    return problem.message if isinstance(problem, ListRefused) else "the list cannot be read"


def _ending(content: FirstContacts, now: float) -> str:
    """A warning when little of a list's life is left."""
    left = content.expires_at - now
    if left >= ENDING * (content.expires_at - content.issued_at):
        return ""
    return f"the list expires soon, at {moment(content.expires_at)}: sign a new one"


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours // 24} d {hours % 24} h {rest // 60} min"


def _version() -> str:
    try:
        return version("rookery")
    except PackageNotFoundError:
        return "unknown"
