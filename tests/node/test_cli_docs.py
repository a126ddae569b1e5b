"""docs/cli.md and docs/api.md say what there is: no more, no less."""

import re
from pathlib import Path

import pytest
import typer

from node.api import Api
from node.cli import app
from tests.node.fake_node import FakeNode

ROOT = Path(__file__).resolve().parents[2]
CLI = (ROOT / "docs" / "cli.md").read_text("utf-8")
API = (ROOT / "docs" / "api.md").read_text("utf-8")
SHARED = {"--help", "-h"}


def sections(text):
    """Heading → text below it, of the headings whose name stands in backticks."""
    parts = re.split(r"^### `([^`]+)`\n", text, flags=re.MULTILINE)
    return {
        head: re.split(r"^## ", body, flags=re.MULTILINE)[0]
        for head, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def commands(command=None, name=()):
    """Every command that does something, by its words."""
    command = command or typer.main.get_command(app)
    inner = getattr(command, "list_commands", None)
    if inner is None:
        yield " ".join(name), command
        return
    if name and getattr(command, "invoke_without_command", False):
        yield " ".join(name), command  # A group that does something itself.
    for each in inner(None):
        yield from commands(command.get_command(None, each), (*name, each))


COMMANDS = dict(commands())
DOCUMENTED = {re.sub(r" \[?[A-Z].*", "", head.removeprefix("rookery ")): text for head, text in sections(CLI).items()}


def test_every_command_is_documented_and_none_that_is_not_there():
    assert set(DOCUMENTED) == set(COMMANDS)


@pytest.mark.parametrize(
    "name", sorted(set(COMMANDS) - {f"bootstrap {tool}" for tool in ("keygen", "sign", "verify", "show")})
)
def test_the_options_of_a_command_are_those_documented(name):
    own = {opt for param in COMMANDS[name].params if param.param_type_name == "option" for opt in param.opts}
    table = {
        flag
        for row in re.findall(r"^\| (`-.*?) \|", DOCUMENTED[name], re.MULTILINE)
        for flag in re.findall(r"`(-[^`]+)`", row)
    }
    mentioned = set(re.findall(r"`(--?[a-z][a-z-]*)", DOCUMENTED[name]))
    assert own - SHARED <= mentioned
    assert table <= own


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_headings_name_the_arguments(name):
    head = next(head for head in sections(CLI) if re.sub(r" \[?[A-Z].*", "", head) == f"rookery {name}")
    given = re.findall(r"[A-Z][A-Z|]*", head)
    arguments = [param for param in COMMANDS[name].params if param.param_type_name == "argument"]
    assert given == [(param.metavar or param.name).strip("[]").upper() for param in arguments]


def test_every_api_command_is_documented():
    assert set(sections(API)) == set(Api(FakeNode()).commands)  # type: ignore[arg-type]


def test_every_api_parameter_is_documented():
    source = "".join(path.read_text("utf-8") for path in sorted((ROOT / "node").glob("api*.py")))
    read = set(re.findall(r'params\.[a-z_]+\(\s*"([a-z_0-9]+)"', source)) | {"peer"}
    documented = {
        name for text in sections(API).values() for name in re.findall(r"^\| `([a-z_0-9]+)` \|", text, re.MULTILINE)
    }
    assert documented == read
