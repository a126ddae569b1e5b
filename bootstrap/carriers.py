"""How the bytes of a list travel: a file, a `file://` address, or HTTP(S).

This file decides limits of the way (size, redirects, schemes). It refuses to judge the bytes: HTTP without TLS is as
good as with it, since the list's own signatures are what counts.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

import aiohttp

from bootstrap.firstcontacts import MAX_FILE
from bootstrap.store import read_file
from dht.errors import RemoteError

MAX_REDIRECTS: Final = 3
"""UNSOURCED: http to https, to another host name, and one to spare."""

_OK: Final = 200
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class CarrierError(RemoteError):
    """Raised when a source gives no bytes; the text says why."""


async def fetch(source: str) -> bytes:
    """Return the bytes at `source`, at most one more than a list may have. Raises `CarrierError` or `LocalError`."""
    scheme, separator, _ = source.partition("://")
    if not separator:
        return await asyncio.to_thread(read_file, Path(source).expanduser(), MAX_FILE)
    if scheme == "file":
        return await asyncio.to_thread(read_file, _path_of(source), MAX_FILE)
    if scheme in {"http", "https"}:
        return await _fetch_http(source)
    raise CarrierError(f"{source}: lists are read from files and over http and https, not over {scheme!r}")


def _path_of(source: str) -> Path:
    parts = urlsplit(source)
    if parts.netloc not in {"", "localhost"}:
        raise CarrierError(f"{source}: a file address has no host (write file:///path)")
    return Path(url2pathname(parts.path))


async def _fetch_http(source: str) -> bytes:
    try:
        url = source
        # No proxy, cookies or credentials from the surroundings. Compressed answers could swell: none are asked for.
        async with aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "rookery"},
        ) as session:
            for _ in range(MAX_REDIRECTS + 1):
                async with session.get(url, allow_redirects=False) as response:
                    if response.status == _OK:
                        return await _read_body(response, url)
                    if response.status not in _REDIRECTS:
                        raise CarrierError(f"{url} answered {response.status} {response.reason or ''}".rstrip())
                    url = _next_url(url, response.headers.get("Location", ""))
    except (aiohttp.ClientError, OSError, ValueError) as problem:
        raise CarrierError(f"{source}: {str(problem) or type(problem).__name__}") from None
    raise CarrierError(f"{source} redirects more than {MAX_REDIRECTS} times")


async def _read_body(response: aiohttp.ClientResponse, url: str) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise CarrierError(f"{url} answers with {encoding} compression, which was not asked for")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_FILE:
            # The decoder names the limit; what was read so far is enough to exceed it.
            break
    return bytes(body[: MAX_FILE + 1])


def _next_url(url: str, location: str) -> str:
    target = urljoin(url, location)
    change = (urlsplit(url).scheme, urlsplit(target).scheme)
    # From http to https is a gain; any other change of scheme leads where nobody meant to go.
    if not location or change not in {("http", "http"), ("http", "https"), ("https", "https")}:
        raise CarrierError(f"{url} redirects to {location!r}, which is not followed")
    return target
