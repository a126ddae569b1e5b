"""The commands of docs/bootstrap.md, run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from bootstrap.keys import load_key
from dht.identity import NodeKey, to_zbase32
from node.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "bootstrap.md").read_text(encoding="utf-8")


def with_keys(draft, folder):
    """The draft with every name in capitals replaced by the key it stands for."""
    keys = {path.stem.upper(): load_key(path).public.text for path in folder.glob("*.key")}
    keys["NODE"] = to_zbase32(NodeKey.from_secret(b"\x21" * 32).public)
    return re.sub(r'"([A-Z]+)"', lambda found: f'"{keys[found[1]]}"', draft)


def test_the_operators_page_works_as_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draft = ""
    said = ""
    for language, block in re.findall(r"```(sh|toml)\n(.*?)```", PAGE, re.DOTALL):
        if language == "toml":
            draft += block
            continue
        commands = [shlex.split(line) for line in block.splitlines()]
        for command in commands:
            assert command[:2] == ["rookery", "bootstrap"]
            if "draft.toml" in command:
                Path("draft.toml").write_text(with_keys(draft, tmp_path), encoding="utf-8")
            result = CliRunner().invoke(app, command[1:])
            assert result.exit_code == 0, (command, result.output)
            said += result.stdout
    assert said.count("Good: list") == 2
    assert "Rotation 1: complete." in said
