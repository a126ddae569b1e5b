"""What is wrong with a node's network: every circumstance has its finding, and advice."""

import json
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from dht.nat_report import Mapping, NatReport
from node import cli_session
from node.cli import app
from node.node_diagnosis import Facts, Finding, Loss, diagnose
from simulations.events import EventQueue
from simulations.hops import Drop
from simulations.latency import Constant
from simulations.loop import run as run_virtually
from simulations.network import Network
from simulations.randomness import Streams
from tests.node.fake_node import FakeNode
from tests.node.node_network import VirtualNetwork

WELL = Facts(
    joined=True,
    contacts=40,
    first_contacts=3,
    sent=500,
    received=480,
    single=Loss(16, 16),
    burst=Loss(80, 79),
    clock_offset=0.4,
    nat=NatReport(Mapping.ENDPOINT_INDEPENDENT),
    own="192.168.1.7",
    public=("203.0.113.5", 4000),
    mapped=("203.0.113.5", 4000),
    mode="server",
    mode_reason="3 of 3 reached it",
    lists=1,
    list_found=True,
)


def found(**changed: object) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(replace(WELL, **changed))}  # type: ignore[arg-type]


def test_a_healthy_node_has_nothing_but_good_findings() -> None:
    assert {finding.state for finding in found().values()} == {"ok"}


CLIENT = {"mode": "client", "mode_reason": "nobody reached it"}

CASES: list[tuple[str, dict[str, object], str, str, str]] = [
    ("no UDP", {"joined": False, "contacts": 0, "sent": 60, "received": 0}, "udp", "problem", "none came back"),
    ("another network", {"joined": False, "contacts": 0, "received": 9}, "udp", "problem", "takes us in"),
    ("no first contact", {"joined": False, "contacts": 0, "first_contacts": 0}, "udp", "unknown", "knows nobody"),
    ("a gateway in between", {"tunnel": True}, "udp", "note", "over TCP"),
    ("nobody stored the record", {"stored": 0, "asked": 20}, "record", "problem", "none of 20"),
    ("the record is held", {"stored": 18, "asked": 20}, "record", "ok", "18 of 20"),
    ("mDNS blocked", {"lan_problems": ("mDNS is blocked",)}, "local", "note", "mDNS"),
    ("throttled", {"burst": Loss(80, 30)}, "loss", "problem", "throttled"),
    ("a bad line", {"single": Loss(20, 12), "burst": Loss(60, 30)}, "loss", "problem", "40%"),
    ("too few to ask", {"single": Loss(3, 3)}, "loss", "unknown", "too few"),
    ("clock a day behind", {"clock_offset": 86400.0}, "clock", "problem", "24.0 h behind"),
    ("clock an hour ahead", {"clock_offset": -3600.0}, "clock", "problem", "60 min ahead of"),
    ("clock two minutes off", {"clock_offset": 100.0}, "clock", "note", "100 s behind"),
    ("nobody told the time", {"clock_offset": None}, "clock", "unknown", "fewer than three"),
    ("two routers", {"mapped": ("192.168.0.2", 4000)}, "router", "problem", "private one"),
    ("a carrier's router", {"mapped": ("100.70.1.2", 4000)}, "router", "problem", "a carrier's"),
    ("a carrier's address", {"own": "100.64.9.9", "mapped": None}, "router", "problem", "translates for many"),
    ("another outside address", {"mapped": ("198.51.100.9", 4000)}, "router", "problem", "others see 203.0.113.5"),
    ("symmetric", {"nat": NatReport(Mapping.ADDRESS_AND_PORT_DEPENDENT)}, "router", "note", "symmetric"),
    ("no router", {"nat": NatReport(Mapping.NONE)}, "router", "ok", "no router"),
    ("unknown router", {"nat": NatReport()}, "router", "unknown", "too few"),
    ("not reached", {**CLIENT, "mapping_problem": "PCP: no answer"}, "reached", "note", "PCP: no answer"),
    ("a client by its settings", {**CLIENT, "mode_wanted": "client"}, "reached", "ok", "by its settings"),
    ("a stale list", {"list_expired": True}, "list", "problem", "stale"),
    ("no list", {"list_found": False, "list_detail": "file: not there"}, "list", "problem", "file: not there"),
    ("a list that was not needed", {"list_found": False}, "list", "ok", "was needed"),
    ("a full disk", {"journal_problem": "no space left"}, "journal", "problem", "no space left"),
]


@pytest.mark.parametrize("circumstance, changed, name, state, words", CASES, ids=[case[0] for case in CASES])
def test_a_circumstance_has_its_finding(
    circumstance: str, changed: dict[str, object], name: str, state: str, words: str
) -> None:
    findings = found(**changed)
    assert findings[name].state == state
    assert words in findings[name].text
    assert bool(findings[name].advice) or state in ("ok", "unknown", "note")
    # What is well stays so.
    others = {each.state for each in findings.values() if each.name not in (name, "list", "udp")}
    assert others == {"ok"}


def test_no_list_configured_is_no_finding() -> None:
    assert "list" not in found(lists=0)


@pytest.mark.parametrize("limit, state", [(None, "ok"), (10, "problem")])
def test_a_line_that_holds_bursts_back_is_noticed(tmp_path, limit: int | None, state: str) -> None:
    """A router on the way lets ten datagrams of the node through in a twentieth of a second, and no more."""
    simulated = Network(EventQueue(), Streams(1), latency=Constant(0.02))

    async def main() -> None:
        async with AsyncExitStack() as stack:
            net = VirtualNetwork(tmp_path, stack)
            one = await net.start("one", listen="10.0.0.1")
            for number in range(1, 6):
                await net.start(f"n{number}", listen=f"10.0.1.{number}")
            assert await one.wait_joined(30)
            slots: dict[int, int] = {}

            def throttle(src, dst, size, now):
                if limit is None or src[0] != "10.0.0.1":
                    return None
                slot = int(now / 0.05)
                slots[slot] = slots.get(slot, 0) + 1
                return Drop("throttled") if slots[slot] > limit else None

            simulated.add_fault(throttle)
            findings = {finding.name: finding for finding in await one.examine()}
            assert findings["udp"].state == "ok"
            assert findings["loss"].state == state, findings["loss"].text
            assert ("throttled" in findings["loss"].text) is (state == "problem")

    run_virtually(main(), simulated)


def test_no_udp_at_all_is_noticed(tmp_path) -> None:
    simulated = Network(EventQueue(), Streams(1), latency=Constant(0.02))

    async def main() -> None:
        async with AsyncExitStack() as stack:
            net = VirtualNetwork(tmp_path, stack)
            await net.start("one", listen="10.0.0.1")
            simulated.add_fault(lambda src, dst, size, now: Drop("firewall"))
            two = await net.start("two", listen="10.0.0.2")
            assert not await two.wait_joined(20)
            findings = {finding.name: finding for finding in await two.examine()}
            assert findings["udp"].state == "problem" and "none came back" in findings["udp"].text

    run_virtually(main(), simulated)


@pytest.fixture
def rookery(monkeypatch, tmp_path):
    """The command with a node in memory, whose facts are those given."""
    monkeypatch.setenv("ROOKERY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROOKERY_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")

    def run(facts, *args):
        def node_for(config):
            node = FakeNode(config)
            node.facts = facts
            return node

        monkeypatch.setattr(cli_session, "node_for", node_for)
        return CliRunner().invoke(app, ["doctor", *args], catch_exceptions=False)

    return run


def test_the_command_says_what_to_do_and_fails(rookery) -> None:
    result = rookery(replace(WELL, burst=Loss(80, 30), list_expired=True))
    assert result.exit_code == 1
    assert "✗ loss" in result.stdout and "→" in result.stdout and "✓ clock" in result.stdout
    assert "2 problems" in result.stderr


def test_a_healthy_node_is_exit_code_0(rookery) -> None:
    assert rookery(WELL).exit_code == 0
    document = json.loads(rookery(WELL, "--json").stdout)
    assert document["healthy"] and {each["state"] for each in document["findings"]} == {"ok"}
