"""The suite, from one process, against a node in another: over real sockets, in both families."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.node.test_cli_node import Running, command

LONGEST = 240.0
"""Seconds that a run may take: some 60 on a machine with nothing else to do."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_node_process_passes_every_quick_check(tmp_path: Path, host: str) -> None:
    common = ("--listen", host, "--port", "0", "--mode", "server", "--include-loopback", "--network", "conformance")
    first = Running(tmp_path / "first", *common)
    second = Running(tmp_path / "second", *common, "--contact", first.ready["contact"])
    try:
        checked = command("conformance", first.ready["contact"], "--network", "conformance", "--json")
        result = subprocess.run(checked, capture_output=True, timeout=LONGEST, check=False)
    finally:
        assert [node.end()[0] for node in (second, first)] == [0, 0]
    document = json.loads(result.stdout)
    wrong = {each["name"]: (each["outcome"], each["reason"]) for each in document["checks"]}
    assert {name: why for name, why in wrong.items() if why[0] not in ("passed", "skipped")} == {}
    assert result.returncode == 0
    assert document["passed"] == 50
