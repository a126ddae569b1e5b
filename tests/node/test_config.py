"""Settings: who wins, what is refused and in which words, and that sample and documentation tell the truth."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dht.contact import Contact
from dht.errors import BadConfig
from dht.identity import IdentityKey
from node.config import DEFAULT_PORT, BadConfigFile, BadSetting, NodeConfig, UnknownSetting, default_config_file
from node.config_sample import flag_and_variable, sample_toml, settings_table

ROOT = Path(__file__).resolve().parents[2]
PEER = IdentityKey.from_seed(bytes(range(32))).public
OTHER = IdentityKey.from_seed(bytes(32)).public
CONTACT = Contact(bytes(32), ("192.0.2.1", 7716))


@pytest.fixture(autouse=True)
def no_file_of_this_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("node.config.default_config_file", lambda: tmp_path / "nobody" / "config.toml")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def line(caught: pytest.ExceptionInfo[BadConfig]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_no_configuration_at_all_is_one() -> None:
    config = NodeConfig.load({}, {})
    assert config == NodeConfig()
    assert config.port == DEFAULT_PORT
    assert not config.port_is_explicit
    assert config.data_dir.is_absolute()
    assert config.received_dir == config.data_dir / "received"


def test_flags_win_over_environment_over_file_over_defaults(file: Path) -> None:
    file.write_text("port = 1\nnetwork = 'file'\nlog_level = 'error'\n")
    config = NodeConfig.load({"port": 3, "mode": None}, {"ROOKERY_PORT": "2", "ROOKERY_NETWORK": "env"}, file)
    assert (config.port, config.network, config.log_level, config.mode) == (3, "env", "error", "auto")
    assert config.port_is_explicit


def test_the_environment_names_the_file(file: Path) -> None:
    file.write_text("port = 9\n")
    assert NodeConfig.load({}, {"ROOKERY_CONFIG": str(file)}).port == 9
    with pytest.raises(BadConfigFile, match="there is none"):
        NodeConfig.load({}, {"ROOKERY_CONFIG": str(file) + "x"})


def test_the_default_file_is_read_when_it_is_there(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr("node.config.default_config_file", lambda: file)
    assert NodeConfig.load({}, {}).port == DEFAULT_PORT
    file.write_text("port = 9\n")
    assert NodeConfig.load({}, {}).port == 9


def test_the_default_file_is_in_the_users_configuration() -> None:
    assert default_config_file().name == "config.toml"
    assert "rookery" in default_config_file().parts


def test_other_variables_are_nobodys_business() -> None:
    assert NodeConfig.load({}, {"PATH": "/bin", "PORT": "1"}).port == DEFAULT_PORT


def test_values_of_every_kind_from_text() -> None:
    env = {
        "ROOKERY_ACCEPT_FROM": f"{PEER}, {OTHER}",
        "ROOKERY_CONTACTS": CONTACT.text,
        "ROOKERY_NETWORK_KEY": "ab" * 32,
        "ROOKERY_API_HTTP": "localhost:7717",
        "ROOKERY_MAX_RECEIVE_BYTES": "1.5",
        "ROOKERY_LOG_JSON": "yes",
        "ROOKERY_LISTEN": "[::]",
        "ROOKERY_LOG_LEVEL": "DEBUG",
    }
    config = NodeConfig.load({"max-receive-bytes": "500 MB", "--bootstrap-lists": ()}, env)
    assert config.accept_from == (PEER, OTHER)
    assert config.contacts == (CONTACT,)
    assert config.network_key == b"\xab" * 32
    assert config.api_http == ("127.0.0.1", 7717)
    assert config.max_receive_bytes == 500_000_000
    assert (config.log_json, config.listen, config.log_level) == (True, "::", "debug")


def test_a_repeated_flag_makes_a_list() -> None:
    assert NodeConfig.load({"contacts": (CONTACT.text, CONTACT.text)}, {}).contacts == (CONTACT, CONTACT)


def test_paths_in_a_file_start_at_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    lists = ["list.bin", "https://example.org/list", "/abs/list"]
    file.write_text(
        f"data_dir = 'data'\ndownload_dir = '~/got'\nbootstrap_lists = {lists}\nbootstrap_signers = ['{PEER}']\n"
    )
    config = NodeConfig.load({}, {}, file)
    assert config.data_dir == file.parent / "data"
    assert config.received_dir == Path("/home/somebody/got")
    assert config.bootstrap_lists == (str(file.parent / "list.bin"), *lists[1:])


@pytest.mark.parametrize(
    ("flags", "env", "told"),
    [
        ({"port": 70000}, {}, "flag --port: 70000 is not allowed; allowed: a whole number, 0-65535"),
        ({}, {"ROOKERY_PORT": "seven"}, "variable ROOKERY_PORT: 'seven' is not allowed; allowed: a whole number"),
        ({"mode": "fast"}, {}, "flag --mode: 'fast' is not allowed; allowed: auto, server or client"),
        (
            {},
            {"ROOKERY_LISTEN": "here"},
            "ROOKERY_LISTEN: 'here' is not allowed: it is not an IP address; allowed: an IP",
        ),
        ({"api_http": "0.0.0.0:80"}, {}, "controls the node, so other machines must not; allowed: 127.0.0.1:PORT"),
        ({"api_http": "127.0.0.1"}, {}, "does not end in a port"),
        ({"network": "my net"}, {}, "allowed: 1-64 letters"),
        ({"record_ttl": "1e9"}, {}, "allowed: seconds, from 300 to 691200"),
        ({"record_ttl": "nan"}, {}, "flag --record-ttl: 'nan' is not allowed"),
        ({"max_receive_bytes": "a lot"}, {}, "it is not a size"),
        ({"log_json": "perhaps"}, {}, "allowed: true or false"),
        ({"contacts": "me@home:1"}, {}, "flag --contacts: 'me@home:1' is not allowed: 'me@home:1' is not a contact"),
        ({"bootstrap_signers": PEER.text[:-1]}, {}, "51 characters, 1 too few"),
        ({"accept_from": "al"}, {}, 'or "all" as its one item'),
        ({"api": "/" + "x" * 103}, {}, "has 104 bytes and a socket's has at most 103"),
        ({"data_dir": ""}, {}, "flag --data-dir: '' is not allowed: it is no path"),
    ],
)
def test_a_bad_value_is_one_clear_line(flags: dict[str, object], env: dict[str, str], told: str) -> None:
    with pytest.raises(BadSetting) as caught:
        NodeConfig.load(flags, env)
    assert told in line(caught)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("port = '7716'", "key 'port': '7716' is not allowed: its TOML type is another; allowed: a whole number"),
        ("port = true", "its TOML type is another"),
        ("stun = 1", "its TOML type is another; allowed: true or false"),
        ("contacts = 'one'", "key 'contacts'"),
        ("network = 3", "key 'network': 3 is not allowed"),
        ("data_dir = ['a']", "key 'data_dir'"),
    ],
)
def test_a_bad_value_in_a_file_names_file_and_key(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(BadSetting) as caught:
        NodeConfig.load({}, {}, file)
    assert line(caught).startswith(f"{file}, key ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"), [(b"port = ", "not TOML: Invalid value"), (b"port = 1 # \xff", "byte 11 is not UTF-8")]
)
def test_a_broken_file_is_one_clear_line(file: Path, text: bytes, told: str) -> None:
    file.write_bytes(text)
    with pytest.raises(BadConfigFile) as caught:
        NodeConfig.load({}, {}, file)
    assert line(caught).startswith(f"configuration file {file}: ")
    assert told in str(caught.value)


def test_a_folder_is_no_configuration_file(file: Path) -> None:
    with pytest.raises(BadConfigFile, match="cannot be read"):
        NodeConfig.load({}, {}, file.parent)


@pytest.mark.parametrize(
    ("flags", "env", "text", "told"),
    [
        ({"prot": 1}, {}, "", "command line: there is no setting '--prot'; did you mean '--port'?"),
        ({}, {"ROOKERY_DATADIR": "x"}, "", "there is no setting 'ROOKERY_DATADIR'; did you mean 'ROOKERY_DATA_DIR'?"),
        ({}, {}, "netwrk = 'x'", "there is no setting 'netwrk'; did you mean 'network'?"),
        ({}, {}, "zzz = 1", "there is no setting 'zzz'; docs/configuration.md lists all"),
        ({}, {}, "[node]\nport = 1", "there is no setting 'node'"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(
    file: Path, flags: dict[str, object], env: dict[str, str], text: str, told: str
) -> None:
    file.write_text(text)
    with pytest.raises(UnknownSetting) as caught:
        NodeConfig.load(flags, env, file)
    assert told in line(caught)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"bootstrap_lists": "a"}, "bootstrap_lists needs bootstrap_signers"),
        ({"bootstrap_threshold": 2}, "bootstrap_threshold = 2 needs as many bootstrap_signers, not 0"),
        ({"receive": "accept"}, "receive = 'accept' needs accept_from"),
        ({"accept_from": f"all,{PEER}"}, "accept_from with 'all' needs no further items"),
        ({"record_ttl": 600}, "republish_interval = 61200 needs a record_ttl of at least twice that, not 600"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(BadConfig) as caught:
        NodeConfig.load(values, {})
    assert told in line(caught)


def test_made_by_hand_it_is_as_strict() -> None:
    with pytest.raises(BadSetting, match="setting 'port': -1 is not allowed"):
        NodeConfig(port=-1)
    with pytest.raises(UnknownSetting, match="did you mean 'port'"):
        NodeConfig(prt=1)  # type: ignore[call-arg]


def test_it_is_frozen_and_replace_checks_again() -> None:
    config = NodeConfig(port=1)
    with pytest.raises(Exception, match="frozen"):
        config.port = 2
    assert config.replace(network="x") == NodeConfig(port=1, network="x")
    assert config.replace(network="x").port_is_explicit
    assert not NodeConfig().replace(network="x").port_is_explicit
    with pytest.raises(BadSetting):
        config.replace(port=-1)


def test_the_network_key_is_never_shown() -> None:
    config = NodeConfig(network_key=b"\xab" * 32)
    assert "abab" not in repr(config) + str(config) + str(config.to_plain())
    assert "\\xab" not in repr(config)
    with pytest.raises(BadSetting) as caught:
        NodeConfig.load({"network_key": "abab"}, {})
    assert "abab" not in line(caught)
    assert "it has 2 bytes" in str(caught.value)


def test_who_may_send_files() -> None:
    assert not NodeConfig().accepts_from(PEER)
    assert NodeConfig(receive="accept", accept_from=("all",)).accepts_from(PEER)
    only = NodeConfig(receive="accept", accept_from=(OTHER,))
    assert only.accepts_from(OTHER)
    assert not only.accepts_from(PEER)
    assert not NodeConfig(receive="refuse", accept_from=("all",)).accepts_from(PEER)


def test_the_sample_loads_and_equals_the_defaults(file: Path) -> None:
    file.write_text(sample_toml())
    assert tomllib.loads(sample_toml()) == {}
    assert NodeConfig.load({}, {}, file) == NodeConfig()
    switched_on = re.sub(r"^#(?=\w)", "", sample_toml(), flags=re.MULTILINE)
    file.write_text(switched_on)
    assert NodeConfig.load({}, {}, file) == NodeConfig()
    given = set(tomllib.loads(switched_on))
    unset = {name for name in NodeConfig.model_fields if getattr(NodeConfig(), name) is None}
    assert given == NodeConfig.model_fields.keys() - unset


def test_the_samples_examples_are_allowed(file: Path) -> None:
    file.write_text(re.sub(r"^## (?=\w+ = )", "", sample_toml(), flags=re.MULTILINE))
    config = NodeConfig.load({}, {}, file)
    assert config.network_key == bytes(32)
    assert None not in {getattr(config, name) for name in NodeConfig.model_fields}


def test_every_setting_says_what_it_does_what_it_may_be_and_why() -> None:
    for name, field in NodeConfig.model_fields.items():
        extra = field.json_schema_extra
        assert field.description, name
        assert isinstance(extra, dict), name
        assert extra["allowed"], name
        assert extra["source"], name
        assert name == flag_and_variable(name)[1].removeprefix("ROOKERY_").lower()


def test_the_documentation_is_up_to_date() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert settings_table() in text, "paste settings_table() of node/config_sample.py into docs/configuration.md"


def test_settings_name_gateways() -> None:
    made: Any = NodeConfig
    peer = IdentityKey.from_seed(bytes(32)).public
    for host in ("relay.example", "192.0.2.1", "[2001:db8::1]"):
        text = f"{peer.text}@{host}:443"
        (gateway,) = made(gateways=(text,)).gateways
        assert (gateway.peer, gateway.host, gateway.port, gateway.text) == (peer, host.strip("[]"), 443, text)
    assert made(websocket="[::]:443").to_plain()["websocket"] == "[::]:443"
    for wrong, said in (
        ("relay.example:443", "no @"),
        (f"{peer.text}@relay.example", "does not end in a port"),
        (f"{peer.text}@:443", "is no HOST:PORT"),
        (f"{peer.text}@relay example:443", "is no HOST:PORT"),
        ("abc@relay.example:443", "52 characters"),
    ):
        with pytest.raises(BadSetting, match=said):
            made(gateways=(wrong,))
