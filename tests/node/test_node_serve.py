"""An app's own streams, on links that exist and links to come."""

import asyncio

import pytest

from dht.errors import LocalError
from tests.node.node_network import found, network


@pytest.mark.parametrize("first", ["serve", "connect"])
async def test_an_app_serves_its_streams_by_name(tmp_path, first):
    async with network(tmp_path) as net:
        one, two, _ = await net.servers(3)
        await found(one, two)
        heard = asyncio.get_running_loop().create_future()

        async def greet(peer, stream):
            heard.set_result((peer, await stream.read_exactly(5)))
            await stream.write(b"and hello to you")
            await stream.close()

        if first == "serve":
            two.serve("greeting", greet)
        link = (await one.connect(two.identity)).link
        two.serve("greeting", greet)
        stream = await link.open_stream("greeting")
        await stream.write(b"hello")
        assert await stream.read_exactly(16) == b"and hello to you"
        assert await heard == (one.identity, b"hello")


async def test_the_nodes_own_stream_names_are_not_for_apps(tmp_path):
    async with network(tmp_path) as net:
        one, _ = await net.servers(2)
        with pytest.raises(LocalError, match="not for apps"):
            one.serve("rookery/file/1", lambda peer, stream: asyncio.sleep(0))
