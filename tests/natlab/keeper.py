"""The one process that holds a laboratory's network namespaces and starts everything in them.

Decides how namespaces come into being, and that they and all that runs in them end with this process: they have no
name that could outlive it, so nothing is ever left to sweep up. It is told what to do in JSON lines on the socket that
is its standard input, and ends when that is closed. Refuses to know addresses, routers and nodes.

Commands in a namespace are forks of this process, which has the node's code loaded already: forty nodes start in the
time that few interpreters need, and share the memory of the code.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

Document = dict[str, Any]

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_PDEATHSIG: Final = 1
"""unshare(2), prctl(2); Python 3.12 has the former in `os`."""

ROOT: Final = Path(__file__).resolve().parents[2]

PRELOADED: Final = ("node.node", "node.cli_run", "node.api")
"""What forks then need not load again, besides all adapters: nodes load those for links when a first link is made."""

RUN_TIMEOUT: Final = 30.0
"""Seconds for a command that is waited for. UNSOURCED: none takes one."""


class Keeper:
    """Namespaces by name, and the processes in them."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._spaces: dict[str, int] = {}
        self._running: set[int] = set()
        self._ended: dict[int, int] = {}

    def become_root(self) -> None:
        """Take a user namespace of our own, whose root we are, unless we may make network namespaces as we are."""
        if os.geteuid() == 0 and self._libc.unshare(_CLONE_NEWNET) == 0:
            return
        user, group = os.geteuid(), os.getegid()
        self._check(self._libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET), "making a user namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")

    def preload(self) -> Document:
        """Load the code of nodes."""
        adapters = sorted(file.stem for file in (ROOT / "node" / "adapters").glob("[a-z]*.py"))
        for module in (*PRELOADED, *(f"node.adapters.{name}" for name in adapters)):
            importlib.import_module(module)
        return {}

    def namespace(self, name: str) -> Document:
        """Make a namespace; nothing in it is up but loopback."""
        self._check(self._libc.unshare(_CLONE_NEWNET), "making a network namespace")
        self._spaces[name] = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        return {"path": f"/proc/{os.getpid()}/fd/{self._spaces[name]}"}

    def run(self, space: str, argv: list[str], text: str) -> Document:
        """Run a program in a namespace to its end."""
        self._enter(space)
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=RUN_TIMEOUT, check=False)
        return {"code": done.returncode, "out": done.stdout, "err": done.stderr}

    def write(self, space: str, files: dict[str, str]) -> Document:
        """Write settings of a namespace: paths below /proc/sys/net."""
        self._enter(space)
        for path, value in files.items():
            Path("/proc/sys/net", path).write_text(value)
        return {}

    def start(self, space: str, main: str, arguments: list[str], env: dict[str, str], folder: str) -> Document:
        """Fork a process into a namespace: `main` is `module:function`; its output goes to files in `folder`."""
        self._enter(space)
        gc.freeze()
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_child(keeper, main, arguments, env, folder)
        self._running.add(pid)
        return {"pid": pid}

    def signal(self, pid: int, number: int) -> Document:
        """Send a signal to a process of ours, unless it has ended."""
        self.ended(pid)
        if pid in self._running:
            os.kill(pid, number)
        return {}

    def ended(self, pid: int) -> Document:
        """The exit code of a process of ours (minus the signal's number), None while it runs."""
        if pid in self._running:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._running.discard(pid)
                self._ended[pid] = os.waitstatus_to_exitcode(status)
        return {"code": self._ended.get(pid)}

    def end_all(self) -> None:
        """Kill every process."""
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
        for pid in self._running:
            os.waitpid(pid, 0)

    def _enter(self, space: str) -> None:
        self._check(self._libc.setns(self._spaces[space], _CLONE_NEWNET), f"entering {space!r}")

    def _be_child(self, keeper: int, main: str, arguments: list[str], env: dict[str, str], folder: str) -> NoReturn:
        code = 1
        try:
            os.setsid()
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(code)  # It died before that was said, so its death will not be told.
            for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, "stdout", 0), (2, "stderr", 0)):
                path = name if number == 0 else os.path.join(folder, name)
                opened = os.open(path, flags or os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(opened, number)
            os.environ.clear()
            os.environ.update(env)
            os.chdir(folder)
            module, _, function = main.partition(":")
            code = getattr(importlib.import_module(module), function)(arguments) or 0
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)

    def _check(self, result: int, what: str) -> None:
        if result:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")


def main() -> None:
    """Serve until standard input is closed."""
    keeper = Keeper()
    control = socket.socket(fileno=os.dup(0))
    os.set_inheritable(control.fileno(), False)
    lines = control.makefile("r", encoding="utf-8")
    handlers: dict[str, Callable[..., Document]] = {
        name: getattr(keeper, name) for name in ("preload", "namespace", "run", "write", "start", "signal", "ended")
    }
    for number in (signal.SIGINT, signal.SIGTERM):  # Those are for whoever we work for.
        signal.signal(number, signal.SIG_IGN)
    ready = False
    try:
        for line in lines:
            request = json.loads(line)
            try:
                if not ready:
                    keeper.become_root()
                    ready = True
                reply = handlers[request.pop("do")](**request)
            except Exception as error:
                reply = {"error": f"{type(error).__name__}: {error}"}
            control.sendall(json.dumps(reply).encode() + b"\n")
    finally:
        keeper.end_all()


if __name__ == "__main__":
    main()
