import csv
import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from simulations.metrics import OPERATION_FIGURES, TABLES, Metrics
from simulations.results import BadResults, RunFolder
from tests.simulations.made_results import SPEC, made_result, made_run


def test_what_is_added_comes_back(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [4, 5], command="rookery simulate run x")
    results = {seed: made_result(seed, operations=50, nodes=20) for seed in (4, 5)}
    for result in results.values():
        folder.add(result)
    run = RunFolder.open(tmp_path / "run").load()
    assert run.spec == SPEC
    assert run.seeds == (4, 5)
    assert not run.missing
    assert run.meta["command"] == "rookery simulate run x"
    assert run.meta["sources"]
    assert run.meta["code"]
    for name in TABLES:
        table = run.tables[name].to_pydict()
        for column in TABLES[name]:
            expected = [value for result in results.values() for value in result.tables[name].columns[column]]
            assert table[column] == expected, (name, column)
        assert table["seed"] == [seed for seed, result in results.items() for _ in range(len(result.tables[name]))]
    assert run.expectations == [one for result in results.values() for one in result.expectations]
    assert run.facts[5]["trace_hash"] == f"{5:064x}"


def test_figures_are_those_of_metrics(tmp_path: Path) -> None:
    results = {seed: made_result(seed, operations=500) for seed in (1, 2)}
    folder = RunFolder.create(tmp_path / "run", SPEC, [1, 2])
    for result in results.values():
        folder.add(result)
    run = folder.load()
    for at, result in enumerate(results.values()):
        metrics = Metrics(result.seed, lambda: 0.0)
        metrics.tables = result.tables
        for phase in (None, "before", "after", "never"):
            for kind in ("get", "put"):
                for what in OPERATION_FIGURES:
                    expected = metrics.figure(f"{kind}.{what}", phase=phase)
                    got = run.per_seed(f"{kind}.{what}", phase)[at]
                    assert got == pytest.approx(expected, nan_ok=True), (phase, kind, what)
        assert run.per_seed("stale contacts")[at] == metrics.figure("stale contacts")
        assert run.per_seed("alive")[at] == metrics.figure("alive")


def test_a_killed_run_keeps_the_seeds_that_were_done(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [1, 2, 3])
    folder.add(made_result(1, operations=20))
    folder.add(made_result(2, operations=20))
    # Killed while seed 3 was written: its last file, which makes it count, is not there.
    (tmp_path / "run/seeds/2.json").rename(tmp_path / "run/seeds/2.json.part")
    (tmp_path / "run/seeds/3.operations.parquet.part").write_bytes(b"PAR1 half")
    again = RunFolder.open(tmp_path / "run")
    assert again.finished() == [1]
    assert again.missing() == [2, 3]
    run = again.load()
    assert run.seeds == (1,)
    assert "2 of 3 seeds are missing: 2, 3" in run.notes
    assert not run.ok
    again.add(made_result(2, operations=20))
    again.add(made_result(3, operations=20))
    assert again.finish().seeds == (1, 2, 3)


def test_a_run_of_which_nothing_is_done_says_so(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", SPEC, [1]).finish()
    assert run.summary().operations == []
    assert run.notes[0] == "1 of 1 seeds are missing: 1"
    assert "missing" in run.summary().text()


def test_finish_writes_tables_of_all_seeds(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [1, 2], command="rookery simulate run")
    for seed in (1, 2):
        folder.add(made_result(seed, operations=30, nodes=10))
    folder.finish(csv=True)
    table = pq.read_table(tmp_path / "run/operations.parquet")
    assert table.column("seed").to_pylist() == [1] * 30 + [2] * 30
    assert table.schema.metadata[b"rookery.command"] == b"rookery simulate run"
    assert table.schema.metadata[b"rookery.code"]
    with (tmp_path / "run/nodes.csv").open() as file:
        assert [row["node"] for row in csv.DictReader(file)] == [str(node) for node in range(10)] * 2
    with (tmp_path / "run/seeds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["1", "2"]
    assert {row["command"] for row in rows} == {"rookery simulate run"}
    assert all(row["code"] and row["seal"] == "cheap" for row in rows)
    assert RunFolder.open(tmp_path / "run").meta["finished"]


def test_a_seed_can_be_added_again(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [1])
    folder.add(made_result(1, operations=20))
    folder.add(made_result(1, operations=30))
    assert folder.load().tables["operations"].num_rows == 30


def test_seeds_that_ended_early_are_kept_and_named(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [1, 2])
    stopped, failed = made_result(1, operations=20), made_result(2, operations=20)
    stopped.stopped, failed.error = "interrupted at 12.000 s", "boom"
    folder.add(stopped)
    folder.add(failed)
    run = folder.load()
    assert "seed 1 ended early: interrupted at 12.000 s" in run.notes
    assert "seed 2 failed: boom" in run.notes
    assert not run.ok


def test_nan_in_expectations_survives(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [1])
    folder.add(made_result(1, operations=0))
    run = folder.load()
    assert math.isnan(run.expectations[0].value)
    assert not run.ok
    json.dumps(run.summary().to_json(), allow_nan=False)


def test_create_refuses_what_is_there(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", SPEC, [1])
    with pytest.raises(BadResults, match="holds a run already"):
        RunFolder.create(tmp_path / "run", SPEC, [1])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter").write_text("dear")
    with pytest.raises(BadResults, match="not an empty folder"):
        RunFolder.create(tmp_path / "full", SPEC, [1])
    with pytest.raises(BadResults, match="at least one seed"):
        RunFolder.create(tmp_path / "none", SPEC, [])
    with pytest.raises(BadResults, match="twice"):
        RunFolder.create(tmp_path / "none", SPEC, [1, 1])


def test_open_refuses_what_is_no_run_of_ours(tmp_path: Path) -> None:
    with pytest.raises(BadResults, match="no folder"):
        RunFolder.open(tmp_path / "nowhere")
    with pytest.raises(BadResults, match="no run"):
        RunFolder.open(tmp_path)
    for content, complaint in (
        ("{", "damaged"),
        ("[1]", "list, not an object"),
        ('{"kind": "npm"}', "not a file of ours"),
        ('{"kind": "rookery run", "format": "x"}', "format 'x'"),
        ('{"kind": "rookery run", "format": 99, "version": "9.0"}', "made by Rookery 9.0"),
        ('{"kind": "rookery run", "format": 1}', "does not say what was run"),
        ('{"kind": "rookery run", "format": 1, "spec": {"x": 1}, "seeds": [1]}', "does not say what was run"),
    ):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(BadResults, match=complaint):
            RunFolder.open(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "other rows", "other columns", "seed file"])
def test_damage_is_found_and_named(tmp_path: Path, damage: str) -> None:
    made_run(tmp_path / "run", [1], operations=200)
    file = tmp_path / "run/seeds/1.operations.parquet"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        file.write_bytes(content[:2000] + bytes([content[2000] ^ 255]) + content[2001:])
    elif damage == "gone":
        file.unlink()
    elif damage == "other rows":
        pq.write_table(pq.read_table(file).slice(1), file)
    elif damage == "other columns":
        pq.write_table(pq.read_table(file).drop_columns(["ok"]), file)
    else:
        file = tmp_path / "run/seeds/1.json"
        file.write_text('{"seed": 1}')
    with pytest.raises(BadResults, match=file.name):
        RunFolder.open(tmp_path / "run").load()


def test_values_that_do_not_fit_and_strange_seeds_are_refused(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [1])
    with pytest.raises(BadResults, match="seed 2 is none of this run's"):
        folder.add(made_result(2, operations=1))
    wrong = made_result(1, operations=2)
    wrong.tables["operations"].columns["hops"] = [1, "many"]
    with pytest.raises(BadResults, match="column hops"):
        folder.add(wrong)
    assert folder.missing() == [1]
