"""Which addresses a node listens on, and claims for its own."""

from pathlib import Path

import pytest

from dht.contact import Address
from dht.engine import DhtEngine
from node.config import NodeConfig
from tests.node.node_network import network

WAYS_OUT = frozenset({"192.0.2.1", "2001:db8::1"})


@pytest.mark.parametrize(
    ("listen", "own"), [("::", ["192.0.2.1", "2001:db8::1"]), ("0.0.0.0", ["192.0.2.1"]), ("127.0.0.1", ["127.0.0.1"])]
)
async def test_only_families_that_are_listened_on_are_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: str, own: list[str]
) -> None:
    told: list[tuple[Address, ...]] = []
    monkeypatch.setattr(DhtEngine, "set_own_addresses", lambda engine, addresses, now: told.append(addresses))
    async with network(tmp_path) as net:
        node = await net.start("one", parts={"ways_out": lambda: WAYS_OUT}, listen=listen)
        assert [ip for ip, _ in told[-1]] == own
        assert {port for _, port in told[-1]} == {node.status().contact.address[1]}


def test_both_families_are_the_default_but_on_a_battery() -> None:
    assert NodeConfig().listen == "::"
    assert NodeConfig(profile="battery-saver").listen == "0.0.0.0"
