"""The server side of the local API: commands in as HTTP requests, JSON documents and JSON lines out.

Decides who may ask: over the Unix socket whoever can open the file (mode 0600), over loopback HTTP whoever has the
token and names this machine as host (a page that had its own name resolved to 127.0.0.1 does not). Refuses to know
any command: a `Service` does, and it knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import ipaddress
import json
import logging
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final, Protocol

from aiohttp import web

from dht.errors import LocalError
from node.adapters.http import (
    API_VERSION,
    RELEASE_HEADER,
    VERSION_HEADER,
    ApiFailure,
    is_our_socket,
    private_dir,
)

MAX_BODY: Final = 256 * 1024
"""Bytes of a request: a thousand-byte record in base64 with room to spare, and no more. UNSOURCED."""

PROBE_TIMEOUT: Final = 2.0
"""Seconds to wait for a listener behind an existing socket file. A local connect is immediate unless the
listener's queue is full, and then there is one. UNSOURCED."""

DRAIN: Final = 0.3
"""Seconds that requests under way get at the end: a node must be gone 2 s after it was told to. UNSOURCED."""

STATUS: Final = {
    "unauthorized": 401,
    "forbidden": 403,
    "unknown-command": 404,
    "not-json": 415,
    "too-large": 413,
    "incompatible": 426,
}
"""HTTP status by kind; other failures are 400 (local), 502 (operation) or 500 (internal)."""

STATUS_OF_FAULT: Final = {"local": 400, "operation": 502, "internal": 500}

log = logging.getLogger("rookery.api")


class Service(Protocol):
    """Who answers: commands by name. Both methods raise nothing but `ApiFailure`."""

    async def call(self, command: str, params: dict[str, Any]) -> dict[str, Any]:
        """Do one command and return its document."""

    def stream(self, command: str, params: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Do one command and yield its events; closing the iterator gives the operation up."""


class ApiServer:
    """Serves one `Service` on a Unix socket, on loopback HTTP, or on both."""

    def __init__(self, service: Service, *, release: str) -> None:
        self._service = service
        self._release = release
        self._runners: list[web.AppRunner] = []
        self._streams: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._socket_file: tuple[Path, int] | None = None

    async def listen_unix(self, path: Path) -> None:
        """Listen at `path`, mode 0600. A dead node's file is replaced; a live node's raises `LocalError`."""
        listener = _bind_unix(path)
        self._socket_file = (path, path.stat().st_ino)
        await self._serve(listener, token=None, hosts=frozenset())

    async def listen_http(self, host: str, port: int, token: str) -> int:
        """Listen on a loopback address and return the port. Raises `LocalError` for any other address."""
        name = "127.0.0.1" if host == "localhost" else host.strip("[]")
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            raise LocalError(f"the API host {host!r} is not a loopback address: use 127.0.0.1 or ::1") from None
        if not address.is_loopback:
            raise LocalError(f"the API host {host!r} is not a loopback address: the local API is not for the network")
        listener = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((name, port))
        except OSError as error:
            listener.close()
            raise LocalError(f"the local API cannot listen on {host}:{port}: {error.strerror or error}") from None
        bound: int = listener.getsockname()[1]
        hosts = frozenset(f"{each}:{bound}" for each in ("localhost", "127.0.0.1", "[::1]"))
        await self._serve(listener, token=token, hosts=hosts)
        return bound

    async def stop(self) -> None:
        """End all requests under way, tell their clients, and remove the socket file."""
        self._stopping = True
        if self._socket_file is not None:
            path, inode = self._socket_file
            with contextlib.suppress(OSError):
                # Another node may have taken the name over since: its file stays.
                if path.stat().st_ino == inode:
                    path.unlink()
        for task in list(self._streams):
            task.cancel()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def _serve(self, listener: socket.socket, *, token: str | None, hosts: frozenset[str]) -> None:
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_guard(token, hosts, self._release)])
        app.router.add_get("/version", self._version)
        app.router.add_post("/call/{command}", self._call)
        app.router.add_post("/stream/{command}", self._stream)
        # Without handler_cancellation a client that went away would leave its stream running for ever.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=DRAIN)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        self._runners.append(runner)

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"api": API_VERSION, "version": self._release})

    async def _call(self, request: web.Request) -> web.Response:
        params = await _params(request)
        return web.json_response(await self._service.call(request.match_info["command"], params))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        params = await _params(request)
        events = self._service.stream(request.match_info["command"], params)
        task = asyncio.current_task()
        assert task is not None
        response: web.StreamResponse | None = None
        self._streams.add(task)
        try:
            async for event in events:
                if response is None:  # A command that fails at once still gets a status of its own.
                    response = await self._begin(request)
                await response.write(_line(event))
        except ApiFailure as failure:
            if response is None:
                raise
            await response.write(_line(failure.to_json()))
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            response = response or await self._begin(request)
            stopped = ApiFailure("node-stopped", "the node was stopped", "start it again", fault="operation")
            await response.write(_line(stopped.to_json()))
        except ConnectionError:
            log.debug("the client of a stream went away")
        finally:
            self._streams.discard(task)
            if hasattr(events, "aclose"):
                await events.aclose()
        response = response or await self._begin(request)
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**_headers(self._release), "Cache-Control": "no-store"})
        response.content_type = "application/x-ndjson"
        await response.prepare(request)
        return response


def _headers(release: str) -> dict[str, str]:
    return {VERSION_HEADER: str(API_VERSION), RELEASE_HEADER: release}


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"


async def _params(request: web.Request) -> dict[str, Any]:
    # A form or an image tag of some page can post text/plain, but not this type, without being asked first.
    if request.content_type != "application/json":
        raise ApiFailure("not-json", "the body must be application/json")
    try:
        params = json.loads(await request.text() or "{}")
    except ValueError as error:
        raise ApiFailure("bad-input", f"the body is not JSON: {error}") from None
    if not isinstance(params, dict):
        raise ApiFailure("bad-input", "the body must be a JSON object")
    return params


def _guard(token: str | None, hosts: frozenset[str], release: str) -> Any:
    """The middleware that lets a request in or says why not, and turns every failure into a document."""

    def check(request: web.Request) -> None:
        if token is not None:
            if request.headers.get("Host", "").lower() not in hosts:
                raise ApiFailure("forbidden", "the Host header does not name this machine")
            origin = request.headers.get("Origin")
            if origin is not None and origin.removeprefix("http://").lower() not in hosts:
                raise ApiFailure("forbidden", "requests from web pages of other origins are not answered")
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), token.encode()):
                raise ApiFailure("unauthorized", "the bearer token is missing or wrong")
        asked = request.headers.get(VERSION_HEADER, str(API_VERSION))
        if asked != str(API_VERSION) and request.path != "/version":
            raise ApiFailure(
                "incompatible",
                f"this node (rookery {release}) speaks version {API_VERSION} of the local API, not {asked[:20]}",
                "use the command line of the same release as the node",
            )

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            check(request)
            response: web.StreamResponse = await handler(request)
        except ApiFailure as failure:
            response = _failed(failure)
        except web.HTTPException as error:
            kind = {404: "unknown-command", 413: "too-large"}.get(error.status, "bad-input")
            response = _failed(ApiFailure(kind, f"{request.method} {request.path}: {error.reason}"))
        if not response.prepared:
            response.headers.update(_headers(release))
        return response

    return guard


def _failed(failure: ApiFailure) -> web.Response:
    status = STATUS.get(failure.kind) or STATUS_OF_FAULT.get(failure.fault, 500)
    return web.json_response(failure.to_json(), status=status)


def _bind_unix(path: Path) -> socket.socket:
    """Bind beside `path` and move the socket there, so that the name never leads to a half-made or open one."""
    if path.parent != path and not path.parent.is_dir():
        private_dir(path.parent)
    if os.path.lexists(path):
        _refuse_live(path)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        mask = os.umask(0o177)
        try:
            listener.bind(os.fspath(fresh))
        finally:
            os.umask(mask)
        listener.listen(128)
        fresh.rename(path)
    except OSError as error:
        listener.close()
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise LocalError(f"the local API cannot listen at {path}: {error.strerror or error}") from None
    return listener


def _refuse_live(path: Path) -> None:
    if not is_our_socket(path):
        raise LocalError(f"{path} is not a socket of this user: remove it, or use another data directory")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(PROBE_TIMEOUT)
    try:
        probe.connect(os.fspath(path))
    except OSError as error:
        # Nobody listens behind it any more: the node died without removing it.
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            return
        raise LocalError(f"the local API's socket {path} cannot be used: {error.strerror or error}") from None
    finally:
        probe.close()
    raise LocalError(f"a node already runs here: something answers at {path}. Stop it, or use another --data-dir")
