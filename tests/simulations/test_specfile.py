"""What a scenario file may say, and what is said about one that is wrong."""

from pathlib import Path

import pytest

from simulations.specfile import ScenarioFile, read_file, read_text
from simulations.specfile_faults import BadFile
from tests.simulations.quick_script import quick_script

FILE = Path("net.toml")

STORY = """\
title = "Mine"
seeds = 3

[world]
loss = 0.01

[[nodes]]
count = 20

[[step]]
do = "put"
count = 5

[[step]]
do = "get"
count = 5

[[expect]]
figure = "get.success"
at_least = 0.99
"""


def read(text: str) -> ScenarioFile:
    return read_text(text.encode(), FILE)


def faults(text: str) -> list[str]:
    with pytest.raises(BadFile) as caught:
        read(text)
    assert str(caught.value) == "; ".join(map(str, caught.value.faults))
    return [str(fault) for fault in caught.value.faults]


def test_a_story() -> None:
    told = read(STORY)
    assert told.seeds == (1, 2, 3)
    assert told.spec.scenario == "story"
    assert told.spec.title == "Mine"
    assert told.spec.world == {"loss": 0.01}
    assert told.spec.parameters["nodes"] == [{"count": 20}]
    assert [step["do"] for step in told.spec.parameters["steps"]] == ["put", "get"]
    assert [one.figure for one in told.spec.expect] == ["get.success"]
    # What is kept in run.json and sent to workers gives the same run again.
    assert type(told.spec).model_validate_json(told.spec.model_dump_json()) == told.spec


def test_a_list_of_seeds_and_a_sweep() -> None:
    told = read(
        STORY.replace("seeds = 3", "seeds = [7, 9]")
        + '[sweep]\n"world.loss" = "0:0.2:0.1"\n"nodes[1].count" = [10, 20]\n'
    )
    assert told.seeds == (7, 9)
    assert told.vary == {"world.loss": [0.0, 0.1, 0.2], "nodes[1].count": [10, 20]}


def test_a_script_beside_the_file(tmp_path: Path) -> None:
    script = quick_script(tmp_path)
    (tmp_path / "x.toml").write_text('scenario = "quick.py"\n[parameters]\nwait = 1\n')
    told = read_file(tmp_path / "x.toml")
    assert told.spec.scenario == str(script)
    assert told.spec.parameters == {"wait": 1}
    (tmp_path / "y.toml").write_text('scenario = "quick.py"\n\n[parameters]\nwiat = 1\n')
    with pytest.raises(BadFile, match=r"y\.toml:4: parameters\.wiat = 1: there is no such key: did you mean wait\?"):
        read_file(tmp_path / "y.toml")


# What is replaced in the story, by what, and what must be said of it.
WRONG = [
    ("loss = 0.01", "loss = 2", "net.toml:5: world.loss = 2: should be less than or equal to 1"),
    ("loss = 0.01", 'latency = "moon"', 'net.toml:5: world.latency = "moon": '),
    ("loss = 0.01", 'nat = "moon"', 'net.toml:5: world.nat = "moon": '),
    ("loss = 0.01", 'loss = "x"', 'net.toml:5: world.loss = "x": should be a valid number'),
    ("loss = 0.01", "lose = 1", "net.toml:5: world.lose = 1: there is no such key: did you mean loss?"),
    ("loss = 0.01", 'seal = "wax"', "net.toml:5: world.seal = \"wax\": allowed are 'real' or 'cheap'"),
    ('title = "Mine"', 'engine = "x"', "net.toml:1: engine = \"x\": allowed are 'protocol' or 'model'"),
    ('title = "Mine"', 'engine = "model"', 'net.toml:1: engine = "model": scenario story runs by protocol'),
    ('title = "Mine"', "titel = 1", "net.toml:1: titel = 1: there is no such key: did you mean title?"),
    ("seeds = 3", "seeds = 0", "net.toml:2: seeds = 0: should be 1 seed or more"),
    ("seeds = 3", 'seeds = "x"', 'net.toml:2: seeds = "x": should be how many seeds'),
    ("seeds = 3", "seeds = [1, -1]", "net.toml:2: seeds: should be whole numbers, 0 or more"),
    ("seeds = 3", "seeds = [1, 1]", "net.toml:2: seeds: names a seed twice"),
    ("count = 20", "count = 0", "net.toml:8: nodes[1].count = 0: should be greater than or equal to 1 (how many)"),
    ("count = 20", "cuont = 1", "net.toml:8: nodes[1].cuont = 1: there is no such key: did you mean count?"),
    ("count = 20", "", "net.toml:7: nodes[1].count: is missing (how many)"),
    (
        "count = 20",
        'count = 1\nspread = "2x"',
        "net.toml:9: nodes[1].spread = \"2x\": duration '2x' is no span of time",
    ),
    ("count = 20", 'count = 1\nspread = "2min"', ""),
    ("count = 20", 'count = 1\nprofile = "hom"', 'net.toml:9: nodes[1].profile = "hom": there is no such profile'),
    ('do = "put"', 'do = "pu"', 'net.toml:11: step[1].do = "pu": is no step: did you mean put? there are run,'),
    ('do = "put"', "", "net.toml:10: step[1]: has no `do`, which says what happens"),
    (
        'do = "put"',
        'do = "put"\npaths = 1',
        "net.toml:12: step[1].paths = 1: there is no such key: did you mean phase? there are count",
    ),
    ('do = "put"', 'do = "find"', 'net.toml:15: step[2].do = "get": a step do = "put" must come before it'),
    ('do = "put"\ncount = 5', 'do = "kill"\nfraction = 3', "net.toml:12: step[1].fraction = 3: should be less than or"),
    ('do = "put"\ncount = 5', 'do = "run"', "net.toml:10: step[1]: give hours, minutes or seconds above 0"),
    ('do = "put"\ncount = 5', 'do = "latency"\nmodel = "x"', 'net.toml:12: step[1].model = "x": '),
    ('do = "put"\ncount = 5', 'do = "heal"', 'net.toml:11: step[1].do = "heal": a step do = "partition" must come'),
    ("at_least = 0.99", "", "net.toml:18: expect[1]: give at_least, at_most or both"),
    (
        "at_least = 0.99",
        "at_last = 1",
        "net.toml:20: expect[1].at_last = 1: there is no such key: did you mean at_least",
    ),
    ("[[nodes]]\ncount = 20\n", "", "net.toml:1: nodes: is missing: without `scenario` a file tells a story"),
    (
        'title = "Mine"',
        'scenario = "chrun"',
        "net.toml:1: scenario = \"chrun\": there is no scenario 'chrun': did you mean",
    ),
    ('title = "Mine"', 'scenario = "nowhere.py"', 'net.toml:1: scenario = "nowhere.py": '),
    ("[[expect]]", "[parameters]\n[[expect]]", ""),
    ("[[expect]]", "[parameters]\na = 1\n[[expect]]", "net.toml:18: parameters: a story has none"),
    ("seeds = 3", "seeds = ", "net.toml:2:9: is not valid TOML: invalid value"),
    ("seeds = 3", "seeds = 3\nseeds = 4", "net.toml:3:10: is not valid TOML: cannot overwrite a value"),
    ("at_least = 0.99\n", 'at_least = "', "net.toml:20:13: is not valid TOML: "),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG, ids=[case[2][:60] for case in WRONG])
def test_what_is_wrong_is_told_with_line_key_value_and_what_is_allowed(old: str, new: str, said: str) -> None:
    text = STORY.replace(old, new, 1)
    assert text != STORY
    if not said:
        assert read(text).spec.scenario == "story"
        return
    told = faults(text)
    assert any(one.startswith(said) for one in told), told


def test_all_faults_are_told_in_order_of_their_lines() -> None:
    text = STORY.replace("loss", "lss").replace("seeds = 3", "seeds = 0").replace("count = 20", "count = -1")
    assert [one.split(":")[1] for one in faults(text)] == ["2", "8"]
    # World and parameters are looked at when the top is in order.
    assert [one.split(":")[1] for one in faults(STORY.replace("loss", "lss") + '[sweep]\nx = "1"\n')] == ["5"]


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ('"world.lss" = [1]', 'net.toml:22: sweep."world.lss": there is no such key: did you mean world.loss?'),
        ('"world.loss" = "0:2:1"', 'net.toml:22: sweep."world.loss" = "0:2:1": 2: Input should be less than or equal'),
        ('"world.loss" = []', 'net.toml:22: sweep."world.loss": has no values'),
        ('"world.loss" = "1:0"', 'net.toml:22: sweep."world.loss" = "1:0": \'1:0\' never gets from 1 to 0'),
        (
            '"step[9].count" = [1]',
            "net.toml:22: sweep.\"step[9].count\": 'step[9].count': there is no element 9, only 2",
        ),
    ],
)
def test_a_wrong_sweep(sweep: str, said: str) -> None:
    told = faults(f"{STORY}[sweep]\n{sweep}\n")
    assert told[0].startswith(said), told


def test_text_that_is_not_utf8() -> None:
    with pytest.raises(BadFile, match=r"net\.toml:2: byte 0xff is not UTF-8"):
        read_text(b"a = 1\n\xff", FILE)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        read_file(Path("nowhere.toml"))
