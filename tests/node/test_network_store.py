"""Where private networks are kept: whole, to nobody else's eyes, and with one clear line when something is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dht.errors import LocalError
from dht.identity import IdentityKey
from node.adapters.network_store import MAX_MEMBERS, MemberMet, NetworkStore, NoSuchNetwork, networks_folder
from node.adapters.network_store import load_network as load
from node.adapters.network_store import save_network as save
from node.config import NodeConfig
from node.node_networks import found, in_network, network_of

NOW = 1_800_000_000.0
OWN = IdentityKey.from_seed(b"i" * 32)


@pytest.fixture
def store(tmp_path: Path) -> NetworkStore:
    return NetworkStore(tmp_path / "networks")


def test_what_is_founded_is_kept_and_nobody_else_may_read_it(store: NetworkStore) -> None:
    made = found(store, "club", OWN, NOW)
    assert store.names() == ["club"] and store.load("club") == made
    for name in ("network.json", "identity.key"):
        assert (store.folder_of("club") / name).stat().st_mode & 0o077 == 0
    save(store.folder_of("club"), replace(made, members_invite=True))
    assert store.load("club").members_invite
    assert (store.folder_of("club") / "network.json").stat().st_mode & 0o077 == 0


def test_a_second_one_of_the_name_is_refused_and_names_cannot_leave_the_folder(store: NetworkStore) -> None:
    found(store, "club", OWN, NOW)
    with pytest.raises(LocalError, match="leave it first"):
        found(store, "club", OWN, NOW)
    for name in ("../club", "a/b", "", "x" * 65, "..", ".", ".club", "club\n"):
        with pytest.raises(LocalError, match="is no name of a network"):
            found(store, name, OWN, NOW)
        with pytest.raises(LocalError, match="is no name of a network"):
            store.remove(name)


def test_none_takes_the_place_of_the_public_network(store: NetworkStore) -> None:
    with pytest.raises(LocalError, match="'main' is the public network"):
        found(store, "main", OWN, NOW)
    found(store, "club", OWN, NOW)
    store.folder_of("club").rename(store.folder / "main")
    assert store.names() == []


def test_what_is_not_there_is_named_with_what_is(store: NetworkStore) -> None:
    with pytest.raises(NoSuchNetwork, match="it is in: none"):
        store.load("club")
    found(store, "club", OWN, NOW)
    with pytest.raises(NoSuchNetwork, match="it is in: club"):
        store.load("pub")
    store.remove("club")
    assert store.names() == [] and not store.folder_of("club").exists()


@pytest.mark.parametrize("spoil", ["no json", "[]", '{"version": 2}', "key", "authority", "chain"])
def test_a_damaged_file_is_one_clear_line(store: NetworkStore, spoil: str) -> None:
    found(store, "club", OWN, NOW)
    path = store.folder_of("club") / "network.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {spoil: "xx"}) if spoil in said else spoil)
    with pytest.raises(LocalError, match="is damaged") as caught:
        store.load("club")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_members_met_last_are_kept(store: NetworkStore) -> None:
    made = found(store, "club", OWN, NOW)
    met = [MemberMet(OWN.public, OWN.public, False, 0, number) for number in range(MAX_MEMBERS + 10)]
    save(store.folder_of("club"), replace(made, members=tuple(met)))
    kept = load(store.folder_of("club")).members
    assert len(kept) == MAX_MEMBERS and min(one.last_met for one in kept) == 10


def test_the_settings_of_a_node_in_it(tmp_path: Path, store: NetworkStore) -> None:
    made = found(store, "club", OWN, NOW)
    config = NodeConfig(data_dir=tmp_path, api=tmp_path / "here.sock", network="club")
    inside = in_network(config)
    assert (inside.data_dir, inside.network_key, inside.api) == (store.folder_of("club"), made.key, None)
    assert network_of(inside) == made
    assert networks_folder(inside.data_dir) == networks_folder(config.data_dir) == store.folder
    # Not ours, or with a key of its own: left as it is, and everybody with the key is welcome.
    assert in_network(NodeConfig(data_dir=tmp_path)) == NodeConfig(data_dir=tmp_path)
    other = NodeConfig(data_dir=tmp_path, network="club", network_key=bytes(32))
    assert in_network(other) == other and network_of(other) is None
