"""A run on disk: a folder with what was run, by which code, and the tables of each seed that is done.

    run.json                   what was run, when, by which command and code
    seeds/7.json               seed 7: facts, expectations, why it ended; written last, so that it makes the seed count
    seeds/7.operations.parquet its tables, one file each
    operations.parquet …       all seeds together with a seed column, written by `finish()`; .csv too when asked for
    seeds.parquet              one row a seed: command, code version, engine, seal, trace hash

Decides names and order of files: whoever is killed at any moment loses the seeds that were not done, and no other.
Refuses to know how seeds are played and how results are shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pydantic import ValidationError

from simulations.metrics import TABLES, Expectation, SeedResult
from simulations.results_code import code_text, code_version
from simulations.results_run import Run
from simulations.results_tables import (
    BadResults,
    arrow_of,
    empty_table,
    read_json,
    read_parquet,
    with_seed,
    write_csv,
    write_json,
    write_parquet,
)
from simulations.settings import RunSpec

__all__ = ["FORMAT", "KIND", "BadResults", "Run", "RunFolder"]

FORMAT: Final = 1
"""Number of the layout above; code reads folders up to its own."""

KIND: Final = "rookery run"
"""What run.json says it is, so that somebody else's run.json is told apart."""


class RunFolder:
    """One run of a scenario with some seeds, on disk. Made by `create` or `open`."""

    def __init__(self, path: Path, spec: RunSpec, seeds: tuple[int, ...], meta: dict[str, Any]) -> None:
        self.path = path
        self.spec = spec
        self.seeds = seeds
        """Every seed that was asked for."""
        self.meta = meta
        """What run.json says beside spec and seeds: format, command, version, code, python, platform, started, …"""

    @classmethod
    def create(
        cls,
        path: Path | str,
        spec: RunSpec,
        seeds: Sequence[int],
        *,
        command: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> RunFolder:
        """Begin a run in a folder that is new or empty; `extra` is kept in `meta`, for example a sweep's point.

        Raises `BadResults` where there is something already, for no seed at all and for a seed named twice.
        """
        path = Path(path)
        if (path / "run.json").exists():
            raise BadResults(f"{path} holds a run already: open it to go on with it, or choose another folder")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise BadResults(f"{path} is not an empty folder: results go into one of their own")
        if not seeds:
            raise BadResults("a run needs at least one seed")
        if len(set(seeds)) < len(seeds):
            raise BadResults(f"seeds are named twice in {list(seeds)}: each may be run once")
        code = code_version()
        meta = {
            "kind": KIND,
            "format": FORMAT,
            "command": command,
            "version": code["version"],
            "code": code_text(code),
            "sources": code["sources"],
            "commit": code["commit"],
            "python": code["python"],
            "platform": code["platform"],
            "started": now_text(),
            "finished": "",
            "engine": spec.engine,
            "seal": str(spec.world.get("seal", "")),
            **(extra or {}),
        }
        folder = cls(path, spec, tuple(seeds), meta)
        (path / "seeds").mkdir(parents=True)
        folder._write_meta()
        return folder

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """Open a run that was begun. Raises `BadResults` for what is no run, damaged, or of a newer format."""
        path = Path(path)
        if not path.is_dir():
            raise BadResults(f"there is no folder {path}")
        if not (path / "run.json").is_file():
            kind = "a sweep: name one of its runs" if (path / "sweep.json").is_file() else "no run"
            raise BadResults(f"{path} holds {kind} (it has no run.json)")
        meta = read_json(path / "run.json")
        check_kind(meta, path / "run.json", KIND, FORMAT)
        try:
            spec = RunSpec(**meta.pop("spec"))
            seeds = tuple(int(seed) for seed in meta.pop("seeds"))
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise BadResults(f"{path / 'run.json'} does not say what was run: {error}") from None
        return cls(path, spec, seeds, meta)

    # Writing

    def add(self, result: SeedResult) -> None:
        """Keep what a seed gave. A seed kept before is replaced; until the last file is written, it counts as missing.

        Raises `BadResults` for a seed that was not asked for and for values that do not fit their column.
        """
        if result.seed not in self.seeds:
            raise BadResults(f"seed {result.seed} is none of this run's: {', '.join(map(str, self.seeds))}")
        tables = {name: arrow_of(name, result.tables[name]) for name in TABLES if name in result.tables}
        seal_of_seed = self._seed_file(result.seed)
        seal_of_seed.unlink(missing_ok=True)
        code = code_version()
        about = self._about() | {"seed": str(result.seed)}
        for name, table in tables.items():
            write_parquet(table, self._table_file(result.seed, name), about)
        write_json(
            {
                "seed": result.seed,
                "tables": {name: table.num_rows for name, table in tables.items()},
                "facts": result.facts,
                "expectations": [asdict(expectation) for expectation in result.expectations],
                "stopped": result.stopped,
                "error": result.error,
                "sources": result.facts.get("sources", code["sources"]),
                "written": now_text(),
            },
            seal_of_seed,
        )

    def finish(self, *, csv: bool = False) -> Run:
        """Write the tables of all seeds together, and when the run ended; seeds may be missing. Gives what it holds."""
        run = self.load()
        about = self._about()
        tables = {**run.tables, "seeds": seeds_table(run)}
        for name, table in tables.items():
            write_parquet(table, self.path / f"{name}.parquet", about)
            if csv:
                write_csv(table, self.path / f"{name}.csv")
        self.meta |= {"finished": now_text(), "seal": run.seal, "engine": run.engine}
        self._write_meta()
        run.meta.update(self.meta)
        return run

    # Reading

    def finished(self) -> list[int]:
        """The seeds that are kept, in the order asked for; also those that stopped early or failed."""
        return [seed for seed in self.seeds if self._seed_file(seed).is_file()]

    def missing(self) -> list[int]:
        """The seeds that are not."""
        return [seed for seed in self.seeds if not self._seed_file(seed).is_file()]

    def load(self) -> Run:
        """Everything that is kept. Seeds may be missing, even all: the run says so. Raises `BadResults` if damaged."""
        finished = self.finished()
        told = {seed: self._read_seed(seed) for seed in finished}
        tables = {
            name: pa.concat_tables(
                [empty_table(name), *(with_seed(self._read_table(seed, name, told[seed]), seed) for seed in finished)]
            ).unify_dictionaries()
            for name in TABLES
        }
        return Run(
            spec=self.spec,
            meta=dict(self.meta),
            asked=self.seeds,
            seeds=tuple(finished),
            tables=tables,
            expectations=[self._expectation(seed, one) for seed in finished for one in told[seed]["expectations"]],
            facts={seed: told[seed]["facts"] for seed in finished},
            stopped={seed: told[seed]["stopped"] for seed in finished if told[seed].get("stopped")},
            errors={seed: told[seed]["error"] for seed in finished if told[seed].get("error")},
            sources={seed: str(told[seed].get("sources", "")) for seed in finished},
            path=self.path,
        )

    def _read_seed(self, seed: int) -> dict[str, Any]:
        told = read_json(self._seed_file(seed))
        for key, kind in (("tables", dict), ("facts", dict), ("expectations", list)):
            if not isinstance(told.get(key), kind):
                raise BadResults(f"{self._seed_file(seed)} does not say its {key}: it is damaged")
        return told

    def _read_table(self, seed: int, name: str, told: dict[str, Any]) -> Any:
        if name not in told["tables"]:
            return empty_table(name).drop_columns(["seed"])
        return read_parquet(self._table_file(seed, name), name, told["tables"][name])

    def _expectation(self, seed: int, told: dict[str, Any]) -> Expectation:
        try:
            value = float("nan") if told["value"] is None else float(told["value"])
            return Expectation(str(told["text"]), bool(told["met"]), value, int(told["seed"]), float(told["time"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BadResults(f"{self._seed_file(seed)} has a damaged expectation: {error!r}") from None

    # Files

    def _seed_file(self, seed: int) -> Path:
        return self.path / "seeds" / f"{seed}.json"

    def _table_file(self, seed: int, name: str) -> Path:
        return self.path / "seeds" / f"{seed}.{name}.parquet"

    def _about(self) -> dict[str, str]:
        kept = ("command", "version", "code", "python", "platform", "started")
        return {key: str(self.meta.get(key, "")) for key in kept} | {"spec": self.spec.model_dump_json()}

    def _write_meta(self) -> None:
        content = {**self.meta, "spec": self.spec.model_dump(mode="json"), "seeds": list(self.seeds)}
        write_json(content, self.path / "run.json")


def seeds_table(run: Run) -> Any:
    """One row a seed with command and code version beside it, for whoever joins tables on the seed."""
    rows = [
        {
            "seed": seed,
            "scenario": run.spec.scenario,
            "command": str(run.meta.get("command", "")),
            "code": str(run.meta.get("code", "")),
            "sources": run.sources.get(seed, ""),
            "engine": run.engine,
            "seal": str(run.facts[seed].get("seal", run.seal)),
            "trace_hash": str(run.facts[seed].get("trace_hash", "")),
            "stopped": run.stopped.get(seed, ""),
            "error": run.errors.get(seed, ""),
        }
        for seed in run.seeds
    ]
    names = ("scenario", "command", "code", "sources", "engine", "seal", "trace_hash", "stopped", "error")
    return pa.Table.from_pylist(
        rows, schema=pa.schema([("seed", pa.int64()), *((name, pa.string()) for name in names)])
    )


def check_kind(meta: Mapping[str, Any], path: Path, kind: str, newest: int) -> None:
    """Raise `BadResults` for a file that is somebody else's or newer than this code."""
    if meta.get("kind") != kind:
        raise BadResults(f"{path} is not a file of ours: its kind is {meta.get('kind')!r}, not {kind!r}")
    number = meta.get("format")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise BadResults(f"{path} has format {number!r}: it is damaged")
    if number > newest:
        made = re.sub(r"\s+", " ", str(meta.get("version", "a newer version")))
        raise BadResults(
            f"{path} has format {number}, made by Rookery {made}; this one reads up to {newest}: update it"
        )


def now_text() -> str:
    """This moment, for the record only: nothing in a run depends on it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
