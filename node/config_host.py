"""Settings of where the node lives on its machine: folder, addresses, local API, log.

Decides names, defaults and bounds. Refuses to know where values come from: `node/config.py` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import platformdirs

from node.config_values import FilePath, Ip, Loopback, Lower, Settings, SocketPath, setting

DEFAULT_PORT: Final = 7716
"""Unassigned in IANA's Service Name and Transport Protocol Port Number Registry (7709-7719, edition of 2020)."""


def _default_data_dir() -> Path:
    return platformdirs.user_data_path("rookery")


class HostSettings(Settings):
    """Where the node lives on its machine: folder, addresses, local API, log."""

    data_dir: FilePath = setting(
        _default_data_dir,
        "Folder of the node's keys and journal. Each node on a machine needs its own.",
        allowed="a folder's path",
        source="platformdirs: where this system keeps a user's data",
        path=True,
    )
    listen: Ip = setting(
        "::",
        "Address the node and its links listen on; `::` takes IPv4 and, where the machine has it, IPv6.",
        allowed="an IP address of this machine, 0.0.0.0 or ::",
        source="all interfaces (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.2)",
    )
    port: int = setting(
        DEFAULT_PORT,
        "UDP port. 0 takes any free one. The default gives way to any free one when it is taken; a port that was "
        "asked for does not.",
        allowed="a whole number, 0-65535",
        source="unassigned at IANA (7709-7719, registry of 2020)",
        ge=0,
        le=65535,
    )
    api: SocketPath | None = setting(
        None,
        "Unix socket of the local API. By default `api.sock` in data_dir, or, when that path is too long for a "
        "socket, one in this user's run-time folder.",
        allowed="a path of at most 103 bytes (104 with its NUL: unix(4) on macOS)",
        source="beside the data it gives access to",
        path=True,
    )
    api_http: Loopback | None = setting(
        None,
        "Also serve the local API over HTTP there, to whoever has the token that lies in data_dir.",
        allowed="127.0.0.1:PORT or [::1]:PORT",
        source="off: nothing listens that was not asked for",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = setting(
        "info",
        "The least important messages that are still logged.",
        allowed="debug, info, warning or error",
        source="UNSOURCED",
    )
    log_json: bool = setting(
        False,
        "Log one JSON object a line.",
        allowed="true or false",
        source="people read logs before programs do",
    )
