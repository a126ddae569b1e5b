"""`rookery bootstrap run` before any node starts: a list that no node would take is not served."""

import pytest
from typer.testing import CliRunner

from bootstrap import operations
from node.cli import app

DRAFT = """\
network = "main"
lifetime_days = 30

[trust]
signers = ["{signer}"]
threshold = 1

[[contact]]
key = "mz9p4q5m4t9s9ewqhfq3p8k5sdifg74pjnf7i6q9dtzynjfu7hty"
address = ["192.0.2.7:4000"]
"""


@pytest.fixture
def signed(tmp_path, monkeypatch):
    """A signed list and whom to trust; no node may be started."""
    monkeypatch.setenv("ROOKERY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("node.cli_run.node_for", lambda config: pytest.fail("a node was started"))
    public = operations.keygen(tmp_path / "signer.key")
    draft = tmp_path / "draft.toml"
    draft.write_text(DRAFT.format(signer=public.text))
    operations.sign(draft, tmp_path / "signer.key", tmp_path / "list.json")
    return tmp_path / "list.json", public, draft


def run(*args):
    return CliRunner().invoke(app, ["bootstrap", "run", *map(str, args)], catch_exceptions=False)


def test_a_tampered_list_is_not_served(signed):
    path, public, _ = signed
    path.write_text(path.read_text().replace("a", "b", 1))
    result = run("--list", path, "--bootstrap-signer", public.text)
    assert result.exit_code == 2
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "hint"]
    assert str(path) in result.stderr


def test_a_list_of_another_signer_is_not_served(signed, tmp_path):
    path, _, _ = signed
    other = operations.keygen(tmp_path / "other.key")
    result = run("--list", path, "--bootstrap-signer", other.text)
    assert result.exit_code == 2
    assert "refused" in result.stderr


@pytest.mark.parametrize(
    ("args", "part"),
    [([], "nobody is trusted"), (["--http", "nonsense"], "HOST:PORT"), (["--http", "127.0.0.1:99999"], "HOST:PORT")],
)
def test_what_is_missing_or_wrong_is_named(signed, args, part):
    path, _, _ = signed
    result = run("--list", path, *args)
    assert result.exit_code == 2
    assert part in result.stderr
