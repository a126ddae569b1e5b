"""The next key of a private network: who gets it, who does not, and that all go over to it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dht.errors import DecodeError, LocalError
from dht.identity import IdentityKey
from node.adapters.network_store import Network, NetworkStore, load_network, save_network
from node.cli_run import over_to_next_keys
from node.config import NodeConfig
from node.node import Node
from node.node_kept_network import kept_with
from node.node_networks import found, in_network, network_of, renew_on_disk
from node.node_renewals import NetworkKeyDue, NetworkRenewed
from node.protocols.membership import Rights, chain_bytes, issue
from node.protocols.renewal import LONGEST_AHEAD, Renewal, message_bytes, read_message, read_renewal, renew
from tests.node.node_network import until
from tests.node.test_admission import AUTHORITY, KEYS, NETWORK_KEY, Club, club, meet

__all__ = ["club"]

NOW = 1_900_000_000.0
NEXT = b"\x17" * 32
SAID = renew(AUTHORITY, 1, NOW, NEXT)


def coming(node: Node) -> Renewal | None:
    assert node.inside.admission is not None
    return node.inside.admission.renewals.next


def of_kind(node: Node, kind: type) -> list[Any]:
    return [event for event in node.recent_events() if isinstance(event, kind)]


def test_only_what_the_authority_has_signed_is_read() -> None:
    assert read_renewal(SAID.raw) == SAID
    for at in range(len(SAID.raw)):
        broken = bytearray(SAID.raw)
        broken[at] ^= 1
        with pytest.raises(DecodeError):
            read_renewal(bytes(broken))
    with pytest.raises(DecodeError, match="epoch 0"):
        read_renewal(renew(AUTHORITY, 0, NOW, NEXT).raw)
    with pytest.raises(DecodeError):
        read_message(message_bytes(SAID, ()) + b"\0")


async def test_it_goes_from_member_to_member_and_never_to_the_revoked(club: Club) -> None:
    ada, ben, cleo, dan = [await club.start(name) for name in ("ada", "ben", "cleo", "dan")]
    for node in (ben, cleo, dan):
        assert await node.wait_joined(10)
    for one, other in ((ben, ada), (dan, ada), (dan, ben)):
        assert (await meet(one, other)).connected
    assert ada.inside.admission is not None
    ada.inside.admission.revoke(dan.identity)
    said = ada.inside.admission.renewals.begin(3600)
    await until(lambda: coming(ben) == said, "ben's hearing of it")
    # Who is linked later hears of it then, of whoever knows.
    assert (await meet(cleo, ben)).connected
    await until(lambda: coming(cleo) == said, "cleo's hearing of it")
    assert (said.epoch, len(said.key)) == (1, 32) and said.key != NETWORK_KEY
    for node in (ben, cleo):
        assert [event.since for event in of_kind(node, NetworkRenewed)] == [said.since]
        assert node.inside.admission is not None and node.inside.admission.network.key == NETWORK_KEY
    assert coming(dan) is None and not dan.links()
    await until(lambda: load_network(club.folder / "cleo").next == said.raw, "what is kept of it")
    with pytest.raises(LocalError, match="on its way already"):
        ada.inside.admission.renewals.begin(60)
    assert ben.inside.admission is not None
    with pytest.raises(LocalError, match="only its founder"):
        ben.inside.admission.renewals.begin(60)
    # An invite ends with the key that stands in it.
    assert (await ada.inviting.make(lifetime=7 * 86_400)).expires == said.since


async def test_a_node_says_when_its_key_is_due(club: Club, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.node_renewals.LATER", 0.0)
    ada = await club.start("ada")
    assert ada.inside.admission is not None
    said = ada.inside.admission.renewals.begin(2)
    assert not of_kind(ada, NetworkKeyDue)
    await until(lambda: of_kind(ada, NetworkKeyDue), "that it is due")
    assert ada.driver.now() >= said.since
    assert "goes over" in of_kind(ada, NetworkKeyDue)[0].text


async def test_an_old_one_said_again_or_anothers_is_not_taken(club: Club) -> None:
    ada = await club.start("ada")
    door = ada.inside.admission
    assert door is not None
    now = ada.driver.now()
    take = door.renewals._take
    assert not take(renew(KEYS["dan"], 1, now + 60, NEXT)), "another network's"
    assert not take(renew(AUTHORITY, 1, club.now - 200, NEXT)), "in force before our certificate was issued"
    assert not take(renew(AUTHORITY, 1, now + 3 * LONGEST_AHEAD, NEXT)), "too far ahead"
    assert take(renew(AUTHORITY, 2, now + 60, NEXT))
    assert not take(renew(AUTHORITY, 2, now + 90, b"\x18" * 32)), "the same epoch"
    assert not take(renew(AUTHORITY, 1, now + 90, b"\x18" * 32)), "an earlier one"
    assert take(renew(AUTHORITY, 3, now + 90, b"\x19" * 32))
    assert door.network.at(now + 100).epoch == 3 and door.network.at(now).epoch == 0


async def test_who_has_gone_over_meet_and_the_revoked_cannot_say_a_word(club: Club) -> None:
    ada, ben, dan = [await club.start(name) for name in ("ada", "ben", "dan")]
    for node in (ben, dan):
        assert await node.wait_joined(10)
        assert (await meet(node, ada)).connected
    assert ada.inside.admission is not None
    ada.inside.admission.revoke(dan.identity)
    said = ada.inside.admission.renewals.begin(3600)
    await until(lambda: coming(ben) == said, "ben's hearing of it")
    ports = [node.inside.datagrams.port for node in (ada, ben)]
    await asyncio.gather(*(node.__aexit__(None, None, None) for node in (ada, ben)))
    for name in ("ada", "ben"):  # The hour is over.
        folder = club.folder / name
        save_network(folder, load_network(folder).at(said.since))
        assert load_network(folder).key == said.key and load_network(folder).epoch == 1
    again: dict[str, Any] = {"network": "club", "network_key": said.key, "contacts": ()}
    # At the port that each has told the other of: no first contact is named.
    ada, ben = [
        await club.net.start(name, port=port, **again) for name, port in zip(("ada", "ben"), ports, strict=True)
    ]
    assert ben.inside.admission is not None
    assert (await meet(ben, ada)).connected
    outcome = await dan.connect(ada.identity, timeout=2)
    assert not outcome.connected and dan.identity not in {link.peer for link in ada.links()}


def test_the_file_goes_over_by_the_clock(tmp_path: Path) -> None:
    store = NetworkStore(tmp_path / "networks")
    me = IdentityKey.from_seed(b"m" * 32)
    made = found(store, "club", me, 1_000.0)
    said = renew_on_disk(store, "club", 2_000.0, 600)
    with pytest.raises(LocalError, match="on its way"):
        renew_on_disk(store, "club", 2_599.0, 600)
    with pytest.raises(LocalError, match="31 days"):
        renew_on_disk(store, "club", 3_000.0, 40 * 86_400)
    kept = store.load("club")
    assert (kept.key, kept.epoch, kept.at(2_599.0)) == (made.key, 0, kept)
    assert (kept.at(2_600.0).key, kept.at(2_600.0).epoch, kept.at(2_600.0).next) == (said.key, 1, b"")
    # 1970 is long ago: a node starts under the key that is in force, and under the one its settings were read with.
    config = in_network(NodeConfig(data_dir=tmp_path, network="club"))
    assert config.network_key == said.key
    for key, epoch in ((said.key, 1), (made.key, 0)):
        network = network_of(config.replace(network_key=key))
        assert network is not None and network.epoch == epoch
    assert network_of(config.replace(network_key=b"x" * 32)) is None
    assert renew_on_disk(store, "club", 3_000.0, 600).epoch == 2


def test_an_invite_may_bring_the_key_to_come_or_a_later_one(tmp_path: Path) -> None:
    store = NetworkStore(tmp_path / "networks")
    found(store, "club", IdentityKey.from_seed(b"m" * 32), 1_000.0)
    chain = store.load("club").chain
    said = renew_on_disk(store, "club", 2_000.0, 600)
    store.renew("club", said.key, chain)
    assert (store.load("club").key, store.load("club").epoch, store.load("club").next) == (said.key, 1, b"")
    store.renew("club", NEXT, chain)
    assert (store.load("club").key, store.load("club").epoch) == (NEXT, 2)


def test_what_another_process_has_kept_is_no_way_back() -> None:
    def network(key: bytes, *, epoch: int = 0, then: bytes = b"", issued: float = NOW) -> Network:
        own = chain_bytes([issue(AUTHORITY, AUTHORITY.public, KEYS["ben"].public, Rights.MEMBER, issued)])
        return Network("club", AUTHORITY.public, key, own, epoch=epoch, next=then)

    old, pending = network(NETWORK_KEY, issued=NOW + 9), network(NETWORK_KEY, then=SAID.raw)
    assert kept_with(pending, old) == replace(pending, chain=old.chain), "what is to come was heard since"
    over = network(NEXT, epoch=1)
    assert kept_with(over, replace(pending, chain=old.chain)) == replace(over, chain=old.chain), "it has gone over"
    later = network(b"\x18" * 32, epoch=2, issued=NOW + 9)
    assert kept_with(over, later) == later


async def test_a_node_is_started_again_at_its_port_when_its_key_is_over(tmp_path: Path) -> None:
    keys, ran = iter([b"1" * 32, b"2" * 32, b"3" * 32]), list[tuple[bytes | None, int]]()

    async def run(config: NodeConfig) -> int | None:
        ran.append((config.network_key, config.port))
        return 4321 if len(ran) < 3 else None

    await over_to_next_keys(lambda: NodeConfig(data_dir=tmp_path, network="club", network_key=next(keys), port=0), run)
    assert ran == [(b"1" * 32, 0), (b"2" * 32, 4321), (b"3" * 32, 4321)]
