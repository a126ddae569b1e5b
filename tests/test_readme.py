"""The README holds what it says: its commands exist, its links lead somewhere, its Python runs."""

from __future__ import annotations

import asyncio
import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.node import Node, NodeParts
from tests.node.node_network import network

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted({line.split("#")[0].strip() for line in re.findall(r"^rookery .*$", README, re.MULTILINE)})


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists_with_these_options(command: str) -> None:
    words = shlex.split(command)[1:]
    name = [word for word in words if word.islower() and not word.startswith("-") and "." not in word]
    depth = 2 if name[0] in ("bootstrap", "simulate", "book", "topic") else 1
    shown = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [*words[:depth], "--help"])
    assert shown.exit_code == 0, shown.output
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", README))
def test_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


async def test_python_example_meets_and_exchanges_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    source = code.replace('asyncio.run(main("me"))', "")
    assert source != code
    body = [line for line in source[source.index("async def") :].splitlines() if line.strip()]
    assert len(body) <= 10
    async with network(tmp_path) as net:
        # The example's nodes use a first contact and folders of the test's in place of this machine's own.
        await net.servers(2)
        numbers = itertools.count()
        scope: dict[str, Any] = {}
        exec(compile(source, "README.md", "exec"), scope)
        scope["NodeConfig"] = lambda: net.config(f"example{next(numbers)}", mode="client")
        scope["Node"] = lambda config: Node(config, NodeParts(**net.parts))
        running = [asyncio.ensure_future(scope["main"](name)) for name in ("one", "two")]
        said = ""
        async with asyncio.timeout(60):
            while not ("hello from one" in said and "hello from two" in said):
                await asyncio.sleep(0.05)
                said += capsys.readouterr().out
                assert not any(task.done() for task in running), running
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert "PeerJoined" in said and "Message" in said
