"""A configuration file gets single settings and keeps everything else, or is left as it was."""

import tomllib
from pathlib import Path

import pytest

from dht.errors import LocalError
from node.adapters.config_file import change_file, with_settings

CHANGES = {"network": "allotment", "contacts": ("a@192.0.2.1:1", "b@192.0.2.2:2")}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'network = "allotment"\ncontacts = ["a@192.0.2.1:1", "b@192.0.2.2:2"]\n'),
        (
            "# mine\nport = 7\n",
            '# mine\nport = 7\nnetwork = "allotment"\ncontacts = ["a@192.0.2.1:1", "b@192.0.2.2:2"]\n',
        ),
        (
            'network = "old"  # here\ncontacts = [\n  "x@192.0.2.3:3", # why ]\n]\nport = 7',
            'network = "allotment"\ncontacts = ["a@192.0.2.1:1", "b@192.0.2.2:2"]\nport = 7\n',
        ),
        (
            "[table]\nnetwork = 1\n",
            'network = "allotment"\ncontacts = ["a@192.0.2.1:1", "b@192.0.2.2:2"]\n[table]\nnetwork = 1\n',
        ),
    ],
)
def test_settings_are_set_and_the_rest_stays(before: str, after: str) -> None:
    changed = with_settings(before, CHANGES)
    assert tomllib.loads(changed) == {**tomllib.loads(before), **{k: _listed(v) for k, v in CHANGES.items()}}
    assert changed.replace("\n\n", "\n") == after
    assert with_settings(changed, CHANGES) == changed


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("before", ["port = ", '"network" = "quoted"\n', 'x = """\nnetwork = 1\n"""\n'])
def test_what_it_cannot_change_it_does_not_write(tmp_path: Path, before: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(before)
    with pytest.raises(LocalError, match=r"config\.toml"):
        change_file(file, CHANGES)
    assert file.read_text() == before


def test_a_key_makes_the_file_private(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "config.toml"
    change_file(file, CHANGES)
    file.chmod(0o644)
    change_file(file, {"network": "other"})
    assert file.stat().st_mode & 0o777 == 0o644
    change_file(file, {"network_key": "ab" * 32})
    assert file.stat().st_mode & 0o777 == 0o600
    assert tomllib.loads(file.read_text())["network"] == "other"
