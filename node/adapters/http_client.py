"""The client side of the local API: commands out as HTTP requests, documents and events back.

Decides how a running node is reached and what it means when it is not. Refuses to know any command.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from node.adapters.http import (
    API_VERSION,
    RELEASE_HEADER,
    VERSION_HEADER,
    ApiFailure,
    is_our_socket,
)

CONNECT_TIMEOUT: Final = 5.0
"""Seconds to reach a node on the same machine. UNSOURCED: one that is alive answers in a millisecond."""

MAX_LINE: Final = 1 << 20
"""Bytes of one event at most: half of it is the longest line aiohttp reads. UNSOURCED."""


class NoNode(ApiFailure):
    """Raised when no node listens where one was looked for."""

    def __init__(self, where: str) -> None:
        super().__init__("no-node", f"no node runs at {where}", "start one with `rookery run`")


def node_listens(path: Path) -> bool:
    """Whether something accepts connections at this Unix socket."""
    if not hasattr(socket, "AF_UNIX") or not is_our_socket(path):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_TIMEOUT)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True


def port_listens(address: tuple[str, int]) -> bool:
    """Whether something accepts connections at this TCP endpoint of this machine."""
    try:
        socket.create_connection(address, CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True


class ApiClient:
    """Talks to one running node: over its Unix socket, or over loopback HTTP with the token."""

    def __init__(
        self, *, unix: Path | None = None, url: str = "http://localhost", token: str | None = None, release: str = ""
    ) -> None:
        self.where = str(unix or url)
        self._unix = unix
        self._url = url.rstrip("/")
        self._headers = {VERSION_HEADER: str(API_VERSION), RELEASE_HEADER: release}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._release = release
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(os.fspath(self._unix)) if self._unix else aiohttp.TCPConnector()
        # No total limit: `receive` and `log` go on for as long as the user wants.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
        self._http = aiohttp.ClientSession(
            connector=connector, headers=self._headers, timeout=timeout, read_bufsize=MAX_LINE, trust_env=False
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def call(self, command: str, params: dict[str, Any]) -> dict[str, Any]:
        """Do one command. Raises `ApiFailure` as the node reported it, `NoNode` when it is not there."""
        try:
            async with self._post(f"/call/{command}", params) as response:
                return await self._document(response)
        except aiohttp.ClientError as error:
            raise self._gone(error) from None

    async def stream(self, command: str, params: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Do one command and yield its events. Raises as `call` does, in the middle too."""
        try:
            async with self._post(f"/stream/{command}", params) as response:
                if response.status != 200:
                    await self._document(response)
                self._check_version(response)
                async for line in response.content:
                    event = _parse(line)
                    if "error" in event:
                        raise ApiFailure.from_json(event)
                    yield event
        except (aiohttp.ClientError, ValueError) as error:
            raise self._gone(error) from None

    def _post(self, path: str, params: dict[str, Any]) -> Any:
        if self._http is None:
            raise RuntimeError("ApiClient is used outside its `async with`")
        return self._http.post(self._url + path, json=params)

    async def _document(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        self._check_version(response)
        document = _parse(await response.read())
        if response.status != 200 or "error" in document:
            raise ApiFailure.from_json(document)
        return document

    def _check_version(self, response: aiohttp.ClientResponse) -> None:
        theirs = response.headers.get(VERSION_HEADER)
        if theirs == str(API_VERSION):
            return
        if theirs is None:
            raise ApiFailure("bad-answer", f"what listens at {self.where} is not a Rookery node")
        raise ApiFailure(
            "incompatible",
            f"the node at {self.where} is rookery {response.headers.get(RELEASE_HEADER, '?')[:40]} (local API "
            f"{theirs[:20]}), this command is rookery {self._release} (local API {API_VERSION})",
            "stop the node and start it with the same release as this command",
        )

    def _gone(self, error: Exception) -> ApiFailure:
        if isinstance(error, aiohttp.ClientConnectorError):
            return NoNode(self.where)
        return ApiFailure(
            "node-gone", f"the node at {self.where} broke off: {error or type(error).__name__}", fault="operation"
        )


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ApiFailure("bad-answer", "the node answered with something that is no Rookery document", fault="internal")
    return document
