"""Every box held to its word: what probes see of it is what its kind says.

Decides what a kind's probes should see. Refuses to know nodes.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from simulations.nat_kinds import Scope, seen_from_outside
from tests.natlab.kinds import KINDS
from tests.natlab.namespaces import LabError
from tests.natlab.probes import Seen
from tests.natlab.routers import SEQUENCE
from tests.natlab.topology import Lab

PATIENCE: Final = 20.0
"""Seconds for a probe to end. UNSOURCED: one takes a second at most."""

_WORDS: Final = {
    Scope.ENDPOINT_INDEPENDENT: "endpoint-independent",
    Scope.ADDRESS: "address-dependent",
    Scope.ADDRESS_AND_PORT: "address-and-port-dependent",
}


def selftest(kinds: Iterable[str] = tuple(KINDS), report: Callable[[str, str], object] | None = None) -> dict[str, str]:
    """Build one place of each kind and probe it; gives what is wrong by kind, which is empty when nothing is.

    `report(kind, fault)` is called as each is done.
    """
    with tempfile.TemporaryDirectory(prefix="natlab-") as folder, Lab() as lab:
        servers = answering(lab, Path(folder))
        hosts = {kind: lab.host(kind, lab.place(kind, kind)) for kind in kinds}
        faults = {}
        for kind, host in hosts.items():
            into = Path(folder, kind)
            into.mkdir()
            lab.spaces.start(host.space, "tests.natlab.probes:ask", servers[4 if host.v4 else 6], {}, into)
        for kind in hosts:
            said = json.loads(_wait_for(Path(folder, kind, "stdout"), lambda text: text.endswith("\n")))
            faults[kind] = fault_of(kind, Seen(**{**said, "steps": tuple(said["steps"])}))
            if report is not None:
                report(kind, faults[kind])
        return {kind: fault for kind, fault in faults.items() if fault}


def answering(lab: Lab, folder: Path) -> dict[int, tuple[str, str]]:
    """Add a machine in the open that answers probes; gives its two addresses of each version of IP."""
    host = lab.host("server", v6=True)
    # Second addresses on the same cable, which probes take for another machine's.
    v4, v6 = host.v4.rpartition(".")[0] + ".9", host.v6.rpartition("::")[0] + "::9"
    lab.spaces.ip(host.space, f"addr add {v4}/24 dev eth0", f"addr add {v6}/64 dev eth0 nodad")
    pairs = {4: (host.v4, v4), 6: (host.v6, v6)}
    for version, pair in pairs.items():
        into = folder / f"server{version}"
        into.mkdir()
        lab.spaces.start(host.space, "tests.natlab.probes:answer", pair, {}, into)
        _wait_for(into / "stdout", lambda text: "ready" in text)
    return pairs


def fault_of(kind: str, seen: Seen) -> str:
    """What of `seen` is not what the kind claims; empty when all is."""
    claimed = seen_from_outside(KINDS[kind].box)
    if claimed.blocks:
        return "" if (seen.udp, seen.tcp) == (False, True) else f"UDP is to be blocked, and TCP to pass: {seen}"
    sequential = claimed.mapping is not Scope.ENDPOINT_INDEPENDENT and "sequential" in kind
    wanted: dict[str, Any] = {
        "udp": True,
        "tcp": True,
        "translated": KINDS[kind].private,
        "mapping": _WORDS[claimed.mapping],
        "filtering": _WORDS[claimed.filtering],
        "preserves": claimed.mapping is Scope.ENDPOINT_INDEPENDENT,
    }
    wrong = [
        f"{name} is {getattr(seen, name)}, not {want}" for name, want in wanted.items() if getattr(seen, name) != want
    ]
    # Sockets of one host that nothing translates reach each other without any help of the box.
    if KINDS[kind].private and seen.hairpin is not any(box.hairpin for box in KINDS[kind].boxes):
        wrong.append(f"hairpin is {seen.hairpin}")
    if sequential and any(step not in (1, 1 - SEQUENCE[1]) for step in seen.steps):
        wrong.append(f"ports are not in sequence: steps of {seen.steps}")
    if claimed.mapping is not Scope.ENDPOINT_INDEPENDENT and not sequential and all(abs(s) < 8 for s in seen.steps):
        wrong.append(f"ports are not random: steps of {seen.steps}")
    return "; ".join(wrong)


def _wait_for(file: Path, wanted: Callable[[str], bool]) -> str:
    deadline = time.monotonic() + PATIENCE
    while True:
        text = file.read_text() if file.exists() else ""
        if wanted(text):
            return text
        if time.monotonic() > deadline:
            complaints = (file.parent / "stderr").read_text() if (file.parent / "stderr").exists() else ""
            raise LabError(f"a probe said {text!r} within {PATIENCE:.0f} s, and complained: {complaints[-500:]}")
        time.sleep(0.01)
