import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from simulations.comparison import compare
from simulations.metrics import Table
from simulations.report import read_folder, write, write_comparison, write_report
from simulations.report_cards import verdict
from simulations.report_map import LEAST_ALIKE, MOST_NODES, map_data
from simulations.report_timeline import timeline_data
from simulations.results import BadResults, Run, RunFolder
from simulations.results_sweep import Sweep
from tests.simulations.made_results import SPEC, made_result, made_run

VOID = {"meta", "br", "hr", "img", "link", "input", "col", "wbr", "area", "base", "source"}


class Page(HTMLParser):
    """Text, elements and data of a page; complains about elements that are closed wrongly or not at all."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: dict[str, str] = {}
        self._script = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self._script = dict(attrs).get("id") or "code"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def assert_takes_nothing_from_outside(text: str, page: Page) -> None:
    assert "http://" not in text
    assert "https://" not in text
    assert not [tag for tag, _ in page.found if tag in {"link", "iframe", "object", "embed", "img", "base"}]
    for tag, attributes in page.found:
        assert not attributes.get("src"), tag
        assert (attributes.get("href") or "#").startswith("#"), tag
    for name in ("@import", "fetch(", "XMLHttpRequest", "innerHTML", "WebSocket"):
        assert name not in text
    policy = next(attributes for tag, attributes in page.found if attributes.get("http-equiv"))
    assert (policy["content"] or "").startswith("default-src 'none'")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made_run(tmp_path_factory.mktemp("results") / "run")


@pytest.fixture(scope="module")
def file(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(run, tmp_path_factory.mktemp("page") / "deep/report.html")


def test_a_report_holds_everything_and_nothing_from_outside(run: Run, file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert_takes_nothing_from_outside(text, page)
    for expected in (
        SPEC.title, "Cheap seal", "Protocol engine", "rookery simulate run mass-death", "1, 2, 3", "find_node",
        "get.success ≥ 0.95", "stale contacts", "95 % interval over 3 seeds", "world.latency", run.meta["code"],
        "no <holder> answered",
    ):  # fmt: skip
        assert expected in page.text, expected
    assert sum(tag == "svg" for tag, _ in page.found) >= 7
    ids = [attributes["id"] for _, attributes in page.found if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    assert len(text) < 1_000_000
    assert [item.name for item in file.parent.iterdir()] == ["report.html"]


def test_the_map_and_the_time_line_have_their_data(run: Run, file: Path) -> None:
    page = Page(file.read_text(encoding="utf-8"))
    nodes = json.loads(page.scripts["map-data"])
    assert (nodes["total"], nodes["shown"], nodes["world"]) == (300, 300, True)
    assert nodes["names"]["alive"] == ["alive", "off"]
    assert sum(nodes["counts"]["profile"]) == 300
    assert all(len(nodes["codes"][way]) == 300 for way in ("profile", "role", "nat", "alive"))
    assert nodes["x"][0] == pytest.approx(run.tables["nodes"].column("x")[0].as_py(), abs=0.01)
    line = json.loads(page.scripts["timeline-data"])
    assert [row["metric"] for row in line["rows"]] == ["alive", "datagrams/s", "success", "bytes/s per node"]
    assert [mark["text"] for mark in line["marks"]][1:] == ["100 killed", "healed <b>&</b>"]
    assert line["rows"][0]["lines"][0]["m"][0] == 300


def test_nodes_without_places_are_drawn_on_a_ring(tmp_path: Path) -> None:
    data = map_data(made_run(tmp_path / "run", [1], operations=10, places=False))
    assert data is not None
    assert not data["world"]
    assert data["x"] == []
    assert data["shown"] == 300


def test_texts_are_data_and_do_nothing(tmp_path: Path) -> None:
    nasty = "</script><script>alert(1)</script>"
    folder = RunFolder.create(
        tmp_path / "run", SPEC.model_copy(update={"title": nasty}), [1], command=f'<img src=x onerror="{nasty}">'
    )
    result = made_result(1, operations=30, nodes=20)
    for table, column in (
        ("operations", "kind"), ("operations", "reason"), ("series", "metric"), ("marks", "text"),
        ("nodes", "profile"), ("values", "metric"), ("values", "unit"),
    ):  # fmt: skip
        columns = result.tables[table].columns
        columns[column] = [nasty] * len(columns[column])
    result.error = nasty
    folder.add(result)
    run = folder.load()
    for file in (
        write_report(run, tmp_path / "report.html"),
        write_comparison(compare(run, run), tmp_path / "comparison.html"),
    ):
        text = file.read_text(encoding="utf-8")
        page = Page(text)
        assert "<script>alert" not in text
        assert "<img" not in text
        assert nasty in page.text
    assert json.loads(Page((tmp_path / "report.html").read_text()).scripts["map-data"])["names"]["profile"] == [nasty]


def test_a_run_that_is_not_done_is_reported_as_such(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", SPEC, [1, 2])
    empty = Page(write_report(folder.load(), tmp_path / "empty.html").read_text(encoding="utf-8"))
    assert "Incomplete: 0 of 2 seeds are done" in empty.text
    assert timeline_data(folder.load()) is None or "timeline-data" in empty.scripts
    assert map_data(folder.load()) is None
    result = made_result(2, operations=30)
    result.tables["series"] = Table("series")
    folder.add(result)
    part = Page(write_report(folder.load(), tmp_path / "part.html").read_text(encoding="utf-8"))
    assert "1 of 2 seeds are missing: 1" in part.text
    assert "one seed only" in part.text


def test_what_is_neither_run_nor_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadResults, match="no run"):
        write(read_folder(tmp_path), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_failed_expectation_is_seen_first(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", operations=200, failing=0.2)
    told = verdict(run)
    assert (told["state"], told["line"]) == ("bad", "1 of 2 expectations not met")
    assert [row["how"] for row in told["rows"]] == ["met by 0 of 3 seeds", "met by every seed"]


def test_many_nodes_are_sampled_and_rare_ones_kept(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", [1], operations=10, nodes=20_000)
    data = map_data(run)
    assert data is not None
    assert data["total"] == 20_000
    assert MOST_NODES * 0.9 < data["shown"] < MOST_NODES * 1.6
    attacker = data["names"]["role"].index("attacker")
    assert data["codes"]["role"].count(attacker) >= LEAST_ALIKE
    assert data["counts"]["role"][attacker] == 500


def test_a_big_run_gives_a_small_page(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", [1], operations=100_000, nodes=20_000)
    file = write_report(run, tmp_path / "report.html")
    assert file.stat().st_size < 3_000_000
    Page(file.read_text(encoding="utf-8"))


def test_a_comparison_shows_what_differs_and_both_distributions(run: Run, tmp_path: Path) -> None:
    other = made_run(tmp_path / "b", (11, 12, 13), slower=2.0, spec=SPEC.model_copy(update={"title": "Slower"}))
    text = write_comparison(compare(run, other), tmp_path / "comparison.html").read_text(encoding="utf-8")
    page = Page(text)
    assert_takes_nothing_from_outside(text, page)
    assert re.search(r"\d+ of \d+ figures differ beyond noise", page.text)
    for expected in ("Slower", "differs", "same within noise", "get (before)", "title"):
        assert expected in page.text
    assert any(tag == "svg" for tag, _ in page.found)


def test_a_sweep_has_a_page_of_its_own(tmp_path: Path) -> None:
    sweep = Sweep.create(tmp_path / "sweep", [{"nodes": 10}, {"nodes": 1000}], scenario="x", title="How it <grows>")
    for point in sweep.points:
        folder = RunFolder.create(point.path, SPEC, [1, 2])
        for seed in (1, 2):
            result = made_result(seed, operations=20, nodes=5)
            result.tables["operations"].columns["kind"] = ["get"] * 20
            result.tables["values"] = Table("values")
            folder.add(result)
    text = write(read_folder(sweep.path), tmp_path / "sweep.html").read_text(encoding="utf-8")
    page = Page(text)
    assert_takes_nothing_from_outside(text, page)
    assert "How it <grows>" in page.text
    assert "Sweep over nodes" in page.text
    assert any(tag == "svg" for tag, _ in page.found)
