"""Scenarios in scripts: loaded by path, in this process and in others."""

from pathlib import Path

import pytest

from simulations.errors import BadScenario
from simulations.scripts import absolute, is_script, load_script, scenario_of
from simulations.settings import RunSpec
from tests.simulations.quick_script import QUICK, quick_script


def test_the_one_scenario_of_a_script(tmp_path: Path) -> None:
    path = quick_script(tmp_path)
    found = load_script(str(path))
    assert (found.name, found.engines) == ("quick", ("protocol",))
    assert load_script(f"{path}:quick") is found
    spec = RunSpec.model_validate({"scenario": str(path), "parameters": {"wait": 3}})
    assert scenario_of(spec).settings_for(spec)[1].model_dump()["wait"] == 3.0


def test_a_script_that_changed_is_loaded_again(tmp_path: Path) -> None:
    path = quick_script(tmp_path)
    assert load_script(str(path)).title == "A quick one"
    path.write_text(QUICK.replace("A quick one", "Another"), encoding="utf-8")
    assert load_script(str(path)).title == "Another"
    # The text that a run kept counts, whatever became of the file.
    assert load_script(str(path), QUICK).title == "A quick one"


def test_a_script_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_the_script.py").write_text("TITLE = 'from beside'\n")
    path = tmp_path / "one.py"
    path.write_text("from beside_the_script import TITLE\n" + QUICK.replace('"A quick one"', "TITLE"))
    assert load_script(str(path)).title == "from beside"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "registers no scenario"),
        ("x = 1\ny = (\n", r"one\.py:2: SyntaxError"),
        ("x = 1\n\nimport nowhere_to_be_found\n", r"one\.py:3: ModuleNotFoundError: No module named"),
        ("def f():\n    raise ValueError('bad luck')\n\nf()\n", r"one\.py:2: ValueError: bad luck"),
        (QUICK.replace('"quick"', '"churn"'), "there are two scenarios named 'churn'"),
    ],
)
def test_scripts_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "one.py"
    path.write_text(text)
    with pytest.raises(BadScenario, match=said):
        load_script(str(path))


def test_one_of_several(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(QUICK + QUICK.replace('"quick"', '"slow"'))
    with pytest.raises(BadScenario, match=r"registers several scenarios: .* there are quick, slow"):
        load_script(str(path))
    assert load_script(f"{path}:slow").name == "slow"
    with pytest.raises(BadScenario, match="has no scenario 'fast': there are quick, slow"):
        load_script(f"{path}:fast")


def test_names_of_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_script("a.py")
    assert is_script("/x/a.py:name")
    assert not is_script("churn")
    assert not is_script("a.toml")
    assert absolute("churn") == "churn"
    assert absolute("a.py:b") == f"{tmp_path / 'a.py'}:b"
    with pytest.raises(BadScenario, match="cannot be read: No such file"):
        load_script("a.py")
