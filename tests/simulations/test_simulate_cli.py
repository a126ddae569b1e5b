"""`rookery simulate …` as people and scripts meet it: words, files, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from node.cli_exit import RookeryGroup
from simulations.cli import app
from simulations.cli_play import _nodes
from simulations.cli_spec import complete_names
from simulations.executors import Here, Job, Unplayable
from simulations.metrics import SeedResult
from simulations.results import RunFolder
from simulations.settings import RunSpec
from tests.simulations.quick_script import quick_script

root = typer.Typer(name="rookery", cls=RookeryGroup, pretty_exceptions_enable=False)
root.callback()(lambda: None)
root.add_typer(app)


class Said:
    """What a command left."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def document(self) -> Any:
        """The JSON it printed, which is all that it printed."""
        return json.loads(self.out)


@pytest.fixture
def simulate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs `rookery simulate` in a folder that holds quick.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    quick_script(tmp_path)

    def call(*arguments: str) -> Said:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["rookery", "simulate", *arguments])
        with pytest.raises(SystemExit) as ended:
            typer.main.get_command(root).main(["simulate", *arguments])
        out, err = capfd.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0, out, err)

    return call


def test_help_lists_the_commands(simulate: Any) -> None:
    said = simulate("--help")
    for command in ("list", "run", "sweep", "compare", "replay", "report"):
        assert f" {command} " in said.out


def test_scenarios_are_listed(simulate: Any) -> None:
    said = simulate("list")
    assert said.code == 0
    assert "story " in said.out
    assert "mass-death " in said.out
    documents = {one["name"]: one for one in simulate("list", "--json").document}
    assert documents["story"]["engines"] == ["protocol"]
    needed = {one["name"]: one["needed"] for one in documents["story"]["parameters"]}
    assert needed == {"nodes": True, "steps": True}


def test_one_scenario_is_described_with_types_defaults_and_bounds(simulate: Any) -> None:
    said = simulate("list", "quick.py")
    assert "quick: A quick one" in said.out
    assert "Waits, and fails as told." in said.out
    document = simulate("list", "quick.py", "--json").document
    wait = next(one for one in document["parameters"] if one["name"] == "wait")
    assert wait == {
        "name": "wait", "type": "number", "default": 10.0, "needed": False, "bounds": "", "description": ""
    }  # fmt: skip
    world = {one["name"]: one for one in document["world"]}
    assert world["loss"]["bounds"] == "≥ 0, ≤ 1"
    assert world["seal"]["bounds"] == "real or cheap"
    # What the scenario changes of its world is its default.
    assert world["latency"]["default"] == "constant:10ms"
    unknown = simulate("list", "stroy")
    assert unknown.code == 2
    assert "there is no scenario 'stroy': did you mean 'story'?" in unknown.err


def test_a_run_is_kept_and_shown(simulate: Any) -> None:
    said = simulate("run", "quick.py", "--seeds", "2", "--jobs", "1", "--out", "there", "--wait", "5", "--csv")
    assert said.code == 0, said.err
    assert "2 seeds of " in said.out
    assert "in there" in said.out
    folder = RunFolder.open("there")
    assert folder.finished() == [1, 2]
    assert folder.spec.parameters == {"wait": 5}
    assert folder.meta["command"].endswith("run quick.py --seeds 2 --jobs 1 --out there --wait 5 --csv")
    assert folder.load().facts[1]["virtual_seconds"] == 5
    assert Path("there/operations.csv").read_text().count("wait") == 2


def test_settings_may_be_given_in_every_way(simulate: Any) -> None:
    said = simulate(
        "run", "--nodes=3", "--loss", "0.1", "quick.py", "--set", "wait=2", "--world", "seal=cheap", "--seed", "9",
        "--title", "Mine", "--json",
    )  # fmt: skip
    assert said.code == 0, said.out
    document = said.document
    assert document["title"] == "Mine"
    folder = RunFolder.open(document["folder"])
    assert folder.seeds == (9,)
    assert folder.spec.parameters == {"wait": 2, "nodes": 3}
    assert folder.spec.world == {"seal": "cheap", "loss": 0.1}
    assert Path(document["folder"]).parts[0] == "runs"
    assert Path(document["folder"]).name.startswith("quick-")


def test_two_runs_in_one_second_have_two_folders(simulate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulations.cli_play.time.strftime", lambda form: "20260101-000000")
    folders = [simulate("run", "quick.py", "--json").document["folder"] for _ in range(3)]
    assert folders == [f"runs/quick-20260101-000000{end}" for end in ("", "-2", "-3")]


def test_a_failed_seed_is_1_and_says_how_to_replay_it(simulate: Any) -> None:
    said = simulate("run", "quick.py", "--seeds", "3,4", "--set", "fails=x", "--out", "r")
    assert said.code == 2
    Path("q.toml").write_text('scenario = "quick.py"\nseeds = [3, 4]\n[parameters]\nfails = [4]\n')
    said = simulate("run", "q.toml", "--out", "r")
    assert said.code == 1
    assert "seed 4 failed: seed 4 at 10.000 s: AssertionError: seed 4 was to fail (script.py:" in said.out or (
        "seed 4 failed: seed 4 at 10.000 s: AssertionError: seed 4 was to fail (quick.py:" in said.out
    )
    assert "Replay: rookery simulate replay r --seed 4" in said.out
    again = simulate("replay", "r")
    assert again.code == 0
    assert "failed: seed 4 at 10.000 s: AssertionError" in again.out
    assert "seed 4: the same run to the last byte" in again.out
    document = simulate("replay", "r", "--seed", "3", "--json").document
    assert document["same"] is True
    assert document["error"] is None


def test_a_replay_that_is_another_run_is_1(simulate: Any) -> None:
    simulate("run", "quick.py", "--out", "r")
    # As if other code had made it.
    seed = Path("r/seeds/1.json")
    told = json.loads(seed.read_text())
    told["facts"]["trace_hash"], told["sources"] = "0" * 64, "f" * 16
    seed.write_text(json.dumps(told))
    said = simulate("replay", "r")
    assert said.code == 1
    assert "NOT the same run" in said.out
    assert "other code made it: " in said.out
    assert simulate("replay", "r", "--twice").code == 0
    assert simulate("replay", "r", "--twice", "--json").document["same"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--events", "x"], "--events 'x' is not A:B"),
        (["--events", "5:2"], "the first must be 1 or more"),
        (["--until", "soon"], "--until 'soon' is no span of time"),
        (["--seed", "7"], "seed 7 is none of this run's: 1"),
        (["--twice", "--until", "3"], "--twice plays the whole seed"),
    ],
)
def test_a_replay_of_nothing(simulate: Any, arguments: list[str], said: str) -> None:
    simulate("run", "quick.py", "--out", "r")
    refused = simulate("replay", "r", *arguments)
    assert refused.code == 2
    assert said in refused.err


def test_a_log_is_written(simulate: Any) -> None:
    Path("s.toml").write_text('[[nodes]]\ncount = 5\n[[step]]\ndo = "settle"\n[[step]]\ndo = "put"\ncount = 1\n')
    assert simulate("run", "s.toml", "--out", "r").code == 0
    assert simulate("run", "s.toml").out.splitlines()[-1].startswith("1 seed of s in runs/s-2")
    assert simulate("replay", "r", "--log", "log.txt").code == 0
    deliveries = RunFolder.open("r").load().facts[1]["deliveries"]
    assert Path("log.txt").read_text().count(" → ") == deliveries
    assert "replayed up to 0.200 s" in simulate("replay", "r", "--until", "200ms").out
    assert "replayed up to 0.200 s" in simulate("replay", "r", "--until", "0.2").out
    some = simulate("replay", "r", "--events", "5:7")
    assert some.out.count(" → ") == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "say what to play"),
        (["run", "quick.py", "two.py"], "'two.py' is one word too many"),
        (["run", "quick.py", "--nodse", "3"], "there is no option --nodse: did you mean --nodes?"),
        (["run", "quick.py", "--nodes"], "--nodes needs a value"),
        (["run", "quick.py", "--nodes", "x"], 'quick: nodes = "x": should be a valid integer'),
        (["run", "quick.py", "--set", "nodse=3"], "quick: nodse = 3: there is no such key: did you mean nodes?"),
        (["run", "quick.py", "--world", "loss=7"], "quick: world.loss = 7: should be less than or equal to 1"),
        (["run", "quick.py", "--latency", "moon"], "quick: world.latency = 'moon': "),
        (["run", "quick.py", "--seeds", "x"], "--seeds 'x' is neither how many nor a list"),
        (["run", "quick.py", "--seeds", "0"], "should be 1 seed or more"),
        (["run", "quick.py", "--seed", "1", "--seeds", "2"], "give either --seed or --seeds"),
        (["run", "quick.py", "--engine", "warp"], "--engine 'warp': allowed are protocol and model"),
        (["run", "quick.py", "--engine", "model"], "runs by protocol, not by 'model'"),
        (["run", "quick.py", "--jobs", "2", "--cluster", "x"], "give either --jobs or --cluster"),
        (["run", "mass-deth"], "did you mean 'mass-death'?"),
        (["run", "nowhere.toml"], "nowhere.toml: No such file or directory"),
        (["run", "quick.py", "--resume", "x"], "--resume goes on with what was begun"),
        (["run", "--resume", "nowhere"], "there is no folder nowhere"),
        (["sweep", "quick.py"], "give --vary KEY=VALUES"),
        (["sweep", "quick.py", "--vary", "wait=1:0"], "never gets from 1 to 0"),
        (["sweep", "quick.py", "--vary", "wiat=1,2"], "did you mean wait?"),
        (["report", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_bad_input_is_2_and_one_line_that_says_what_is_right(simulate: Any, arguments: list[str], said: str) -> None:
    refused = simulate(*arguments)
    assert refused.code == 2, refused.out
    assert said in refused.err
    assert refused.err.count("\n") <= 2
    assert refused.out == ""
    # Nothing is begun that cannot be played; where it would be played is looked at last.
    assert Path("runs").exists() == ("--cluster" in arguments)


def test_every_fault_of_a_file_is_a_line(simulate: Any) -> None:
    Path("bad.toml").write_text('[[nodes]]\ncount = 0\n[[step]]\ndo = "runn"\n')
    said = simulate("run", "bad.toml")
    assert said.code == 2
    assert said.err.splitlines() == [
        "error: bad.toml:2: nodes[1].count = 0: should be greater than or equal to 1 (how many)",
        'error: bad.toml:4: step[1].do = "runn": is no step: did you mean run? there are run, settle, add, put, get, '
        "find, kill, restart, freeze, wake, partition, heal, churn, loss, latency, mark, expect",
    ]
    error = simulate("run", "bad.toml", "--json").document["error"]
    assert error["kind"] == "bad-scenario-file"
    assert [(one["line"], one["key"], one["value"]) for one in error["faults"]] == [
        (2, "nodes[1].count", "0"),
        (4, "step[1].do", '"runn"'),
    ]


def test_a_missing_package_is_named(simulate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(name for name in sys.modules if name.startswith("simulations.results")), "simulations.sweeps"]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = simulate("run", "quick.py")
    assert said.code == 2
    assert "simulations need the package pyarrow, which is not installed" in said.err
    assert "hint: pip install 'rookery[simulate]'" in said.err


def test_a_sweep_is_compared_reported_and_gone_on_with(simulate: Any) -> None:
    said = simulate("sweep", "quick.py", "--vary", "nodes=1,5", "--seeds", "3", "--jobs", "1", "--out", "s")
    assert said.code == 0, said.err
    assert "2 points of " in said.out
    folders = sorted(folder.name for folder in Path("s").iterdir() if folder.is_dir())
    assert folders == ["nodes=1", "nodes=5"]
    Path("s/nodes=5/seeds/2.json").unlink()
    document = simulate("sweep", "--resume", "s", "--json").document
    assert [point["settings"] for point in document["points"]] == [{"nodes": 1}, {"nodes": 5}]
    assert RunFolder.open("s/nodes=5").missing() == []
    compared = simulate("compare", "s/nodes=1", "s/nodes=5", "--out", "c.html", "--json")
    assert compared.code == 0
    assert [one["setting"] for one in compared.document["settings"]] == ["parameters.nodes"]
    assert Path("c.html").read_text().startswith("<!doctype html>") or "<html" in Path("c.html").read_text()[:200]
    assert "nodes" in simulate("compare", "s/nodes=1", "s/nodes=5").out
    assert simulate("report", "s", "--out", "s.html").code == 0
    assert Path("s.html").stat().st_size > 1000
    wrong = simulate("run", "--resume", "s")
    assert "`rookery simulate sweep --resume s` goes on with it" in wrong.err


def test_a_report_and_its_plots(simulate: Any) -> None:
    assert simulate("run", "quick.py", "--report", "first.html", "--seeds", "2", "--jobs", "1", "--out", "r").code == 0
    assert Path("first.html").stat().st_size > 1000
    document = simulate("report", "r", "--plots", "pictures", "--json").document
    assert document["report"] == "r/report.html"
    assert all(Path(name).stat().st_size > 100 for name in document["plots"])
    assert document["plots"]


def test_a_cluster_that_goes_away_is_2_and_says_how_to_go_on(simulate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Here):
        def __init__(self, address: str) -> None:
            super().__init__()
            assert address == "host:1"
            self.left = 1

        def task(self) -> Callable[[Job], SeedResult]:
            if self.left == 0:
                raise Unplayable("the cluster is gone")
            self.left -= 1
            return super().task()

    monkeypatch.setattr("simulations.executors_cluster.Cluster", Gone)
    said = simulate("run", "quick.py", "--seeds", "2", "--cluster", "host:1", "--out", "r")
    assert said.code == 2
    assert "Go on:  rookery simulate run --resume r" in said.err
    assert "error: the cluster is gone" in said.err
    assert RunFolder.open("r").finished() == [1]
    said = simulate("sweep", "quick.py", "--vary", "nodes=1,2", "--cluster", "host:1", "--out", "s")
    assert "Go on:  rookery simulate sweep --resume s" in said.err


def test_names_are_completed() -> None:
    assert complete_names("sto") == ["story"]
    assert set(complete_names("")) >= {"story", "mass-death"}


def test_nodes_are_counted_for_a_guess_of_memory() -> None:
    def job(**given: Any) -> Job:
        return Job(RunSpec.model_validate(given), 1)

    nodes = [{"count": 20}, {"count": 30, "profile": "home"}]
    steps = [{"do": "settle"}]
    assert _nodes(job(scenario="story", parameters={"nodes": nodes, "steps": steps})) == 50
    assert _nodes(job(scenario="mass-death", parameters={"nodes": 77})) == 77
    assert _nodes(job(scenario="churn", engine="model", parameters={"nodes": 10**6})) == 0


def started(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The command in a process of its own, in a folder that holds quick.py."""
    quick_script(folder)
    code = (
        "import sys, typer, tests.simulations.test_simulate_cli as t;"
        "typer.main.get_command(t.root).main(['simulate', *sys.argv[1:]])"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def waited(files: Path, pattern: str, count: int) -> list[Path]:
    """Wait for files to be there."""
    deadline = time.monotonic() + 60
    while len(found := list(files.glob(pattern))) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(found) >= count
    return found


def test_killed_it_has_lost_only_what_was_under_way(tmp_path: Path, simulate: Any) -> None:
    process = started(tmp_path, "run", "quick.py", "--set", "slow=0.3", "--seeds", "6", "--jobs", "1", "--out", "r")
    waited(tmp_path, "r/seeds/*.json", 2)
    process.kill()
    process.communicate()
    folder = RunFolder.open("r")
    kept = {seed: Path(f"r/seeds/{seed}.json").stat().st_mtime_ns for seed in folder.finished()}
    assert 2 <= len(kept) < 6
    assert simulate("run", "--resume", "r", "--jobs", "1").code == 0
    assert RunFolder.open("r").missing() == []
    # What there was is not played again.
    assert {seed: Path(f"r/seeds/{seed}.json").stat().st_mtime_ns for seed in kept} == kept


def test_ctrl_c_keeps_what_there_is_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "began").mkdir()
    settings = ("--set", "slow=60", "--set", "began=began")
    process = started(tmp_path, "run", "quick.py", *settings, "--seeds", "2", "--jobs", "1", "--out", "r")
    waited(tmp_path / "began", "*", 1)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "seed 1 ended early: interrupted at " in out
    assert "Go on:  rookery simulate run --resume r" in out
    folder = RunFolder.open(tmp_path / "r")
    assert folder.finished() == [1]
    assert list(folder.load().operations.kinds) == ["wait"]
    assert "Traceback" not in err
