"""One switch with machines on it, and nothing else: no router, no internet, no first contact.

Decides addresses and cables, and how nodes on such machines are started. Refuses to know what is tried there.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.natlab.namespaces import Namespaces
from tests.natlab.nodes import Daemon
from tests.natlab.topology import Host

SWITCH: Final = "switch"
V4, V6 = "192.168.77", "fd77::"
"""Prefixes of 24 and 64 bits on it."""


class Switch:
    """A bridge that floods everything, and the machines plugged into it. A context manager: when left, all are gone."""

    def __init__(self) -> None:
        self.spaces = Namespaces()
        self._temporary = tempfile.TemporaryDirectory(prefix="lan-")
        self._root = Path(self._temporary.name)
        self.folder = self._root / "0"
        """Of what stands on it now."""
        self._ports = 0
        self._emptied = self._unplugged = 0
        self._pids: list[int] = []
        try:
            self.spaces.add(SWITCH)
            self.spaces.ip(SWITCH, "link add br0 type bridge mcast_snooping 0", "link set br0 up")
            self.folder.mkdir()
            (self._root / "config.toml").write_text("")
            self.spaces.preload()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Switch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        self.spaces.close()
        self._temporary.cleanup()

    def empty(self) -> None:
        """Kill what runs on it and pull every cable: as new, but sooner than a new one."""
        for pid in self._pids:
            self.spaces.signal(pid, signal.SIGKILL)
        self.spaces.ip(SWITCH, *(f"link del port{number}" for number in range(self._unplugged + 1, self._ports + 1)))
        self._pids, self._unplugged = [], self._ports
        self._emptied += 1
        self.folder = self._root / str(self._emptied)
        self.folder.mkdir()

    def start(self, host: Host, main: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path) -> int:
        """Start a function as a process on a machine; returns its id."""
        pid = self.spaces.start(host.space, main, arguments, env, folder)
        self._pids.append(pid)
        return pid

    def host(self, name: str, *, v4: bool = True, v6: bool = False) -> Host:
        """Plug in a machine."""
        host = Host(name, f"host-{name}-{self._emptied}", None)
        self.spaces.add(host.space)
        self.spaces.set(host.space, {"ipv6/conf/all/accept_dad": "0", "ipv6/conf/default/accept_dad": "0"})
        if not v6:
            self.spaces.set(host.space, {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"})
        self.plug(host, "eth0", v4=v4, v6=v6)
        return host

    def plug(self, host: Host, interface: str, *, v4: bool = True, v6: bool = False) -> None:
        """Lay a cable from a machine to the switch, and give it addresses."""
        self._ports += 1
        port = f"port{self._ports}"
        self.spaces.connect(SWITCH, port, host.space, interface)
        self.spaces.ip(SWITCH, f"link set {port} master br0")
        if v4:
            host.v4 = f"{V4}.{(self._ports - self._unplugged) + 1}"
            self.spaces.ip(host.space, f"addr add {host.v4}/24 brd + dev {interface}")
        if v6:
            host.v6 = f"{V6}{(self._ports - self._unplugged) + 1:x}"
            self.spaces.ip(host.space, f"addr add {host.v6}/64 dev {interface} nodad")

    def drop(self, host: Host, *ports: int) -> None:
        """Have a machine's firewall drop what comes in for these UDP ports, its own packets among it."""
        chain = "add table inet lan; add chain inet lan in { type filter hook input priority 0; }"
        rules = "".join(f"; add rule inet lan in udp dport {port} drop" for port in ports)
        self.spaces.run(host.space, ["nft", chain + rules])

    def node(self, host: Host, name: str = "", **settings: str) -> Daemon:
        """Start a node on a machine: with its defaults but for files it takes from everybody."""
        folder = self.folder / (name or host.name)
        own = {
            "ROOKERY_CONFIG": str(self._root / "config.toml"),
            "ROOKERY_DATA_DIR": str(folder),
            "ROOKERY_LISTEN": "::" if host.v6 else "0.0.0.0",
            "ROOKERY_RECEIVE": "accept",
            "ROOKERY_ACCEPT_FROM": "all",
            "ROOKERY_PORT_MAPPING": "false",
        }
        daemon = Daemon(self, host, folder, {**own, **settings})
        self._pids.append(daemon.pid)
        return daemon
