"""Both engines on the same worlds, and against the papers: what makes `docs/results/agreement.md`.

    python -m simulations.agreement --out docs/results/agreement.md
    python -m simulations.agreement --quick --out /somewhere/quick.md

Decides what is played for the page and in which order. What was played is kept below `--folder`: whoever stops it and
starts it again goes on. The rule is in `agreement_verdicts`, the worlds in `agreement_worlds`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from simulations.agreement_page import Baseline, Compared, commands_of, page
from simulations.agreement_prose import PROSE
from simulations.agreement_published import Row
from simulations.agreement_verdicts import RULES, verdict
from simulations.agreement_worlds import ENGINES, QUICK, WORLDS, Setting, play_folders, play_worlds, sample, whole
from simulations.errors import SimulationError
from simulations.results import RunFolder
from simulations.results_code import code_text, code_version
from simulations.results_run import Run
from simulations.settings import RunSpec
from simulations.statistics import nearest_rank
from simulations.sweeps import begin

PICTURES: Final = ("quiet", "loss", "third-dead", "ten-thousand")
"""Worlds that get a picture: one in good weather, two in bad, one large."""

SYSTEMS: Final = ("rookery", "kademlia")
BASELINE: Final = {"nodes": 100, "operations": 60}
BASELINE_SEEDS: Final = (1, 2)


def compared(setting: Setting, runs: dict[str, Run], pictures: Path | None) -> Compared:
    """Judge one world, and draw it into a folder if it is one that is drawn."""
    left, right = (runs[f"{setting.name}/{engine}"] for engine in ENGINES)
    protocol, model = sample(left, setting), sample(right, setting)
    picture = ""
    if pictures is not None and setting.name in PICTURES:
        from simulations.agreement_plots import draw

        picture = draw(pictures / f"agreement-{setting.name}.svg", protocol, model).name
    return Compared(setting, [verdict(rule, protocol, model) for rule in RULES], _facts(left, right), picture)


def published(folder: Path, *, real: bool = True) -> list[Row]:
    """Every published figure; tables computed before are taken from the folder."""
    from simulations import agreement_published, agreement_real

    rows = _tables(agreement_published.TABLES, folder / "model")
    return rows + (_tables(agreement_real.TABLES, folder / "real") if real else [])


def baseline(folder: Path, *, jobs: int, quiet: bool) -> tuple[list[Baseline], list[str]]:
    """The kademlia package and ours, played alike; and the commands."""
    folders, commands = {}, []
    for system in SYSTEMS:
        spec = RunSpec(
            scenario="kademlia-package",
            title="",
            engine="protocol",
            world={"seal": "cheap"},
            parameters={**BASELINE, "system": system},
            expect=(),
        )
        settings = " ".join(f"--set {key}={value}" for key, value in spec.parameters.items())
        seeds = ",".join(map(str, BASELINE_SEEDS))
        command = f"rookery simulate run kademlia-package --seeds {seeds} {settings} --set world.seal=cheap"
        commands.append(command)
        path = folder / system
        there = (path / "run.json").is_file()
        if not there:
            path.parent.mkdir(parents=True, exist_ok=True)
        folders[system] = RunFolder.open(path) if there else begin(path, spec, BASELINE_SEEDS, command=command)
    play_folders(folders, jobs=jobs, quiet=quiet)
    rows = [row for system, opened in folders.items() for row in _baseline(system, whole(system, opened.finish()))]
    return rows, commands


def make(out: Path, folder: Path, settings: Sequence[Setting], *, quick: bool, jobs: int, command: str) -> None:
    """Play what is missing and write the page, with its pictures beside it."""
    runs = play_worlds(settings, folder / "worlds", jobs=jobs)
    out.parent.mkdir(parents=True, exist_ok=True)
    worlds = [compared(setting, runs, out.parent) for setting in settings]
    rows: list[Row] = []
    beside: list[Baseline] = []
    commands = commands_of(settings)
    if not quick:
        rows = published(folder / "published")
        beside, more = baseline(folder / "baseline", jobs=jobs, quiet=False)
        commands += more
    codes = dict.fromkeys(str(run.meta["code"]) for run in runs.values())
    codes.setdefault(code_text(code_version()))
    told = " and ".join(codes)
    text = page(worlds, rows, beside, command=command, code=told, commands=commands, prose=PROSE)
    out.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m simulations.agreement", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--folder", type=Path, default=Path("runs/agreement"), help="where runs are kept")
    parser.add_argument("--quick", action="store_true", help="two small worlds, no published figures")
    parser.add_argument("--without", default="", help="worlds to leave out, by name with commas between")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at once")
    given = parser.parse_args(arguments)
    left_out = [name for name in given.without.split(",") if name]
    known = QUICK if given.quick else WORLDS
    if unknown := [name for name in left_out if name not in {one.name for one in known}]:
        parser.error(f"--without: no world {', '.join(unknown)}: there are {', '.join(one.name for one in known)}")
    settings = [one for one in known if one.name not in left_out]
    command = "python -m simulations.agreement --out docs/results/agreement.md"
    command += " --quick" * given.quick + f" --without {given.without}" * bool(left_out)
    try:
        make(given.out, given.folder, settings, quick=given.quick, jobs=given.jobs, command=command)
    except SimulationError as error:
        print(f"agreement: {error}", file=sys.stderr)
        return 1
    print(given.out)
    return 0


def _tables(tables: dict[str, Callable[[], list[Row]]], folder: Path) -> list[Row]:
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name, compute in tables.items():
        file = folder / f"{name.replace(' ', '-')}.json"
        if not file.is_file():
            print(f"{folder.name}: {name}", file=sys.stderr)
            text = json.dumps([row.to_json() for row in compute()], indent=1, ensure_ascii=False)
            # Written whole or not at all, for whoever stops it here.
            file.with_suffix(".part").write_text(text, encoding="utf-8")
            file.with_suffix(".part").rename(file)
        rows += [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
    return rows


def _facts(protocol: Run, model: Run) -> str:
    told = []
    if "contacts a node" in protocol.values:
        told.append(f"{np.mean(protocol.per_seed('contacts a node')):.0f} contacts a node")
    dead = [float(np.mean(run.per_seed("dead contacts"))) for run in (protocol, model)]
    if any(dead):
        told.append(f"{dead[0]:.1%} of contacts dead (model: {dead[1]:.1%})")
    return f"{', '.join(told)}." if told else ""


def _baseline(system: str, run: Run) -> list[Baseline]:
    rows = []
    for phase, kind in run.operations.keys:
        took, ok, requests = (run.operations.of((phase, kind), column) for column in ("took", "ok", "requests"))
        ordered = np.sort(took)
        rows.append(
            Baseline(
                system,
                phase,
                kind,
                len(took),
                float(ok.mean()),
                float(requests.mean()),
                float(took.mean()),
                nearest_rank(ordered, 0.5),
                nearest_rank(ordered, 0.95),
            )
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
