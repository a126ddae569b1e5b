"""The local API over its Unix socket and over loopback HTTP: who gets in, what crosses, how it ends."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import aiohttp
import pytest

from dht.errors import LocalError
from node.adapters import http
from node.adapters.http import ApiFailure, make_token, read_token, socket_path
from node.adapters.http_api import ApiServer
from node.adapters.http_client import ApiClient, NoNode, node_listens

TOKEN = "t" * 43


class Echo:
    """A service that says what it was asked."""

    def __init__(self):
        self.closed = asyncio.Event()
        self.started = asyncio.Event()

    async def call(self, command, params):
        if command == "fail":
            raise ApiFailure("not-found", "nobody has it", "ask later", fault="operation")
        return {"command": command, "params": params}

    async def stream(self, command, params):
        try:
            if command == "fail":
                raise ApiFailure("bad-input", "no")
            yield {"number": 1}
            self.started.set()
            if command == "break":
                raise ApiFailure("timeout", "too slow", fault="operation")
            if command == "wait":
                await asyncio.Event().wait()
            yield {"number": 2, "text": "grüße"}
        finally:
            self.closed.set()


@pytest.fixture
def service():
    return Echo()


@pytest.fixture
async def server(service):
    server = ApiServer(service, release="1.2.3")
    yield server
    await server.stop()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "api.sock"


async def all_of(stream):
    return [event async for event in stream]


async def test_calls_and_streams_cross_the_socket(server, path):
    await server.listen_unix(path)
    async with ApiClient(unix=path) as client:
        assert await client.call("find", {"peer": "ä"}) == {"command": "find", "params": {"peer": "ä"}}
        assert await all_of(client.stream("two", {})) == [{"number": 1}, {"number": 2, "text": "grüße"}]


async def test_failures_cross_whole(server, path):
    await server.listen_unix(path)
    async with ApiClient(unix=path) as client:
        with pytest.raises(ApiFailure) as caught:
            await client.call("fail", {})
        failed = caught.value
        expected = ("not-found", "nobody has it", "ask later", "operation")
        assert (failed.kind, failed.message, failed.hint, failed.fault) == expected
        with pytest.raises(ApiFailure, match="no"):
            await all_of(client.stream("fail", {}))
        seen = []
        with pytest.raises(ApiFailure, match="too slow"):
            async for event in client.stream("break", {}):
                seen.append(event)
        assert seen == [{"number": 1}]


async def test_only_this_user_can_open_the_socket(server, path):
    before = os.umask(0o022)
    try:
        await server.listen_unix(path)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["api.sock"]


async def test_the_socket_goes_with_the_node(server, path):
    await server.listen_unix(path)
    assert node_listens(path)
    await server.stop()
    assert not path.exists()
    assert not node_listens(path)
    with pytest.raises(NoNode):
        async with ApiClient(unix=path) as client:
            await client.call("x", {})


async def test_a_dead_nodes_socket_is_replaced(server, path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    await server.listen_unix(path)
    async with ApiClient(unix=path) as client:
        assert (await client.call("x", {}))["command"] == "x"


async def test_a_live_nodes_socket_is_refused_and_left_alone(server, service, path):
    await server.listen_unix(path)
    second = ApiServer(service, release="2")
    with pytest.raises(LocalError, match="already runs"):
        await second.listen_unix(path)
    await second.stop()
    async with ApiClient(unix=path) as client:
        assert (await client.call("x", {}))["command"] == "x"


async def test_what_is_no_socket_is_left_alone(server, path):
    path.write_text("precious")
    with pytest.raises(LocalError, match="not a socket"):
        await server.listen_unix(path)
    assert path.read_text() == "precious"


async def test_a_client_that_goes_away_ends_its_stream(server, service, path):
    await server.listen_unix(path)
    async with ApiClient(unix=path) as client:
        stream = client.stream("wait", {})
        assert await anext(stream) == {"number": 1}
        await stream.aclose()
    async with asyncio.timeout(10):
        await service.closed.wait()


async def test_a_stopping_node_tells_its_streams(server, service, path):
    await server.listen_unix(path)
    async with ApiClient(unix=path) as client:
        stream = client.stream("wait", {})
        assert await anext(stream) == {"number": 1}
        await service.started.wait()
        _, caught = await asyncio.gather(server.stop(), anext(stream), return_exceptions=True)
        assert isinstance(caught, ApiFailure)
        assert caught.kind == "node-stopped"
    assert service.closed.is_set()


async def test_versions_that_do_not_fit_are_told_apart(server, path, monkeypatch):
    await server.listen_unix(path)
    client = ApiClient(unix=path, release="9.9")
    client._headers[http.VERSION_HEADER] = "99"
    async with client:
        with pytest.raises(ApiFailure) as caught:
            await client.call("x", {})
    assert caught.value.kind == "incompatible"
    assert "1.2.3" in caught.value.message
    monkeypatch.setattr("node.adapters.http_client.API_VERSION", 2)
    async with ApiClient(unix=path, release="9.9") as newer:
        with pytest.raises(ApiFailure) as caught:
            await newer.call("x", {})
    assert "this command is rookery 9.9 (local API 2)" in caught.value.message


async def test_something_else_on_the_socket_is_not_believed(path):
    async def other(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(other, path), ApiClient(unix=path) as client:
        with pytest.raises(ApiFailure, match="not a Rookery node"):
            await client.call("x", {})


async def post(port, *, token=TOKEN, headers=None, body=b"{}", kind="application/json", command="x"):
    wanted = {"Content-Type": kind, **({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/call/{command}", data=body, headers=wanted) as response,
    ):
        return response.status, json.loads(await response.read()), response.headers


async def test_over_http_the_token_opens(server):
    port = await server.listen_http("127.0.0.1", 0, TOKEN)
    async with ApiClient(url=f"http://127.0.0.1:{port}", token=TOKEN) as client:
        assert (await client.call("x", {}))["command"] == "x"
    status, document, headers = await post(port)
    assert (status, document["command"]) == (200, "x")
    assert headers[http.VERSION_HEADER] == str(http.API_VERSION)
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"token": None}, 401, "unauthorized"),
        ({"token": "x" * 43}, 401, "unauthorized"),
        ({"token": "grüße"}, 401, "unauthorized"),
        ({"headers": {"Host": "evil.example"}}, 403, "forbidden"),
        ({"headers": {"Host": "evil.example:80"}}, 403, "forbidden"),
        ({"headers": {"Origin": "http://evil.example"}}, 403, "forbidden"),
        ({"headers": {"Origin": "null"}}, 403, "forbidden"),
        ({"kind": "text/plain"}, 415, "not-json"),
        ({"body": b"{"}, 400, "bad-input"),
        ({"body": b"[]"}, 400, "bad-input"),
        ({"body": b'"' + b"x" * 300_000 + b'"'}, 413, "too-large"),
        ({"command": "fail"}, 502, "not-found"),
        ({"headers": {"Rookery-Api": "7"}}, 426, "incompatible"),
    ],
)
async def test_over_http_strangers_stay_out(server, change, status, kind):
    port = await server.listen_http("localhost", 0, TOKEN)
    given, document, headers = await post(port, **change)
    assert (given, document["error"]["kind"]) == (status, kind)
    assert headers[http.VERSION_HEADER] == str(http.API_VERSION)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::"])
async def test_only_loopback_is_listened_on(server, host):
    with pytest.raises(LocalError, match="loopback"):
        await server.listen_http(host, 0, TOKEN)


async def test_a_port_in_use_is_told(server, service):
    port = await server.listen_http("127.0.0.1", 0, TOKEN)
    second = ApiServer(service, release="2")
    with pytest.raises(LocalError, match=f"cannot listen on 127.0.0.1:{port}"):
        await second.listen_http("127.0.0.1", port, TOKEN)


def test_the_token_is_made_once_and_kept_private(tmp_path: Path):
    file = tmp_path / "api-token"
    token = make_token(file)
    assert len(token) >= 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert make_token(file) == read_token(file) == token
    file.chmod(0o644)
    with pytest.raises(LocalError, match="chmod 600"):
        read_token(file)
    file.unlink()
    with pytest.raises(LocalError, match="cannot be read"):
        read_token(file)


def test_a_socket_path_too_long_moves_to_a_folder_of_the_users_own(tmp_path: Path, monkeypatch):
    assert socket_path(Path("/srv/rookery")) == Path("/srv/rookery/api.sock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    long = Path("/srv") / ("long" * 40)
    moved = socket_path(long)
    assert moved.parent == tmp_path / "rookery"
    assert moved == socket_path(long)
    assert moved != socket_path(long / "other")
