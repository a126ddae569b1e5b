"""A sweep on disk: a folder of runs that differ in a few varied settings, and sweep.json that says which is which.

    sweep.json     scenario, command, code, and for each point its settings and its folder
    nodes=1000/    the run of one point, as any run

Decides how points are named and how figures line up against what was varied. Refuses to know how points are chosen
and played.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from simulations.metrics import OPERATION_FIGURES
from simulations.results import BadResults, Run, RunFolder, check_kind, now_text
from simulations.results_code import code_text, code_version
from simulations.results_summary import SHOWN, with_interval
from simulations.results_tables import plain, read_json, write_json
from simulations.statistics import Interval
from simulations.tables import number

FORMAT: Final = 1
"""Number of the layout of sweep.json."""

KIND: Final = "rookery sweep"
"""What sweep.json says it is."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a sweep."""

    settings: dict[str, Any]
    """What was varied, and its value here."""
    path: Path
    """Folder of its run, which need not have begun."""


class Sweep:
    """A folder of runs. Made by `create` or `open`."""

    def __init__(self, path: Path, points: Sequence[Point], meta: dict[str, Any]) -> None:
        self.path = path
        self.points = tuple(points)
        self.meta = meta
        """What sweep.json says beside points: scenario, title, command, version, code, started."""

    @classmethod
    def create(
        cls,
        path: Path | str,
        points: Sequence[Mapping[str, Any]],
        *,
        scenario: str,
        title: str = "",
        command: str = "",
    ) -> Sweep:
        """Begin a sweep in a folder that is new or empty; each point gives a value to each varied setting.

        Raises `BadResults` where there is something already, and for points that are none or alike.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise BadResults(f"{path} is not an empty folder: a sweep goes into one of its own")
        if not points:
            raise BadResults("a sweep needs at least one point")
        names = [folder_name(settings) for settings in points]
        if len(set(names)) < len(names):
            # Names are shortened and rid of what file systems dislike, which can make two alike that are not.
            names = [f"{at:04d} {name}" for at, name in enumerate(names)]
        code = code_version()
        meta = {
            "kind": KIND,
            "format": FORMAT,
            "scenario": scenario,
            "title": title,
            "command": command,
            "version": code["version"],
            "code": code_text(code),
            "started": now_text(),
        }
        path.mkdir(parents=True, exist_ok=True)
        listed = [{"settings": plain(dict(one)), "folder": name} for one, name in zip(points, names, strict=True)]
        write_json({**meta, "points": listed}, path / "sweep.json")
        return cls(path, [Point(dict(one), path / name) for one, name in zip(points, names, strict=True)], meta)

    @classmethod
    def open(cls, path: Path | str) -> Sweep:
        """Open a sweep that was begun. Raises `BadResults` for what is none, damaged, or of a newer format."""
        path = Path(path)
        file = path / "sweep.json"
        if not file.is_file():
            raise BadResults(f"{path} holds no sweep (it has no sweep.json)")
        meta = read_json(file)
        check_kind(meta, file, KIND, FORMAT)
        points = []
        for told in meta.pop("points", []):
            if not isinstance(told, dict) or not isinstance(told.get("settings"), dict):
                raise BadResults(f"{file} has a damaged point: {told!r}")
            folder = Path(str(told.get("folder", "")))
            if folder.is_absolute() or len(folder.parts) != 1 or folder.parts[0] == "..":
                raise BadResults(f"{file} has a point outside of its folder: {folder}")
            points.append(Point(told["settings"], path / folder))
        if not points:
            raise BadResults(f"{file} names no points: it is damaged")
        return cls(path, points, meta)

    @property
    def title(self) -> str:
        """One line that names it."""
        return str(self.meta.get("title") or self.meta.get("scenario", "sweep"))

    @property
    def varied(self) -> list[str]:
        """The settings that were varied, in the order given."""
        return list(dict.fromkeys(name for point in self.points for name in point.settings))

    @cached_property
    def runs(self) -> list[tuple[Point, Run]]:
        """The points whose runs have begun, with what they hold."""
        return [
            (point, RunFolder.open(point.path).load()) for point in self.points if (point.path / "run.json").is_file()
        ]

    @property
    def notes(self) -> list[str]:
        """What a reader must know: points without results, and what is to be said about each run."""
        begun = {id(point) for point, _ in self.runs}
        notes = [f"{label(point.settings)}: not begun" for point in self.points if id(point) not in begun]
        for point, run in self.runs:
            notes += [f"{label(point.settings)}: {note}" for note in run.notes]
        return notes

    def names(self) -> list[str]:
        """Every figure that some run has: `KIND.FIGURE` of operations, then values."""
        kinds = dict.fromkeys(kind for _, run in self.runs for kind in run.operations.kinds)
        values = dict.fromkeys(metric for _, run in self.runs for metric in run.values)
        return [f"{kind}.{what}" for kind in kinds for what in OPERATION_FIGURES] + list(values)

    def figures(self, name: str) -> list[tuple[dict[str, Any], Interval]]:
        """One figure against what was varied; runs that lack it are left out.

        Raises `BadResults` for a figure that no run has.
        """
        if name not in self.names():
            raise BadResults(f"no run of {self.path} has a figure {name!r}; there are: {', '.join(self.names())}")
        kind, _, what = name.rpartition(".")
        return [
            (point.settings, run.figure(name))
            for point, run in self.runs
            if name in run.values or (what in OPERATION_FIGURES and kind in run.operations.kinds)
        ]

    def table(self, names: Sequence[str] = ()) -> Table:
        """Figures against what was varied, one row a point; without names, those that summaries show."""
        looks = {what: look for what, _, look in SHOWN}
        chosen = list(names) or [name for name in self.names() if "." not in name or name.rpartition(".")[2] in looks]
        table = Table(*map(escape, self.varied), box=None)
        for name in chosen:
            table.add_column(escape(name), justify="right")
        found = {name: {label(settings): interval for settings, interval in self.figures(name)} for name in chosen}
        for point, _ in self.runs:
            cells = [escape(str(point.settings.get(name, ""))) for name in self.varied]
            for name in chosen:
                interval = found[name].get(label(point.settings), Interval(float("nan")))
                cells.append(with_interval(interval, looks.get(name.rpartition(".")[2], number)))
            table.add_row(*cells)
        return table

    def to_json(self) -> dict[str, Any]:
        """Every point with all of its figures."""
        content = {
            **self.meta,
            "varied": self.varied,
            "notes": self.notes,
            "points": [{"settings": point.settings, **run.summary().to_json()} for point, run in self.runs],
        }
        ready: dict[str, Any] = plain(content)
        return ready


def label(settings: Mapping[str, Any]) -> str:
    """A point in one line: `nodes=1000, loss=0.1`."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def folder_name(settings: Mapping[str, Any]) -> str:
    """The same as the name of a folder on any file system."""
    return re.sub(r"[^A-Za-z0-9=.,+-]+", "_", label(settings)).strip("_.")[:100] or "point"
