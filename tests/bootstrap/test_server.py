from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import re
from typing import Any

import aiohttp
import pytest

from bootstrap.page import health_page
from bootstrap.server import BootstrapServer, Health, _Timed, create_app
from bootstrap.sources import Status, fetch_first_contacts
from bootstrap.store import FileListStorage, replace_file
from dht.errors import LocalError

NOW = 1_800_000_000


class World:
    """A server on loopback whose clock and health a test sets."""

    ask: Any
    base: str

    def __init__(self, path, signers):
        self.path = path
        self.now = float(NOW)
        self.health = Health(True, 12)
        self.app = create_app(path, signers.root, "testnet", lambda: self.health, clock=lambda: self.now)


@pytest.fixture
async def world(tmp_path, signers, make_bytes):
    path = tmp_path / "bootstrap.json"
    path.write_bytes(make_bytes(0, 1))
    world = World(path, signers)
    async with BootstrapServer(world.app, "127.0.0.1", 0) as server, aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{server.address[1]}"

        async def ask(place, method="GET", **options):
            async with session.request(method, base + place, **options) as response:
                return response, await response.read()

        world.ask = ask
        world.base = base
        yield world


async def test_the_list_is_served_with_tag_and_age(world, make_bytes):
    response, data = await world.ask("/bootstrap.json")
    assert (response.status, data) == (200, make_bytes(0, 1))
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "public, max-age=300"
    again, data = await world.ask("/bootstrap.json", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status, data) == (304, b"")
    other, _ = await world.ask("/bootstrap.json", headers={"If-None-Match": '"other"'})
    assert other.status == 200
    world.now = NOW + 86400 - 10
    assert (await world.ask("/bootstrap.json"))[0].headers["Cache-Control"] == "public, max-age=10"


async def test_a_node_takes_what_the_server_serves(world, signers, tmp_path):
    storage = FileListStorage(tmp_path / "kept")
    report = await fetch_first_contacts(
        [f"{world.base}/bootstrap.json"], signers.root, "testnet", storage, clock=lambda: NOW
    )
    assert report.outcomes[0].status is Status.ACCEPTED


async def test_a_changed_file_is_served_and_a_bad_one_is_not(world, make_bytes):
    tag = (await world.ask("/bootstrap.json"))[0].headers["ETag"]
    replace_file(world.path, make_bytes(0, 1, sequence=8))
    response, data = await world.ask("/bootstrap.json", headers={"If-None-Match": tag})
    assert (response.status, data) == (200, make_bytes(0, 1, sequence=8))
    for bad, reason in [(make_bytes(0), "not-enough-signatures"), (b"{}", "malformed")]:
        replace_file(world.path, bad)
        response, _ = await world.ask("/bootstrap.json")
        assert response.status == 503
        assert (await world.ask("/bootstrap.json"))[0].headers["Cache-Control"] == "no-store"
        assert (await response.json())["error"] == reason
    os.unlink(world.path)
    response, data = await world.ask("/bootstrap.json")
    assert response.status == 503
    assert str(world.path).encode() not in data


async def test_an_expired_list_is_withheld(world):
    world.now = NOW + 86400.0
    response, _ = await world.ask("/bootstrap.json")
    assert response.status == 503
    assert (await response.json())["error"] == "expired"
    response, _ = await world.ask("/health")
    body = await response.json()
    assert (response.status, body["status"], body["list"]) == (503, "degraded", None)
    assert "expired" in body["reasons"][0]


async def test_health(world):
    response, _ = await world.ask("/health")
    body = await response.json()
    assert response.status == 200
    assert body.pop("uptime_seconds") >= 0
    assert body.pop("version")
    assert body == {
        "status": "ok",
        "reasons": [],
        "contacts": 12,
        "network": "testnet",
        "list": {"sequence": 7, "expires_at": NOW + 86400},
    }
    world.health = Health(False, 0, ("no contact has answered <yet>",))
    response, _ = await world.ask("/health")
    assert (response.status, (await response.json())["reasons"]) == (503, ["no contact has answered <yet>"])


async def test_a_list_near_its_end_degrades_health_and_is_still_served(world):
    world.now = NOW + 86400 * 0.5
    assert (await world.ask("/health"))[0].status == 200
    world.now = NOW + 86400 * 0.65
    response, _ = await world.ask("/health")
    body = await response.json()
    assert (response.status, body["status"]) == (503, "degraded")
    assert body["reasons"][0].startswith("the list expires soon, at ")
    assert (await world.ask("/bootstrap.json"))[0].status == 200


async def test_the_page_is_escaped_and_self_contained(world):
    world.health = Health(False, 3, ("<script>alert(1)</script>",))
    response, data = await world.ask("/")
    text = data.decode()
    assert response.status == 503
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http:" not in text and "https:" not in text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "prefers-color-scheme" in text


async def test_the_page_for_invites_runs_its_own_script_and_tells_nobody(world):
    response, data = await world.ask("/join")
    text = data.decode()
    assert (response.status, response.content_type) == (200, "text/html")
    policy = response.headers["Content-Security-Policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    # Nothing in it can send the invite anywhere, or take it for markup.
    assert not re.search(r"https?:|//|fetch|XMLHttp|sendBeacon|innerHTML|<img|<form|import", text)
    assert "rookery:join/" in script


def test_page_names_and_values_are_escaped():
    page = health_page(True, [], [("<b>", '"&$x')])
    assert "<th>&lt;b&gt;</th><td>&quot;&amp;$x</td>" in page


async def test_methods_and_places(world):
    assert (await world.ask("/bootstrap.json", "POST", data=b"x"))[0].status == 405
    assert (await world.ask("/health", "DELETE"))[0].status == 405
    missing, _ = await world.ask("/../etc/passwd")
    assert missing.status == 404
    assert missing.headers["X-Content-Type-Options"] == "nosniff"
    head, data = await world.ask("/bootstrap.json", "HEAD")
    assert (head.status, data) == (200, b"")
    assert (await world.ask("/" + "x" * 4000))[0].status == 400


async def test_a_connection_that_says_nothing_is_ended(world):
    async with BootstrapServer(world.app, "127.0.0.1", 0, connection_seconds=0.05) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        # Whether the end shows as a close or as a reset is up to the system.
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_connections_of_other_loops_are_ended_too():
    # uvloop's transports are no asyncio.Transport: a check for that class once left their connections open.
    class Foreign:
        def __init__(self):
            self.aborted = asyncio.Event()

        def abort(self):
            self.aborted.set()

    transport: Any = Foreign()
    connection = _Timed(asyncio.Protocol(), 0.01)
    connection.connection_made(transport)
    await asyncio.wait_for(transport.aborted.wait(), 30)
    connection.connection_lost(None)


async def test_connections_beyond_the_limit_are_turned_away(world):
    async with BootstrapServer(world.app, "127.0.0.1", 0, max_connections=1) as server:
        first_reader, first = await asyncio.open_connection(*server.address)
        first.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await first_reader.readline()).startswith(b"HTTP/1.1 200")
        second_reader, second = await asyncio.open_connection(*server.address)
        assert await asyncio.wait_for(second_reader.read(), 30) == b""
        first.close()
        second.close()


async def test_a_port_in_use_is_one_clear_line(world):
    async with BootstrapServer(world.app, "127.0.0.1", 0) as server:
        with pytest.raises(LocalError, match=rf"cannot listen on 127.0.0.1 port {server.address[1]}"):
            async with BootstrapServer(world.app, "127.0.0.1", server.address[1]):
                pass
