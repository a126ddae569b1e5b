"""The README holds what it says: its commands exist, its links lead somewhere, its Python runs."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from tests.node.node_network import found, network

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted({line.split("#")[0].strip() for line in re.findall(r"^rookery .*$", README, re.MULTILINE)})


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists_with_these_options(command: str) -> None:
    words = shlex.split(command)[1:]
    name = [word for word in words if word.islower() and not word.startswith("-") and "." not in word]
    depth = 2 if name[0] in ("bootstrap", "simulate") else 1
    shown = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [*words[:depth], "--help"])
    assert shown.exit_code == 0, shown.output
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", README))
def test_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


async def test_python_example_greets_a_peer(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    source = code.replace('asyncio.run(main("…"))', "")
    assert source != code
    async with network(tmp_path) as net:
        one, two, _ = await net.servers(3)
        await found(one, two)
        greeted: list[bytes] = []

        async def greet(peer: object, stream: object) -> None:
            greeted.append(await stream.read(100))  # type: ignore[attr-defined]

        two.serve("greeting", greet)

        class Started:
            """Stands in for `Node(NodeConfig())`, which would use this machine's own folders and port."""

            def __init__(self, config: object) -> None: ...

            async def __aenter__(self) -> object:
                return one

            async def __aexit__(self, *_: object) -> None: ...

        scope: dict[str, object] = {}
        exec(compile(source, "README.md", "exec"), scope)
        scope["Node"] = Started
        await scope["main"](two.identity.text)  # type: ignore[operator]
        while not greeted:
            await asyncio.sleep(0.01)
        assert greeted == [b"hello"]
