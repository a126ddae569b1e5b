"""What a box does, found out with plain sockets: the tests of RFC 5780, and a few it has no words for.

Decides which packets show a mapping, a filter, a hairpin and a family that passes. `answer` runs on a machine in the
open with two addresses, `ask` on a host behind the box; both are started by the laboratory in their namespaces. Refuses
to know what the box was meant to be.

One datagram is a few words: `seen` asks for the address it came from; `from other` and `from port` ask for that from
another address or port of the same machine.
"""

from __future__ import annotations

import itertools
import json
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

PORTS: Final = (3478, 3479)
"""STUN's (RFC 8489 section 18.6), and the next."""

PATIENCE: Final = 0.15
"""Seconds that nothing must come in for it to be filtered. UNSOURCED: a round trip here takes a tenth of a
millisecond, and is tried twice."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the probes saw."""

    udp: bool
    """Whether a datagram goes out and an answer comes back."""
    tcp: bool
    translated: bool = False
    """Whether we are seen at an address that is not ours."""
    mapping: str = ""
    """endpoint-independent, address-dependent or address-and-port-dependent (RFC 5780 section 4.3)."""
    filtering: str = ""
    """The same words (section 4.4)."""
    preserves: bool = False
    """Whether the outside port is the inside one."""
    steps: tuple[int, ...] = ()
    """Differences between the outside ports of one inside port, in the order in which they were made."""
    hairpin: bool = False
    """Whether two of our sockets reach each other by their outside addresses."""


def answer(addresses: Sequence[str]) -> int:
    """Answer on both ports of both addresses until killed; the line `ready` on standard output says when."""
    sockets = {(ip, port): _udp(ip, port) for ip in addresses for port in PORTS}
    listener = socket.create_server((addresses[0], PORTS[0]), family=_family(addresses[0]))
    print("ready", flush=True)
    while True:
        for one in select.select([*sockets.values(), listener], [], [])[0]:
            if one is listener:
                one.accept()[0].close()
                continue
            data, source = one.recvfrom(2048)
            ip, port = one.getsockname()[:2]
            words = data.decode().split()
            other = addresses[1 - list(addresses).index(ip)]
            sender = {"other": (other, PORTS[1]), "port": (ip, PORTS[1])}.get(words[-1], (ip, port))
            sockets[sender].sendto(json.dumps(source[:2]).encode(), source)


def ask(arguments: Sequence[str]) -> int:
    """Probe from here by way of the two addresses of `answer`, and print a `Seen` as JSON."""
    print(json.dumps(asdict(probe(arguments[0], arguments[1]))), flush=True)
    return 0


def probe(first: str, second: str) -> Seen:
    """Send the probes; `first` and `second` are the addresses that answer."""
    any_ip = "::" if ":" in first else "0.0.0.0"
    tcp = _connects(first)
    with _udp(any_ip, 0) as ours:
        seen = _seen(ours, (first, PORTS[0]))
        if seen is None:
            return Seen(False, tcp)
        far = [_seen(ours, address) for address in ((second, PORTS[0]), (second, PORTS[1]))]
        if far[0] == seen == far[1]:
            mapping = "endpoint-independent"
        else:
            mapping = "address-dependent" if far[0] == far[1] else "address-and-port-dependent"
        ports = [seen[1], *(one[1] for one in far if one is not None)]
        steps = tuple(after - before for before, after in itertools.pairwise(ports))
        port = ours.getsockname()[1]
    # A socket that has written to one address only: to all others it is a stranger's.
    with _udp(any_ip, 0) as fresh:
        if _seen(fresh, (first, PORTS[0]), "from other") is not None:
            filtering = "endpoint-independent"
        elif _seen(fresh, (first, PORTS[0]), "from port") is not None:
            filtering = "address-dependent"
        else:
            filtering = "address-and-port-dependent"
    return Seen(
        udp=True,
        tcp=tcp,
        translated=seen[0] != _own_address(first),
        mapping=mapping,
        filtering=filtering,
        preserves=seen[1] == port,
        steps=steps,
        hairpin=_hairpins(any_ip, (first, PORTS[0])),
    )


def _hairpins(any_ip: str, server: tuple[str, int]) -> bool:
    with _udp(any_ip, 0) as one, _udp(any_ip, 0) as other:
        seen = _seen(one, server), _seen(other, server)
        if seen[0] is None or seen[1] is None:
            return False
        for _ in range(2):  # Twice: of two that filter, the first to write only opens its own filter.
            one.sendto(b"hairpin", seen[1])
            other.sendto(b"hairpin", seen[0])
        return bool(select.select([one], [], [], PATIENCE)[0])


def _seen(ours: socket.socket, server: tuple[str, int], words: str = "seen") -> tuple[str, int] | None:
    """Where the server sees us; None when no answer comes."""
    for _ in range(2):
        try:
            ours.sendto(words.encode(), server)
        except OSError:  # There is no way out at all.
            return None
        deadline = time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0 and select.select([ours], [], [], left)[0]:
            ip, port = json.loads(ours.recv(2048))
            return str(ip), int(port)
    return None


def _connects(server: str) -> bool:
    try:
        socket.create_connection((server, PORTS[0]), timeout=1.0).close()
    except OSError:
        return False
    return True


def _own_address(server: str) -> str:
    """The address that the system would write to the server from."""
    with socket.socket(_family(server), socket.SOCK_DGRAM) as trial:
        trial.connect((server, PORTS[0]))
        return str(trial.getsockname()[0])


def _udp(ip: str, port: int) -> socket.socket:
    made = socket.socket(_family(ip), socket.SOCK_DGRAM)
    made.bind((ip, port))
    return made


def _family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET
