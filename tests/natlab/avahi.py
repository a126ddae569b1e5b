"""Avahi on a machine of the laboratory: mDNS by somebody who knows nothing of us.

Decides how avahi-daemon is run beside the machine's own one: with a D-Bus of its own, and its fixed folders
(/run/avahi-daemon, /etc/avahi/services) in a mount namespace. Refuses to know what is announced.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

MAIN: Final = "tests.natlab.avahi:main"

CONFIG: Final = """[server]
host-name=elsewhere
use-ipv4=yes
use-ipv6=yes
allow-interfaces=eth0
enable-dbus=yes
[publish]
publish-workstation=no
[rlimits]
"""

BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
  </policy>
</busconfig>
"""

START: Final = """set -e
mount -t tmpfs tmpfs /run
mount --bind "$PWD/services" /etc/avahi/services
setpriv --pdeathsig KILL dbus-daemon --config-file=bus.conf --nofork --nopidfile &
while [ ! -S bus ]; do sleep 0.02; done
exec avahi-daemon -f avahi.conf --no-drop-root --no-chroot --no-rlimits
"""


def prepare(folder: Path, services: Mapping[str, tuple[int, Mapping[str, bytes]]]) -> dict[str, str]:
    """Write its files; `services`: name → UDP port and TXT properties. Gives the environment of Avahi's tools."""
    (folder / "services").mkdir(parents=True)
    (folder / "avahi.conf").write_text(CONFIG)
    (folder / "bus.conf").write_text(BUS.format(path=folder / "bus"))
    for name, (port, properties) in services.items():
        records = "".join(
            f'<txt-record value-format="binary-hex">{key}={value.hex()}</txt-record>'
            for key, value in properties.items()
        )
        (folder / "services" / f"{name}.service").write_text(
            '<?xml version="1.0" standalone="no"?><!DOCTYPE service-group SYSTEM "avahi-service.dtd">'
            f"<service-group><name>{name}</name><service><type>_rookery._udp</type>"
            f"<port>{port}</port>{records}</service></service-group>"
        )
    return {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder / 'bus'}"}


def main(arguments: Sequence[str]) -> NoReturn:
    """Become avahi-daemon; the working folder is the prepared one."""
    os.execvp("unshare", ["unshare", "--mount", "sh", "-c", START])
