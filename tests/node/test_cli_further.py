"""Nodes in several networks in one process: each for itself, and all end at once."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from dht.contact import Contact
from dht.errors import LocalError
from dht.identity import IdentityKey, NodeKey
from node.adapters.network_store import NetworkStore, NoSuchNetwork
from node.cli_further import Further
from node.cli_run import Speaker, networks_beside
from node.config import NodeConfig
from node.node_networks import beside, found, in_network

ME = IdentityKey.from_seed(b"m" * 32)
PUBLIC = Contact(NodeKey.from_secret(b"p" * 32).public, ("127.0.0.1", 7000))
FAR = Contact(NodeKey.from_secret(b"f" * 32).public, ("9.9.9.9", 7000))


def configured(**settings: Any) -> NodeConfig:
    return NodeConfig(**settings)


def founded(folder: Path, *names: str, lan_only: bool = False) -> None:
    store = NetworkStore(folder / "networks")
    for name in names:
        found(store, name, ME, 1_900_000_000.0, lan_only=lan_only)


async def test_one_that_cannot_run_is_told_and_the_others_run_on(caplog: pytest.LogCaptureFixture) -> None:
    going: list[str] = []
    ended: list[str] = []

    async def run(name: str) -> None:
        if name == "gone":
            raise LocalError("it is damaged")
        if name == "faulty":
            raise ValueError("a fault of ours")
        going.append(name)
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)
            ended.append(name)

    further = Further(["gone", "club", "faulty", "family"], run)
    with caplog.at_level(logging.ERROR, "rookery.networks"):
        further.start()
        await asyncio.sleep(0.01)
    assert going == ["club", "family"] and not ended
    assert [record.getMessage() for record in caplog.records] == [
        "no node runs in the network gone: it is damaged",
        "the node in the network faulty has ended",
    ]
    further.cancel()
    await further.ended()
    assert ended == ["club", "family"]
    await Further([], run).ended()


def test_which_networks_are_meant(tmp_path: Path) -> None:
    founded(tmp_path, "club", "family")
    machine = configured(data_dir=tmp_path, networks=["family", "gone", "family"])
    assert networks_beside(machine, every=False) == ["family", "gone"]
    assert networks_beside(machine, every=True) == ["family", "gone", "club"]
    assert networks_beside(machine.replace(network="club"), every=True) == ["family", "gone"]
    with pytest.raises(NoSuchNetwork, match="it is in: club, family"):
        beside(machine, "gone")


def test_a_further_node_has_all_of_its_own_and_no_contact_of_the_public_network(tmp_path: Path) -> None:
    founded(tmp_path, "club")
    machine = configured(
        data_dir=tmp_path,
        port=7000,
        contacts=[PUBLIC.text],
        api_http="127.0.0.1:7001",
        websocket="127.0.0.1:7002",
        bootstrap_lists=["https://lists.example/main"],
        bootstrap_signers=[ME.public.text],
    )
    config = beside(machine, "club")
    assert (config.network, config.data_dir, config.port) == ("club", tmp_path / "networks" / "club", 0)
    assert config.network_key is not None
    assert config.contacts == config.bootstrap_lists == () and config.websocket is config.api_http is None


@pytest.mark.parametrize(("flags", "kept"), [({}, False), ({"contacts": PUBLIC.text}, True)])
def test_contacts_belong_to_the_network_they_are_named_with(tmp_path: Path, flags: dict[str, str], kept: bool) -> None:
    founded(tmp_path, "club")
    file = tmp_path / "config.toml"
    file.write_text(f'contacts = ["{PUBLIC.text}"]\n')
    machine = NodeConfig.load({"network": "club", "data_dir": str(tmp_path), **flags}, {}, file)
    assert bool(in_network(machine).contacts) is kept
    file.write_text(f'network = "club"\ncontacts = ["{PUBLIC.text}"]\n')
    assert in_network(NodeConfig.load({"data_dir": str(tmp_path), **flags}, {}, file)).contacts


def test_a_network_that_is_local_keeps_its_node_so(tmp_path: Path) -> None:
    founded(tmp_path, "club", lan_only=True)
    machine = configured(data_dir=tmp_path, network="club", contacts=[PUBLIC.text, FAR.text], port_mapping=True)
    config = in_network(machine)
    assert (config.scope, config.port_mapping, [contact.text for contact in config.contacts]) == (
        "lan",
        False,
        [PUBLIC.text],
    )
    assert in_network(machine.replace(network="main")).scope == "any"


def test_what_they_say_carries_the_networks_name(capsys: pytest.CaptureFixture[str]) -> None:
    event = {"time": 0.0, "level": "info", "kind": "joined", "text": "joined", "fields": {}}
    Speaker(False, "info", network="club").event(event)
    assert capsys.readouterr().err.endswith("INFO    club: joined\n")
    Speaker(True, "info", network="club").event(event)
    assert '"network": "club"' in capsys.readouterr().out
