"""The command against real nodes: separate processes, real sockets on loopback, real files."""

import hashlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

LIMIT = 60.0
"""Seconds after which a command counts as hung; none takes more than two."""

STRANGER = "9wm1eqn4wddis385xdgsym7b5ge9549zpcjhmdszymicopxj6acy"
LOOPBACK = ("--listen", "127.0.0.1", "--port", "0")


def command(*args):
    return [sys.executable, "-m", "node.cli", *map(str, args)]


def rookery(*args, **more):
    return subprocess.run(command(*args), capture_output=True, timeout=LIMIT, check=False, **more)


def lines(raw):
    return [json.loads(line) for line in raw.splitlines()]


class Running:
    """A `rookery run` in the background."""

    def __init__(self, data: Path, *args, what=("run",), **more) -> None:
        self.data = data
        self.process = subprocess.Popen(
            command(*what, "--data-dir", data, *args, "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )
        self.ready = self.until("event", "ready")

    def until(self, key, value):
        """The next line that says so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            document = json.loads(line)
            if document.get(key) == value:
                return document
        raise AssertionError(f"ended before {key} = {value}: {self.end()}")

    def end(self, number=signal.SIGTERM):
        """End it; returns exit code, seconds that took, and standard error."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, time.monotonic() - started, errors


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> Iterator[list[Running]]:
    """Three nodes that know one another, the first one known to the others by its contact."""
    folder = tmp_path_factory.mktemp("nodes")
    common = (*LOOPBACK, "--mode", "server", "--include-loopback")
    first = Running(folder / "0", *common)
    started = [first]
    try:
        for number in (1, 2):
            started.append(Running(folder / str(number), *common, "--contact", first.ready["contact"]))
        for node in started:
            node.until("kind", "published")
        yield started
    finally:
        for node in started:
            node.end()


def on(node: Running, *args, **more):
    return rookery(*args, "--data-dir", node.data, **more)


def test_ready_says_what_others_need(nodes):
    ready = nodes[0].ready
    assert ready["contact"].endswith(f"@127.0.0.1:{ready['port']}")
    assert (ready["mode"], ready["pid"], ready["data_dir"]) == ("server", nodes[0].process.pid, str(nodes[0].data))
    assert on(nodes[0], "id").stdout.decode().strip() == ready["identity"]


def test_a_running_node_answers(nodes):
    result = on(nodes[1], "status", "--json")
    assert result.stderr == b""
    status = json.loads(result.stdout)
    assert (status["identity"], status["joined"]) == (nodes[1].ready["identity"], True)
    assert len(json.loads(on(nodes[1], "peers", "--json").stdout)["contacts"]) == 2
    [event] = lines(on(nodes[1], "log", "--last", "1", "--json").stdout)
    assert set(event) == {"time", "level", "kind", "text", "fields"}


def test_a_peer_is_found_reached_and_sent_a_file(nodes, tmp_path):
    peer = nodes[2].ready["identity"]
    assert json.loads(on(nodes[1], "find", peer, "--json").stdout)["found"]
    ping = json.loads(on(nodes[1], "ping", peer, "--json").stdout)
    assert ping["dht"]["reached"]
    assert ping["link"]["reached"]
    mistyped = on(nodes[1], "find", peer[:20] + peer[21:])
    assert mistyped.returncode == 2
    assert f"hint: did you mean {peer}" in mistyped.stderr.decode()
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    receiver = subprocess.Popen(
        command("receive", "--data-dir", nodes[2].data, "--yes", "--count", "1", "--dir", tmp_path / "in", "--json"),
        stdout=subprocess.PIPE,
    )
    assert receiver.stdout is not None
    assert json.loads(receiver.stdout.readline())["event"] == "waiting"
    sent = lines(on(nodes[1], "send", tmp_path / "file", peer, "--json").stdout)[-1]
    told = lines(receiver.communicate(timeout=LIMIT)[0])[-1]
    assert receiver.returncode == 0
    digest = hashlib.sha256(content).hexdigest()
    assert (sent["ok"], sent["sha256"], told["event"], told["sha256"]) == (True, digest, "received", digest)
    assert (tmp_path / "in" / "file").read_bytes() == content


def test_ctrl_c_ends_a_command_with_130(nodes, tmp_path):
    waiting = subprocess.Popen(
        command("receive", "--data-dir", nodes[2].data, "--yes", "--dir", tmp_path, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert waiting.stdout is not None
    assert waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    _, errors = waiting.communicate(timeout=LIMIT)
    assert waiting.returncode == 130
    assert b"Traceback" not in errors


@pytest.mark.slow
def test_a_person_at_a_terminal_is_asked(nodes, tmp_path):
    (tmp_path / "file").write_bytes(b"precious")
    ours, theirs = pty.openpty()
    receiver = subprocess.Popen(
        command("receive", "--data-dir", nodes[2].data, "--count", "1", "--dir", tmp_path / "in"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while b"waiting for files" not in shown:
            shown += os.read(ours, 4096)
        sender = subprocess.Popen(
            command("send", "--data-dir", nodes[1].data, tmp_path / "file", nodes[2].ready["identity"]),
            stdout=subprocess.DEVNULL,
        )
        while b"[y/N]" not in shown:
            shown += os.read(ours, 4096)
        assert b"file (8 B)" in shown
        os.write(ours, b"y\n")
        assert sender.wait(LIMIT) == 0
        assert receiver.wait(LIMIT) == 0
    finally:
        os.close(ours)
    assert (tmp_path / "in" / "file").read_bytes() == b"precious"


@pytest.mark.slow
def test_ctrl_c_at_the_question_ends_it_and_the_sender_is_refused(nodes, tmp_path):
    (tmp_path / "file").write_bytes(b"precious")
    ours, theirs = pty.openpty()
    receiver = subprocess.Popen(
        command("receive", "--data-dir", nodes[2].data, "--dir", tmp_path / "in"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while b"waiting for files" not in shown:
            shown += os.read(ours, 4096)
        sender = subprocess.Popen(
            command("send", "--data-dir", nodes[1].data, tmp_path / "file", nodes[2].ready["identity"]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while b"[y/N]" not in shown:
            shown += os.read(ours, 4096)
        receiver.send_signal(signal.SIGINT)
        assert receiver.wait(LIMIT) == 130
        _, errors = sender.communicate(timeout=LIMIT)
        assert sender.returncode == 1
        assert b"did not accept it" in errors
    finally:
        os.close(ours)


def test_values_cross_byte_for_byte(nodes):
    value = bytes(range(256))
    receipt = json.loads(on(nodes[1], "put", "--salt", "s", "--json", input=value).stdout)
    assert receipt["ok"]
    read = on(nodes[2], "get", nodes[1].ready["identity"], "--salt", "s")
    assert read.stdout == value
    refused = on(nodes[1], "put", "other", "--salt", "s", "--expected-seq", "1")
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"error: ")
    assert on(nodes[2], "get", nodes[1].ready["identity"], "--salt", "s").stdout == value


@pytest.mark.slow
def test_a_short_lived_node_does_the_same(nodes, tmp_path):
    peer = nodes[1].ready["identity"]
    contact = ("--contact", nodes[0].ready["contact"], "--listen", "127.0.0.1", "--data-dir", tmp_path / "new")
    result = rookery("find", peer, "--json", *contact)
    assert json.loads(result.stdout)["found"] is True
    assert result.stderr.decode() == "no node runs here: starting one for this command …\n"
    # The second time it knows its contacts by itself.
    again = rookery("find", peer, "--json", "--data-dir", tmp_path / "new", "--listen", "127.0.0.1")
    assert json.loads(again.stdout)["found"] is True


def test_a_trace_shows_who_was_asked(nodes):
    """However the record is found: with answers, and with the nodes that gave none."""
    others = {nodes[0].ready["contact"], nodes[2].ready["contact"]}
    document = json.loads(on(nodes[1], "find", nodes[2].ready["identity"], "--explain", "--json").stdout)
    assert {asked["contact"] for asked in document["trace"]} <= others
    assert any(asked["state"] == "answered" for asked in document["trace"])
    shown = on(nodes[1], "find", STRANGER, "--explain")
    assert shown.returncode == 1
    key, _, address = nodes[0].ready["contact"].partition("@")
    assert f"{key[:6]}…@{address}" in shown.stdout.decode()
    assert "trace" not in json.loads(on(nodes[1], "find", nodes[2].ready["identity"], "--json").stdout)


def test_an_unknown_peer_is_one_clear_line(nodes):
    result = on(nodes[1], "find", STRANGER)
    error, hint = result.stderr.decode().splitlines()
    assert result.returncode == 1
    assert error.startswith(f"error: no node that was asked has a record of {STRANGER}")
    assert hint.startswith("hint: ")
    assert on(nodes[1], "connect", STRANGER).returncode == 1


def test_two_nodes_cannot_share_a_data_folder(nodes):
    result = on(nodes[1], "run", *LOOPBACK)
    assert result.returncode == 2
    [error] = result.stderr.decode().splitlines()
    assert error.startswith("error: ")
    assert str(nodes[1].process.pid) in error


def test_a_port_in_use_is_told(nodes, tmp_path):
    port = str(nodes[0].ready["port"])
    result = rookery("run", "--listen", "127.0.0.1", "--port", port, "--data-dir", tmp_path / "new", "--json")
    assert result.returncode == 2
    assert port in json.loads(result.stdout)["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_ends_at_once_with_its_state_saved(nodes, tmp_path, number):
    args = (*LOOPBACK, "--mode", "server")
    node = Running(tmp_path / "new", *args, "--contact", nodes[0].ready["contact"])
    node.until("kind", "published")
    follower = subprocess.Popen(
        command("log", "--follow", "--last", "1", "--data-dir", tmp_path / "new"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert follower.stdout is not None
    assert follower.stdout.readline()
    code, seconds, _ = node.end(number)
    assert code == (0 if number == signal.SIGTERM else 130)
    assert seconds < 2
    assert not (tmp_path / "new" / "api.sock").exists()
    follower.communicate(timeout=LIMIT)
    assert follower.returncode in (0, 1)
    again = Running(tmp_path / "new", *args)
    try:
        again.until("kind", "joined")
        assert again.ready["identity"] == node.ready["identity"]
        assert again.ready["contact"].split("@")[0] == node.ready["contact"].split("@")[0]
    finally:
        again.end()


def test_a_key_file_others_may_read_is_named_and_left_alone(tmp_path):
    data = tmp_path / "data"
    assert rookery("status", "--data-dir", data, "--listen", "127.0.0.1").returncode == 0
    file = data / "identity.key"
    file.chmod(0o644)
    before = file.read_bytes()
    result = rookery("run", "--data-dir", data, *LOOPBACK)
    error, hint = result.stderr.decode().splitlines()
    assert result.returncode == 2
    assert str(file) in error
    assert hint.startswith("hint: ")
    assert file.read_bytes() == before


@pytest.mark.slow
def test_a_clock_an_hour_off_is_told(nodes, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import time\nreal = time.time\ntime.time = lambda: real() - 3600\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    contacts = [part for node in nodes for part in ("--contact", node.ready["contact"])]
    result = rookery(
        "find",
        nodes[1].ready["identity"],
        "--data-dir",
        tmp_path / "new",
        "--listen",
        "127.0.0.1",
        *contacts,
        env=env,
    )
    assert result.returncode == 0
    assert "clock is 60 min behind" in result.stderr.decode()


@pytest.mark.slow
def test_a_bootstrap_server_serves_its_list(nodes, tmp_path):
    draft = tmp_path / "draft.toml"
    key, host = nodes[0].ready["contact"].split("@")
    public = json.loads(rookery("bootstrap", "keygen", tmp_path / "key", "--json").stdout)["public"]
    draft.write_text(
        f'network = "main"\n[trust]\nsigners = ["{public}"]\nthreshold = 1\n'
        f'[[contact]]\nkey = "{key}"\naddress = "{host}"\n'
    )
    signed = tmp_path / "list.json"
    made = rookery("bootstrap", "sign", draft, "--key", tmp_path / "key", "--out", signed)
    assert made.returncode == 0
    trust = ("--bootstrap-signer", public)
    http = ("--http", "127.0.0.1:0", "--list", signed)
    server = Running(tmp_path / "server", *LOOPBACK, *trust, *http, what=("bootstrap", "run"))
    try:
        with urllib.request.urlopen(f"{server.ready['http']}/health", timeout=LIMIT) as answer:
            assert json.load(answer)["status"] == "ok"
        args = ("--listen", "127.0.0.1", "--bootstrap", server.ready["list"], *trust, "--data-dir", tmp_path / "new")
        found = rookery("find", nodes[1].ready["identity"], *args, "--json")
        assert json.loads(found.stdout)["found"] is True
        signed.write_text(signed.read_text().replace('"sequence"', '"sequense"').replace("eyJ", "eyK", 1))
        refused = rookery("status", *args[:-1], tmp_path / "newer", "--json")
        assert refused.returncode == 0
        assert json.loads(refused.stdout)["joined"] is False
        assert "warning: first contacts from" in refused.stderr.decode()
    finally:
        server.end()


@pytest.mark.slow
def test_the_api_over_loopback_http(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    node = Running(tmp_path / "new", *LOOPBACK, "--api-http", f"127.0.0.1:{port}")
    try:
        token = (tmp_path / "new" / "api-token").read_text().strip()
        request = urllib.request.Request(
            f"{node.ready['api_http']}/call/status",
            b"{}",
            {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            assert json.load(answer)["identity"] == node.ready["identity"]
        # Where the socket cannot be reached, the command takes this way.
        (tmp_path / "new" / "api.sock").unlink()
        result = rookery("status", "--json", "--data-dir", node.data, "--api-http", f"127.0.0.1:{port}")
        assert json.loads(result.stdout)["identity"] == node.ready["identity"]
    finally:
        node.end()
