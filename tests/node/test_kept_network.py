"""The file of a network while its node runs: the newest state is what stays, and no renewed certificate is lost."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dht.errors import LocalError
from node.adapters.network_store import Network, NetworkStore, load_network, save_network
from node.node_kept_network import NetworkFile
from node.node_networks import StoredMembership
from node.node_results import Reason
from node.protocols.invite_ports import GrantRefused
from node.protocols.membership import Rights, chain_bytes, issue
from tests.node.test_admission import AUTHORITY, KEYS, NETWORK_KEY, Club, club, meet

__all__ = ["club"]

NOW = 1_900_000_000


def network(*, issued: float = NOW, invites: bool = False) -> Network:
    own = issue(AUTHORITY, AUTHORITY.public, KEYS["ada"].public, Rights.INVITE, issued)
    return Network("club", AUTHORITY.public, NETWORK_KEY, chain_bytes([own]), members_invite=invites)


async def test_a_slow_disk_ends_with_the_newest_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_network(tmp_path, network())
    written: list[bool] = []

    def slowly(folder: Path, state: Network) -> None:
        if not written:
            time.sleep(0.1)
        written.append(state.members_invite)
        save_network(folder, state)

    monkeypatch.setattr("node.node_kept_network.save_network", slowly)
    file = NetworkFile(tmp_path)
    for invites in (False, True, False, True):
        file.keep(network(invites=invites))
        await asyncio.sleep(0)
    await file.close()  # A node that ends waits for it.
    assert written == [False, True] and load_network(tmp_path).members_invite
    await NetworkFile(tmp_path).close()


async def test_a_certificate_renewed_meanwhile_stays_and_is_taken_up(tmp_path: Path) -> None:
    newer = network(issued=NOW + 5)
    save_network(tmp_path, newer)
    file = NetworkFile(tmp_path)
    file.keep(network(invites=True))
    await file.close()
    assert load_network(tmp_path) == replace(newer, members_invite=True)
    assert await file.renewal(network()) == newer
    assert (await file.renewal(network(issued=NOW + 9))).chain == network(issued=NOW + 9).chain


async def test_a_file_that_is_damaged_meanwhile_is_told_and_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "network.json").write_text("{")
    file = NetworkFile(tmp_path)
    assert await file.renewal(network()) == network()
    file.keep(network())
    await file.close()
    assert (tmp_path / "network.json").read_text() == "{"
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert all("is damaged" in record.getMessage() for record in caplog.records)


async def test_a_running_node_comes_back_with_the_certificate_that_join_has_kept(club: Club) -> None:
    ada, ben = await club.start("ada"), await club.start("ben")
    assert await ben.wait_joined(10)
    assert (await meet(ben, ada)).connected
    assert ada.inside.admission is not None and ben.inside.admission is not None
    said = ada.inside.admission.revoke(ben.identity)
    while ben.links():
        await asyncio.sleep(0.01)
    while time.time() < said.since + 1:  # Certificates count seconds.
        await asyncio.sleep(0.05)
    again = await ada.inside.admission.grant("club", ben.identity)
    # Another process keeps it.
    save_network(club.folder / "ben", replace(load_network(club.folder / "ben"), chain=again))
    first = await ben.connect(ada.identity, timeout=10)
    assert first.connected or (first.reason is Reason.REFUSED and "revoked" in first.detail)
    assert (await ben.connect(ada.identity, timeout=10)).connected
    await ben.inside.admission.close()
    assert load_network(club.folder / "ben").chain == again


async def test_what_an_invite_brings_takes_no_other_place(tmp_path: Path) -> None:
    store, me, other = NetworkStore(tmp_path / "networks"), KEYS["ben"], KEYS["cleo"]
    granted = {
        key: chain_bytes([issue(AUTHORITY, AUTHORITY.public, key.public, Rights.MEMBER, NOW)]) for key in (me, other)
    }
    for name in ("..", ".", "main"):
        with pytest.raises(LocalError):
            await StoredMembership(store, me, lambda: NOW).accept_grant(name, NETWORK_KEY, granted[me], ())
    assert not (tmp_path / "network.json").exists() and store.names() == []
    await StoredMembership(store, other, lambda: NOW).accept_grant("club", NETWORK_KEY, granted[other], ())
    with pytest.raises(GrantRefused, match="`rookery join --network club` joins as that one"):
        await StoredMembership(store, me, lambda: NOW).accept_grant("club", NETWORK_KEY, granted[me], ())
    assert store.load("club").chain == granted[other]
    # Invited again into what has become one of the local network alone; and nothing takes that back.
    for said, stays in ((False, False), (True, True), (False, True)):
        await StoredMembership(store, other, lambda: NOW).accept_grant(
            "club", NETWORK_KEY, granted[other], (), lan_only=said
        )
        assert store.load("club").lan_only is stays
    await StoredMembership(store, me, lambda: NOW).accept_grant("field", NETWORK_KEY, granted[me], (), lan_only=True)
    assert store.load("field").lan_only
