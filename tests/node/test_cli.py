"""The command as a whole: usage, version, identity, configuration, and how quickly it starts."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dht.errors import BadPeerId
from node.cli import app
from node.config import NodeConfig

HEAVY = ("aiohttp", "aiortc", "av", "zeroconf", "asyncio", "pydantic", "rich", "sqlite3", "kademlia")


@pytest.fixture
def rookery(tmp_path, monkeypatch):
    monkeypatch.setenv("ROOKERY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROOKERY_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")

    def run(*args, **more):
        return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False, **more)

    return run


def test_version_and_help(rookery):
    assert re.fullmatch(r"rookery \d+\.\d+\.\d+\n", rookery("--version").stdout)
    for args in (["--help"], ["-h"], []):
        result = rookery(*args)
        assert result.exit_code == 0
        assert "connect" in result.stdout


def test_debugging_shows_where_it_went_wrong(rookery, monkeypatch):
    monkeypatch.setenv("ROOKERY_DEBUG", "1")
    with pytest.raises(BadPeerId):
        rookery("find", "abc")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["frob"], "error: no such command 'frob'"),
        (["fnd"], "error: no such command 'fnd'. Did you mean 'find'?"),
        (["find"], "error: missing argument 'PEER'"),
        (["find", "a", "--frob"], "error: no such option: --frob"),
        (["ping", "a", "--count", "0"], "error: invalid value for '--count' / '-c': Input should be greater"),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(rookery, args, line):
    result = rookery(*args)
    assert result.exit_code == 2
    first, *rest = result.stderr.splitlines()
    assert first.startswith(line)
    assert all(other.startswith("hint: see `rookery") for other in rest)
    assert result.stdout == ""


def test_the_identity_is_made_once(rookery, tmp_path: Path):
    first = rookery("id")
    assert re.fullmatch(r"[ybndrfg8ejkmcpqxot1uwisza345h769]{52}\n", first.stdout)
    assert rookery("id").stdout == first.stdout
    file = tmp_path / "data" / "identity.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(rookery("id", "--json").stdout) == {"identity": first.stdout.strip(), "file": str(file)}


@pytest.mark.parametrize("fault", ["readable by others", "damaged"])
def test_a_bad_key_file_is_refused_and_kept(rookery, tmp_path: Path, fault):
    rookery("id")
    file = tmp_path / "data" / "identity.key"
    if fault == "damaged":
        file.write_text(file.read_text().replace("rookery", "rockery"))
    else:
        file.chmod(0o644)
    before = file.read_bytes()
    result = rookery("id")
    assert result.exit_code == 2
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "hint"]
    assert str(file) in result.stderr
    assert file.read_bytes() == before


def test_every_setting_is_a_flag_of_run(rookery):
    text = rookery("run", "--help", env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).stdout
    for name in NodeConfig.model_fields:
        assert f"--{name.replace('_', '-')}" in text


def test_flags_environment_and_file_reach_the_configuration(rookery, tmp_path: Path, monkeypatch):
    (tmp_path / "config.toml").write_text('network = "file"\nport = 5000\nrecord_ttl = 4000\nrepublish_interval = 60\n')
    monkeypatch.setenv("ROOKERY_PORT", "5001")
    monkeypatch.setenv("ROOKERY_DEBUG", "0")
    result = rookery("config", "show", "--json", "--record-ttl", "5000", "--no-stun")
    shown = json.loads(result.stdout)
    assert (shown["network"], shown["port"], shown["record_ttl"], shown["stun"]) == ("file", 5001, 5000, False)
    assert json.loads(rookery("config", "show", "--json", "--config", os.devnull).stdout)["network"] == "main"


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--port", "99999"], "flag --port: '99999' is not allowed"),
        (["--contact", "nonsense"], "flag --contacts"),
        (["--config", "/nonexistent/file.toml"], "/nonexistent/file.toml"),
        (["--bootstrap", "list.json"], "bootstrap_signers"),
    ],
)
def test_a_bad_setting_is_one_line(rookery, args, part):
    result = rookery("config", "show", *args)
    assert result.exit_code == 2
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert part in line


def test_the_sample_is_a_configuration_that_loads(rookery, tmp_path: Path):
    (tmp_path / "sample.toml").write_text(rookery("config", "sample").stdout)
    result = rookery("config", "show", "--config", tmp_path / "sample.toml", "--json")
    assert result.exit_code == 0
    assert rookery("config", "path").stdout.strip() == str(tmp_path / "config.toml")
    assert rookery("config", "path", "--data").stdout.strip() == str(tmp_path / "data")


def test_completion_is_offered():
    result = subprocess.run(
        [sys.executable, "-m", "node.cli"],
        env={**os.environ, "_ROOKERY_COMPLETE": "complete_bash", "COMP_WORDS": "rookery co", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.split() == ["connect", "conformance", "config"]


@pytest.mark.parametrize("args", [["--help"], ["--version"]])
def test_the_start_is_light(args):
    code = (
        "import sys\nfrom node.cli import main\nsys.argv = ['rookery', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('\\nLOADED', *sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.rpartition("LOADED")[2].split())
    allowed = {"rich"} if args == ["--help"] else set()  # Typer's help is Rich's.
    assert not (set(HEAVY) - allowed) & loaded
