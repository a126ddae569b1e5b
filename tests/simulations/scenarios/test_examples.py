"""The example files say what can be played."""

from pathlib import Path

import pytest

from simulations.running import run_seed
from simulations.scenario import named
from simulations.specfile import read_file

FOLDER = Path(__file__).parents[3] / "docs" / "examples" / "simulations"
FILES = sorted(FOLDER.glob("*.toml"))


def test_there_are_examples() -> None:
    stories = [file for file in FILES if read_file(file).spec.scenario == "story"]
    assert len(stories) >= 2
    assert len(FILES) - len(stories) >= 4


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_read(file: Path) -> None:
    told = read_file(file)
    world, parameters = named(told.spec.scenario).settings_for(told.spec)
    assert told.spec.title
    assert world.model_fields_set >= told.spec.world.keys()
    assert parameters.model_fields_set >= told.spec.parameters.keys()


def test_a_story_is_played() -> None:
    result = run_seed(read_file(FOLDER / "story-bad-day.toml").spec, 1)
    assert result.ok, result.error or [str(one) for one in result.expectations if not one.met]
    assert len(result.expectations) == 3
