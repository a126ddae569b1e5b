import warnings
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from simulations.errors import BadScenario
from simulations.metrics import Table
from simulations.plots import file_names, plots, save_plots, sweep_plots
from simulations.plots_nodes import byte_text
from simulations.plots_style import STYLE, svg_text, time_unit
from simulations.plots_time import success_over_time
from simulations.results import Run, RunFolder
from simulations.results_curves import duration, marks, series_curves, success_curves
from simulations.results_sweep import Sweep
from tests.simulations.made_results import SPEC, made_result, made_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made_run(tmp_path_factory.mktemp("results") / "run")


@pytest.fixture(scope="module")
def drawn(run: Run) -> dict[str, Figure]:
    return dict(plots(run))


def test_every_plot_is_drawn_with_labels(run: Run) -> None:
    before = dict(mpl.rcParams)
    drawn = dict(plots(run))
    assert list(drawn) == [
        "latency", "success", "hops", "series-alive", "series-datagrams-s", "series-bytes-s-per-node", "bytes",
    ]  # fmt: skip
    for name, figure in drawn.items():
        for axes in figure.axes:
            assert axes.get_ylabel(), name
            assert axes.get_title(loc="left"), name
    assert dict(mpl.rcParams) == before


def test_lines_show_what_was_recorded(drawn: dict[str, Figure]) -> None:
    latency = drawn["latency"].axes[0]
    assert [line.get_label() for line in latency.get_lines()] == ["before", "after"]
    shares = np.asarray(latency.get_lines()[0].get_ydata(), dtype=float)
    assert (np.diff(shares) >= 0).all()
    assert shares[-1] == pytest.approx(1)
    alive = np.asarray(drawn["series-alive"].axes[0].get_lines()[0].get_ydata(), dtype=float)
    assert alive[0] == 300
    assert alive[-1] < 270
    texts = [text.get_text() for text in drawn["success"].axes[0].texts]
    assert "100 killed" in texts
    assert "healed <b>&</b>" in texts


def test_files_are_written_without_a_warning(run: Run, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = save_plots(run, tmp_path / "plots", ["svg"])
    assert len(files) == 7
    for file in files:
        assert ElementTree.parse(file).getroot().tag.endswith("svg")
    with pytest.raises(BadScenario, match="bmp"):
        save_plots(run, tmp_path, ["bmp"])


def test_a_png_of_a_single_operation_can_be_written(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [1])
    result = made_result(1, operations=1, nodes=1)
    result.tables["series"] = Table("series")
    folder.add(result)
    files = save_plots(folder.load(), tmp_path / "plots", ["png"])
    assert [file.stem for file in files] == ["latency", "success", "hops", "bytes"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_strange_names_are_shown_as_they_are(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [1])
    result = made_result(1, operations=10, nodes=5)
    result.tables["operations"].columns["kind"] = ["_$x^2$ <script>"] * 10
    result.tables["series"] = Table("series")
    for time in (0.0, 10.0):
        result.tables["series"].add(time, "alive", "_网络 $", 3.0)
    folder.add(result)
    for name, figure in plots(folder.load()):
        text = svg_text(figure, name)
        assert "<script>" not in text
        if name == "latency":
            assert "_$x^2$ &lt;script&gt;" in text


def test_nothing_recorded_draws_nothing(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", SPEC, [1]).load()
    assert list(plots(run)) == []


def test_svg_for_pages_names_nothing_outside(drawn: dict[str, Figure]) -> None:
    text = svg_text(drawn["success"], "latency")
    assert text.startswith("<svg")
    assert "http" not in text
    assert "currentColor" in text
    assert 'id="latency-' in text


def test_curves_average_over_seeds_and_keep_gaps_in_success(run: Run) -> None:
    alive = next(curve for curve in series_curves(run) if curve.metric == "alive")
    assert (alive.low <= alive.mean).all()
    assert (alive.mean <= alive.high).all()
    assert duration(run) == 7200
    assert [mark.time for mark in marks(run)] == [60.0, 3600.0, 5760.0]
    curves = success_curves(run, points=10)
    assert {curve.label for curve in curves} == {"get", "put", "find_node"}
    assert all(0.8 < np.nanmean(curve.mean) <= 1 for curve in curves)


def test_operations_far_apart_are_dots(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [1])
    result = made_result(1, operations=40)
    result.tables["operations"].columns["started"] = [10.0] * 20 + [5000.0] * 20
    result.tables["operations"].columns["kind"] = ["get"] * 40
    folder.add(result)
    _, dots = success_over_time(folder.load()).axes[0].get_lines()[:2]
    assert dots.get_marker() == "o"
    assert len(np.asarray(dots.get_xdata())) == 2


def test_sweeps_are_drawn_against_what_was_varied(tmp_path: Path) -> None:
    points = [{"nodes": nodes, "nat": nat} for nodes in (100, 10_000) for nat in ("none", "mix")]
    sweep = Sweep.create(tmp_path / "sweep", points, scenario="x")
    for point in sweep.points:
        folder = RunFolder.create(point.path, SPEC, [1, 2])
        for seed in (1, 2):
            result = made_result(seed, operations=40, nodes=5)
            result.tables["operations"].columns["kind"] = ["get"] * 40
            result.tables["values"] = Table("values")
            folder.add(result)
    drawn = dict(sweep_plots(Sweep.open(tmp_path / "sweep"), ["get.p95", "get.success"]))
    axes = drawn["sweep-1"].axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "nodes"
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["nat=none", "nat=mix"]
    assert [file.name for file in save_plots(sweep, tmp_path / "plots", ["svg"])] == ["sweep-1.svg"]


def test_names_units_and_style() -> None:
    assert file_names(["datagrams/s", "datagrams s", "../x", "—"]) == ["datagrams-s", "datagrams-s-2", "x", "unnamed"]
    assert [byte_text(value) for value in (1.0, 1500.0, 2.5e6)] == ["1 B", "1.5 kB", "2.5 MB"]
    assert [time_unit(span)[1] for span in (10, 600, 7200, 1e6)] == ["seconds", "minutes", "hours", "days"]
    assert STYLE["text.parse_math"] is False
