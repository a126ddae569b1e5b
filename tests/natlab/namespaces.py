"""Network namespaces for whoever builds something out of them.

Decides whether this machine can have them and why not, and how they are made, connected and filled with processes.
The keeper, a process of its own, does it; when this side is left or dies, so does the keeper and all it holds. Nothing
outside of the namespaces is touched. Refuses to know what is built.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from dht.errors import RookeryError

Document = dict[str, Any]

ROOT: Final = Path(__file__).resolve().parents[2]

TOOLS: Final = {"ip": "iproute2", "nft": "nftables", "conntrack": "conntrack"}
"""Programs that must be there, and Debian's packages that have them."""

LAN_TOOLS: Final = {"avahi-daemon": "avahi-daemon", "avahi-browse": "avahi-utils", "dbus-daemon": "dbus-daemon"}
"""What the tests of the local network need besides."""

FORBIDDEN: Final = "not on this platform"
"""How a reason begins that nothing which could be installed would change."""

REPLY_TIMEOUT: Final = 60.0
"""Seconds for the keeper to answer. UNSOURCED: loading the node's code on a busy machine is the longest."""

ENDED: Final = 10.0
"""Seconds for the keeper to end. UNSOURCED"""


class LabError(RookeryError):
    """Raised when the laboratory cannot be built, or something in it fails; says which command said what."""


class Namespaces:
    """Namespaces by name. A context manager: when it is left, they are gone."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        with there:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "tests.natlab.keeper"],
                cwd=ROOT,
                stdin=there.fileno(),
                start_new_session=True,
                env={**os.environ, "PATH": search_path()},
            )
        here.settimeout(REPLY_TIMEOUT)
        self._socket = here
        self._lines = here.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()
        self._paths: dict[str, str] = {}

    def __enter__(self) -> Namespaces:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process in every namespace, and the namespaces."""
        self._lines.close()
        self._socket.close()
        try:
            self._keeper.wait(ENDED)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()

    @property
    def keeper(self) -> int:
        """The keeper's process id."""
        return self._keeper.pid

    def path(self, space: str) -> str:
        """The file that stands for a namespace: `nsenter --net=PATH` enters it."""
        return self._paths[space]

    def add(self, *spaces: str) -> None:
        """Make namespaces, with loopback up."""
        for space in spaces:
            self._paths[space] = str(self._ask("namespace", name=space)["path"])
            self.ip(space, "link set lo up")

    def ip(self, space: str, *lines: str) -> None:
        """Run `ip` commands in a namespace, one a line."""
        if lines:
            self.run(space, ["ip", "-batch", "-"], "\n".join(lines) + "\n")

    def run(self, space: str, argv: list[str], text: str = "", *, check: bool = True) -> str:
        """Run a program in a namespace and return what it wrote. Raises `LabError` when it fails, unless told not."""
        done = self._ask("run", space=space, argv=argv, text=text)
        if done["code"] and check:
            said = " ".join(str(done["err"]).split())[-500:]
            raise LabError(f"{' '.join(argv)} in {space} ended with {done['code']}: {said}; its input was {text!r}")
        return str(done["out"])

    def set(self, space: str, settings: Mapping[str, str]) -> None:
        """Write settings below /proc/sys/net, which belong to the namespace."""
        self._ask("write", space=space, files=dict(settings))

    def connect(self, one: str, its: str, other: str, others: str) -> None:
        """Lay a cable between two namespaces: interface `its` in `one`, `others` in `other`; both are up."""
        self.ip(one, f"link add {its} type veth peer name {others} netns {self._paths[other]}", f"link set {its} up")
        self.ip(other, f"link set {others} up")

    def start(self, space: str, main: str, arguments: Iterable[str], env: Mapping[str, str], folder: Path) -> int:
        """Start the function `main` (module:function) as a process in a namespace; returns its id."""
        asked = self._ask("start", space=space, main=main, arguments=list(arguments), env=dict(env), folder=str(folder))
        return int(asked["pid"])

    def preload(self) -> None:
        """Load the node's code once for all processes that `start` begins from now on."""
        self._ask("preload")

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a process that `start` began."""
        self._ask("signal", pid=pid, number=number)

    def exit_code(self, pid: int) -> int | None:
        """The exit code of a process that `start` began; None while it runs."""
        code = self._ask("ended", pid=pid)["code"]
        return None if code is None else int(code)

    def _ask(self, what: str, **fields: Any) -> Document:
        with self._lock:
            try:
                self._socket.sendall(json.dumps({"do": what, **fields}).encode() + b"\n")
                line = self._lines.readline()
            except OSError as error:
                raise LabError(f"the keeper of the namespaces did not answer: {error}") from None
        if not line:
            raise LabError("the keeper of the namespaces is gone")
        reply: Document = json.loads(line)
        if "error" in reply:
            raise LabError(f"{what} {fields.get('space', fields.get('name', ''))}: {reply['error']}")
        return reply


def search_path() -> str:
    """The PATH with the folders for administrators, which other users' often lacks."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def missing_tools(tools: Mapping[str, str] = TOOLS) -> list[str]:
    """Debian's packages that have to be installed before there can be a laboratory."""
    return [package for tool, package in tools.items() if shutil.which(tool, path=search_path()) is None]


def why_not() -> str | None:
    """Why this machine cannot have a laboratory, in one sentence; None when it can."""
    if not sys.platform.startswith("linux"):
        return f"{FORBIDDEN}: network namespaces are Linux's"
    if missing := missing_tools():
        return f"missing tools: install {', '.join(missing)}"
    try:
        with Namespaces() as spaces:
            spaces.add("trial")
            spaces.run("trial", ["nft", "add", "table", "ip", "trial"])
    except LabError as error:
        return f"{FORBIDDEN}: this machine's kernel gives no network namespaces with nftables to us: {error}"
    return None
