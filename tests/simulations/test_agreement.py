"""Both engines give the same figures, by a rule that few runs cannot satisfy; and the page says how it was made."""

import re
from pathlib import Path

import numpy as np
import pytest

from simulations.agreement import main
from simulations.agreement_page import CITED, Compared, page
from simulations.agreement_published import Row
from simulations.agreement_verdicts import RULES, difference_of, distance, judged, verdict
from simulations.agreement_worlds import ENGINES, WORLDS, NotPlayed, Setting, play_worlds, sample
from simulations.statistics import Interval

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "results" / "agreement.md"
BY_NAME = {rule.name: rule for rule in RULES}


def judge(setting, folder):
    runs = play_worlds([setting], folder, quiet=True)
    protocol, model = (sample(runs[f"{setting.name}/{engine}"], setting) for engine in ENGINES)
    return {rule.name: verdict(rule, protocol, model) for rule in RULES}, protocol, model


def told(verdicts):
    return "\n".join(
        f"{name}: protocol {one.protocol.value:.3f}, model {one.model.value:.3f}, difference "
        f"{one.difference.low:.3f} to {one.difference.high:.3f}, allowed {one.allowed:.3f}: {one.word}"
        for name, one in verdicts.items()
    )


# The rule


def test_whole_interval_within_agrees_outside_differs_across_is_open():
    assert judged(Interval(0.01, -0.02, 0.04, 4, "seeds"), 0.05) == "agree"
    assert judged(Interval(0.01, -0.06, 0.08, 4, "seeds"), 0.05) == "open"
    assert judged(Interval(0.09, 0.06, 0.12, 4, "seeds"), 0.05) == "differ"
    assert judged(Interval(-0.09, -0.12, -0.06, 4, "seeds"), 0.05) == "differ"
    assert judged(Interval(0.0), 0.05) == "open"


def test_welchs_interval_is_the_textbooks():
    # scipy.stats.ttest_ind(b, a, equal_var=False).confidence_interval() gives the same.
    found = difference_of([1.0, 1.1, 0.9, 1.0], [1.2, 1.4, 1.3, 1.5])
    assert found.value == pytest.approx(0.35)
    assert (found.low, found.high) == pytest.approx((0.15447, 0.54553), abs=1e-4)


def test_distance_is_that_of_kolmogorov_and_smirnov():
    from scipy.stats import ks_2samp

    rng = np.random.Generator(np.random.PCG64(1))
    a, b = rng.normal(0, 1, 300), rng.normal(0.3, 1, 200)
    assert distance(a, b) == pytest.approx(ks_2samp(a, b).statistic)


def few(value):
    return {column: [np.full(50, value) + seed / 100 for seed in range(3)] for column in ("seconds", "success")}


def test_a_tenth_more_is_no_agreement():
    rule = BY_NAME["seconds mean"]
    assert verdict(rule, few(1.0), few(1.0)).word == "agree"
    assert verdict(rule, few(1.0), few(1.2)).word == "differ"


def test_one_network_is_judged_over_its_operations():
    rng = np.random.Generator(np.random.PCG64(1))
    one, other = ({"seconds": [rng.normal(mean, 0.1, 4000)]} for mean in (1.0, 1.01))
    found = verdict(BY_NAME["seconds mean"], one, other)
    assert (found.word, found.difference.over) == ("agree", "operations")


def test_a_published_figure_is_near_or_a_bound():
    assert Row("t", "f", 0.5, 0.52, 0.03, "model").word == "reproduced"
    assert Row("t", "f", 0.5, 0.54, 0.03, "model").word == "not reproduced"
    assert Row("t", "f", 2.0, 8.0, 0.0, "model", bound="at least").word == "reproduced"
    assert Row("t", "f", 2.0, 1.9, 0.0, "model", bound="at least").word == "not reproduced"
    assert Row("t", "f", 0.14, 0.05, 0.0, "real code", bound="at most").word == "reproduced"


# The engines

SMALL = Setting("small", "150 nodes", {"nodes": 150, "operations": 200, "minutes": 1.5}, {}, (1, 2, 3))
MUST_AGREE = ("hops distance", "seconds distance", "success mean", "failures mean")
"""What so few look-ups can tell for sure."""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return judge(SMALL, tmp_path_factory.mktemp("small"))


def test_no_figure_of_the_engines_differs(small):
    verdicts, *_ = small
    differ = {name: one for name, one in verdicts.items() if one.word == "differ"}
    assert not differ, told(differ)
    unsure = {name: verdicts[name] for name in MUST_AGREE if verdicts[name].word != "agree"}
    assert not unsure, told(unsure)
    for name in ("hops mean", "requests mean", "seconds mean"):
        one = verdicts[name]
        assert abs(one.difference.value) <= one.allowed, told({name: one})


def test_a_model_of_other_look_ups_would_be_found_out(small):
    from simulations.model import ModelWorld

    _, protocol, _ = small
    runs = [ModelWorld(150, seed, alpha=5, latency="lognormal:50ms,0.4").lookups(2000) for seed in (1, 2, 3)]
    other = {
        "seconds": [run.seconds for run in runs],
        "requests": [run.requests.astype(float) for run in runs],
    }
    assert verdict(BY_NAME["seconds mean"], protocol, other).word == "differ"
    assert verdict(BY_NAME["seconds distance"], protocol, other).word == "differ"


def test_what_was_played_is_not_played_again_and_no_other_settings_are_taken_for_it(tmp_path):
    tiny = Setting("tiny", "20 nodes", {"nodes": 20, "operations": 5, "minutes": 0.2}, {}, (1, 2))
    play_worlds([tiny], tmp_path, quiet=True)
    kept = tmp_path / "tiny" / "protocol" / "seeds" / "1.json"
    before = kept.stat().st_mtime_ns
    play_worlds([tiny], tmp_path, quiet=True)
    assert kept.stat().st_mtime_ns == before
    other = Setting("tiny", "20 nodes", {"nodes": 21, "operations": 5, "minutes": 0.2}, {}, (1, 2))
    with pytest.raises(NotPlayed, match="other settings"):
        play_worlds([other], tmp_path, quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["thousand", "loss", "third-dead"])
def test_no_figure_differs_in_larger_worlds_and_bad_weather(name, tmp_path):
    setting = next(one for one in WORLDS if one.name == name)
    verdicts, *_ = judge(setting, tmp_path)
    differ = {name: one for name, one in verdicts.items() if one.word == "differ"}
    assert not differ, told(differ)


# The page


def test_the_page_carries_commands_seeds_and_verdicts(small):
    verdicts, *_ = small
    text = page(
        [Compared(SMALL, list(verdicts.values()), "90 contacts a node.")],
        [Row("hops a decade", "k = 20", 0.5845, 0.584, 0.006, "model")],
        [],
        command="python -m simulations.agreement --out x",
        code="Rookery 1",
        commands=[SMALL.command(engine) for engine in ENGINES],
        prose="",
    )
    assert "150 nodes; seeds 1, 2, 3. 90 contacts a node." in text
    assert "rookery simulate run two-engines --engine model --seeds 1,2,3 --set nodes=150" in text
    assert text.count("| agree |") + text.count("| open |") == len(RULES)
    assert "| k = 20 | model | 0.5845 | 0.584 | ± 0.006 | reproduced |" in text


def test_the_page_in_the_documentation_says_what_made_it():
    text = PAGE.read_text(encoding="utf-8")
    assert "`python -m simulations.agreement --out docs/results/agreement.md" in text
    sections = re.findall(r"^### (\S+)\n\n[^\n]*; seeds ([\d, ]+)\.", text, re.MULTILINE)
    settings = {one.name: one for one in WORLDS}
    assert len(sections) >= 10
    for name, seeds in sections:
        assert seeds == ", ".join(map(str, settings[name].seeds))
        for engine in ENGINES:
            assert settings[name].command(engine) in text
    for picture in re.findall(r"\]\((agreement-[\w-]+\.svg)\)", text):
        assert (PAGE.parent / picture).stat().st_size < 150_000
    for _, tests in CITED:
        for file in re.findall(r"`([^`]+)`", tests):
            assert (ROOT / file).is_file(), file


def test_unknown_worlds_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "x.md"), "--without", "mars"])
    assert "no world mars: there are quiet" in capsys.readouterr().err
