"""A laboratory leaves nothing behind and touches nothing outside, however it ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.natlab import namespaces
from tests.natlab.namespaces import LabError, Namespaces, why_not
from tests.natlab.topology import Lab

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("machine")

HOLDER = """
import sys, time
from pathlib import Path
from tests.natlab.topology import Lab
lab = Lab()
host = lab.host("a", lab.place("home", "double"))
folder = Path(sys.argv[1])
lab.spaces.start(host.space, "tests.natlab.probes:answer", (host.v4, "127.0.0.1"), {}, folder)
print(lab.spaces.keeper, flush=True)
time.sleep(60)
"""


def family(pid):
    """A process and its children; none that have ended."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and pid in (int(folder.name), int(fields[1])):
            found.add(int(folder.name))
    return found


def gone(pids):
    """Whether all of these end within a while."""
    deadline = time.monotonic() + 10
    while left := {pid for pid in pids if family(pid)}:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return not left


def interfaces():
    """This machine's own, and its settings and rules that a laboratory has of its own."""
    forward = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    return sorted(os.listdir("/sys/class/net")), forward, Path("/proc/net/route").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_owner(tmp_path, number):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as owner:
        assert owner.stdout is not None
        # The keeper, and the fork of it that answers in a namespace.
        pids = family(int(owner.stdout.readline()))
        assert len(pids) == 2
        owner.send_signal(number)
        owner.wait(10)
        assert gone(pids)


def test_nothing_outlives_the_keeper(tmp_path):
    with Namespaces() as spaces:
        spaces.add("a")
        spaces.start("a", "tests.natlab.probes:answer", ("127.0.0.1", "127.0.0.2"), {}, tmp_path)
        pids = family(spaces.keeper)
        assert len(pids) == 2
        os.kill(spaces.keeper, signal.SIGKILL)
        with pytest.raises(LabError, match="keeper of the namespaces"):
            spaces.add("b")
        assert gone(pids)


def test_this_machine_is_left_as_it_was():
    before = interfaces()
    with Lab() as lab:
        lab.host("a", lab.place("home", "cgnat"))
        lab.host("b", v6=True)
        assert interfaces() == before
    assert interfaces() == before


def test_two_laboratories_do_not_meet():
    with Lab() as one, Lab() as other:
        for lab in (one, other):
            lab.host("a", lab.place("home", "symmetric"))
        assert one.hosts["a"].v4 == other.hosts["a"].v4
        one.spaces.ip(one.hosts["a"].space, "link del eth0")
        assert "eth0" in other.spaces.run(other.hosts["a"].space, ["ip", "link"])


def test_a_user_who_is_not_root_can_have_one():
    """Where we are root, without the right to administer the system that root has."""
    without = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*without, sys.executable, "-m", "tests.natlab", "selftest", "--kinds", "none,symmetric,ipv6-only"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("as it claims") == 3


def test_a_failing_command_says_what_it_was_and_what_it_said():
    with Namespaces() as spaces:
        spaces.add("a")
        with pytest.raises(LabError, match=r"ip -batch - in a ended with 1: .*nowhere"):
            spaces.ip("a", "addr add 10.0.0.1/24 dev nowhere")
        with pytest.raises(LabError, match="KeyError: 'b'"):
            spaces.run("b", ["true"])


def test_missing_tools_are_named_with_their_packages(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda tool, path: None if tool == "nft" else tool)
    assert namespaces.missing_tools() == ["nftables"]
    assert why_not() == "missing tools: install nftables"
