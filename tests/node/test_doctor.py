"""What is wrong with a node's network: every circumstance has its finding, and advice."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dht.nat_report import Filtering, Mapping, NatReport
from node import cli_session
from node.cli import app
from node.node_diagnosis import diagnose
from node.node_facts import Facts, Finding, Loss
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
    mapping_asked=True,
    reached_over=frozenset({4, 6}),
    homes=3,
)


def found(**changed: object) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(replace(WELL, **changed))}  # type: ignore[arg-type]


def test_a_healthy_node_has_nothing_but_good_findings() -> None:
    assert {finding.state for finding in found().values()} == {"ok"}


CLIENT: dict[str, object] = {"mode": "client", "mode_reason": "nobody reached it"}
NO_IPV4, ONLY_4 = frozenset({6}), frozenset({4})
CONE, STRICT = Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT

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
    (
        "a carrier's address",
        {"own": "100.64.9.9", "mapped": None, "mapping_asked": False},
        "router",
        "problem",
        "translates for many",
    ),
    ("another outside address", {"mapped": ("198.51.100.9", 4000)}, "router", "problem", "others see 203.0.113.5"),
    ("symmetric", {"nat": NatReport(Mapping.ADDRESS_AND_PORT_DEPENDENT)}, "router", "note", "symmetric"),
    ("no router", {"nat": NatReport(Mapping.NONE)}, "router", "ok", "no router"),
    ("a full cone", {}, "router", "ok", "every peer reaches this node directly"),
    ("a restricted cone", {"reached_over": NO_IPV4}, "router", "ok", "restricted cone"),
    (
        "filtered by port",
        {"reached_over": NO_IPV4, "nat": NatReport(CONE, STRICT)},
        "router",
        "ok",
        "at that address and port",
    ),
    ("a firewall", {"reached_over": NO_IPV4, "nat": NatReport(Mapping.NONE)}, "router", "ok", "its firewall lets in"),
    ("a port mapped", {}, "mapping", "ok", "forwards 203.0.113.5 port 4000"),
    (
        "mapping refused",
        {"mapped": None, "mapping_problem": "PCP: not authorised", "reached_over": NO_IPV4},
        "mapping",
        "note",
        "not authorised",
    ),
    ("no mapping needed", {"mapped": None, "mapping_problem": "nobody answers"}, "mapping", "ok", "nor is one needed"),
    ("mapping pending", {"mapped": None}, "mapping", "unknown", "not answered yet"),
    ("IPv4 by its settings", {"listen": "0.0.0.0"}, "ipv6", "note", "listens on 0.0.0.0, which is IPv4 alone"),
    ("no IPv6", {"ipv6": False}, "ipv6", "note", "no way out by IPv6"),
    ("IPv6 closed", {"reached_over": ONLY_4, "mapping_problem_v6": "PCP: no answer"}, "ipv6", "note", "PCP: no answer"),
    (
        "IPv6 with nobody to tell",
        {"reached_over": frozenset(), "joined": False},
        "ipv6",
        "unknown",
        "nobody outside was there",
    ),
    ("a pinhole nobody uses", {"reached_over": ONLY_4, "mapped_v6": ("2001:db8::1", 4000)}, "ipv6", "note", "pinhole"),
    (
        "no home nodes",
        {"mode": "client", "mode_wanted": "client", "homes": 0},
        "homes",
        "problem",
        "nobody can call it",
    ),
    ("few home nodes", {"mode": "client", "mode_wanted": "client", "homes": 1}, "homes", "note", "1 of 3"),
    ("home nodes", {"mode": "client", "mode_wanted": "client"}, "homes", "ok", "3 home nodes"),
    ("few contacts", {"contacts": 3}, "contacts", "note", "only 3 nodes"),
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


def test_what_is_not_asked_or_not_needed_is_no_finding() -> None:
    assert "mapping" not in found(mapping_asked=False)
    assert "homes" not in found(mode="server", homes=0)
    assert "contacts" not in found(joined=False, contacts=0)


def test_names_and_states_are_those_of_the_documents() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    section = text.partition("### `doctor`")[2].partition("###")[0]
    seen = {one.name: one for case in CASES for one in diagnose(replace(WELL, **case[1]))}  # type: ignore[arg-type]
    assert [name for name in seen if f"`{name}`" not in section] == []
    assert {one.state for one in seen.values()} <= {"ok", "note", "problem", "unknown"}


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


def test_with_no_node_running_one_looks_around_in_its_own_role_first(rookery, monkeypatch) -> None:
    slept: list[float] = []
    modes: list[str] = []

    async def sleep(seconds: float, result: object = None) -> None:
        slept.append(seconds)

    def usual(config):
        modes.append(cli_session.as_usual(config).mode)
        return cli_session.as_usual(config)

    monkeypatch.setattr("node.cli_doctor.as_usual", usual)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    result = rookery(WELL, "--observe", "7")
    assert result.exit_code == 0 and 7.0 in slept and modes == ["auto"]
    assert "looking for 7 s" in result.stderr
    assert "looking" not in rookery(WELL, "--observe", "0").stderr
    assert rookery(WELL, "--observe", "900").exit_code == 2


def test_ctrl_c_while_it_looks_around_stops_the_node(rookery, monkeypatch) -> None:
    stopped = []

    async def interrupted(seconds: float, result: object = None) -> None:
        raise asyncio.CancelledError

    left = FakeNode.__aexit__

    async def leave(self, *args):
        stopped.append(self)
        return await left(self, *args)

    monkeypatch.setattr(FakeNode, "__aexit__", leave)
    monkeypatch.setattr(asyncio, "sleep", interrupted)
    outcome = rookery(WELL)
    assert len(stopped) == 1
    assert outcome.exit_code != 0 and "Traceback" not in outcome.output


def test_the_command_says_what_to_do_and_fails(rookery) -> None:
    result = rookery(replace(WELL, burst=Loss(80, 30), list_expired=True), "--observe", "0")
    assert result.exit_code == 1
    assert "✗ loss" in result.stdout and "→" in result.stdout and "✓ clock" in result.stdout
    assert "2 problems" in result.stderr


def test_a_healthy_node_is_exit_code_0(rookery) -> None:
    assert rookery(WELL, "--observe", "0").exit_code == 0
    document = json.loads(rookery(WELL, "--json", "--observe", "0").stdout)
    assert document["healthy"] and {each["state"] for each in document["findings"]} == {"ok"}
