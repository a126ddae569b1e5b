import json
from pathlib import Path

import pytest

from simulations.results import BadResults, RunFolder
from simulations.results_sweep import Sweep, folder_name
from simulations.tables import as_text
from tests.simulations.made_results import SPEC, made_result


def made_sweep(path: Path) -> Sweep:
    points = [{"nodes": nodes} for nodes in (100, 1000, 10_000)]
    sweep = Sweep.create(path, points, scenario="lookup-scaling", command="rookery simulate sweep")
    for at, point in enumerate(sweep.points[:2]):
        folder = RunFolder.create(point.path, SPEC, [1, 2, 3], extra={"point": point.settings})
        for seed in (1, 2, 3):
            folder.add(made_result(seed, operations=100, nodes=10, slower=1 + at))
        folder.finish()
    return Sweep.open(path)


def test_figures_line_up_with_what_was_varied(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path / "sweep")
    assert sweep.varied == ["nodes"]
    assert [point.path.name for point in sweep.points] == ["nodes=100", "nodes=1000", "nodes=10000"]
    figures = sweep.figures("get.p50")
    assert [settings["nodes"] for settings, _ in figures] == [100, 1000]
    assert figures[1][1].value == pytest.approx(2 * figures[0][1].value, rel=0.2)
    assert figures[0][1].over == "seeds"
    text = as_text(sweep.table(["get.p50", "stale contacts"]))
    assert "1000" in text
    assert "±" in text
    assert "nodes=10000: not begun" in sweep.notes
    told = json.loads(json.dumps(sweep.to_json(), allow_nan=False))
    assert [point["settings"]["nodes"] for point in told["points"]] == [100, 1000]
    assert as_text(sweep.table())
    with pytest.raises(BadResults, match="has a figure 'nonsense'"):
        sweep.figures("nonsense")


def test_bad_sweeps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadResults, match="no sweep"):
        Sweep.open(tmp_path)
    with pytest.raises(BadResults, match="at least one point"):
        Sweep.create(tmp_path / "none", [], scenario="x")
    Sweep.create(tmp_path / "sweep", [{"a": 1}], scenario="x")
    with pytest.raises(BadResults, match="not an empty folder"):
        Sweep.create(tmp_path / "sweep", [{"a": 1}], scenario="x")
    with pytest.raises(BadResults, match="a sweep: name one of its runs"):
        RunFolder.open(tmp_path / "sweep")
    for points, complaint in (("[1]", "damaged point"), ("[]", "names no points")):
        text = f'{{"kind": "rookery sweep", "format": 1, "points": {points}}}'
        (tmp_path / "sweep/sweep.json").write_text(text)
        with pytest.raises(BadResults, match=complaint):
            Sweep.open(tmp_path / "sweep")
    outside = '{"kind": "rookery sweep", "format": 1, "points": [{"settings": {}, "folder": "../../etc"}]}'
    (tmp_path / "sweep/sweep.json").write_text(outside)
    with pytest.raises(BadResults, match="outside"):
        Sweep.open(tmp_path / "sweep")


def test_names_of_folders_are_safe_and_differ(tmp_path: Path) -> None:
    assert folder_name({"latency": "lognormal:50ms,0.4", "loss": 0.1}) == "latency=lognormal_50ms,0.4,_loss=0.1"
    sweep = Sweep.create(tmp_path / "s", [{"a": "x/y"}, {"a": "x:y"}], scenario="x")
    assert len({point.path for point in sweep.points}) == 2
    assert all(point.path.parent == tmp_path / "s" for point in Sweep.open(tmp_path / "s").points)
