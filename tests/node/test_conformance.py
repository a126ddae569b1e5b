"""Our own node passes the suite; a node that breaks one rule fails the checks of that rule, and no others."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dht.contact import Contact
from dht.identity import to_zbase32
from node.cli import app
from node.config import NodeConfig
from node.conformance import suite
from node.node import Node
from tests.node import conformance_doubles_batches, conformance_doubles_tokens, conformance_doubles_watches
from tests.node.conformance_doubles import DOUBLES
from tests.node.conformance_lab import HOST, HOST6, Lab, verdicts

ROOT = Path(__file__).resolve().parents[2]
assert conformance_doubles_tokens, conformance_doubles_batches  # They add to DOUBLES.
assert conformance_doubles_watches
NEAR = "127.0.0.1"
NEAR_ALONE = {"wait", "wait-token"}
"""What can be judged from the node's own machine alone: elsewhere one network may not crowd a topic."""
KEY = to_zbase32(bytes(range(32)))


@pytest.mark.parametrize("host, unjudged", [(NEAR, set()), ("::1", set()), (HOST, NEAR_ALONE), (HOST6, NEAR_ALONE)])
async def test_our_own_node_passes_every_check(host: str, unjudged: set[str]) -> None:
    found = await verdicts(Lab(host=host))
    wrong = {name: (v.outcome, v.reason) for name, v in found.items() if v.outcome != "passed"}
    assert {name for name, (outcome, _) in wrong.items() if outcome == "unjudged"} == unjudged
    assert set(wrong) == unjudged, wrong
    assert list(found) == list(suite.CHECKS)


@pytest.mark.parametrize("what", DOUBLES)
async def test_a_broken_node_fails_the_right_checks(what: str) -> None:
    breakage, failing = DOUBLES[what]
    costly = {name for name in failing if suite.load()[name].thorough}
    host = NEAR if failing & NEAR_ALONE else HOST
    found = await verdicts(Lab(breakage, host), thorough=bool(costly))
    assert {name for name, verdict in found.items() if verdict.outcome == "failed"} == failing, {
        name: (verdict.outcome, verdict.reason)
        for name, verdict in found.items()
        if verdict.outcome not in ("passed", "skipped")
    }
    assert all(found[name].reason for name in failing)


def test_every_check_has_a_node_that_fails_it() -> None:
    assert {name for _, failing in DOUBLES.values() for name in failing} == set(suite.load())


def test_the_documentation_lists_every_check_with_its_rule() -> None:
    text = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    headings = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").splitlines()
    for each in suite.load().values():
        assert f"| `{each.name}`{' (--thorough)' if each.thorough else ''} | {each.part} | {each.rule} |" in text
        assert f"## {each.part}" in headings or f"### {each.part}" in headings, f"{each.name}: no part {each.part!r}"


class TestCommand:
    async def test_a_node_of_ours_passes_over_udp(self, tmp_path: Path) -> None:
        config = NodeConfig(data_dir=tmp_path, listen="127.0.0.1", port=0, mode="server", network="conformance")
        async with Node(config) as node:
            contact = Contact(node.driver.engine.own_key, ("127.0.0.1", node.inside.datagrams.port))
            names = only(
                "ping", "malformed-box", "token-missing", "token-address", "put-get", "stun", "dial-back", "watch"
            )
            arguments = ["conformance", contact.text, "--network", "conformance", "--json", *names]
            result = await asyncio.to_thread(invoke, *arguments)
        document = json.loads(result.stdout)
        assert {each["name"]: each["reason"] for each in document["checks"] if each["outcome"] != "passed"} == {}
        assert (result.exit_code, document["ok"], document["passed"]) == (0, True, 8)

    def test_a_port_where_nobody_is_fails_and_the_rest_is_unjudged(self) -> None:
        nobody = f"{KEY}@127.0.0.1:9"
        result = invoke("conformance", nobody, *only("ping", "stun"))
        assert result.exit_code == 1
        assert "no answer to Ping" in result.stdout and "1 failed, 1 unjudged" in result.stdout

    @pytest.mark.parametrize(
        "args, said",
        [
            ([], "say which node"),
            (["127.0.0.1:4001"], "say which it has"),
            (["127.0.0.1:4001", "--key", "short"], "52 characters"),
            ([f"{KEY}@127.0.0.1:4001", "--key", KEY[::-1]], "another node key"),
            ([f"{KEY}@example:4001"], "not an IP address"),
            ([f"{KEY}@127.0.0.1:4001", "--only", "nothing"], "no check 'nothing'"),
        ],
    )
    def test_bad_input_is_said(self, args: list[str], said: str) -> None:
        result = invoke("conformance", *args)
        assert result.exit_code == 2
        assert said in result.stderr

    def test_the_checks_are_listed(self) -> None:
        document = json.loads(invoke("conformance", "--list", "--json").stdout)
        assert [each["name"] for each in document["checks"]] == list(suite.load())
        assert "malformed-box" in invoke("conformance", "--list").stdout


def only(*names: str) -> list[str]:
    return [part for name in names for part in ("--only", name)]


def invoke(*args: str) -> Result:
    return CliRunner().invoke(app, list(args), catch_exceptions=False)
