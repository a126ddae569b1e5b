"""docs/simulations.md teaches from zero to an own experiment: every block of it is run, in order, in one folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "simulations.md"
BLOCKS = re.findall(r"^```(python|toml|console)\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\w+\.(?:py|toml))\n")


def called(arguments, folder):
    """Run a command in the folder, by the interpreter that runs the tests; give its output."""
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_block_of_the_page_does_what_it_says(tmp_path):
    commands = scripts = 0
    for language, text in BLOCKS:
        named = NAMED.match(text)
        if named:
            (tmp_path / named[1]).write_text(text, "utf-8")
        elif language == "python":
            scripts += 1
            assert called(["-c", text], tmp_path).strip()
        elif language == "console":
            for line in text.splitlines():
                words = shlex.split(line.removeprefix("$ "))
                assert words[0] == "rookery"
                commands += 1
                called(["-m", "node.cli", *words[1:]], tmp_path)
    assert (commands, scripts) == (len(re.findall(r"^\$ ", PAGE.read_text("utf-8"), re.MULTILINE)), 3)
    assert (tmp_path / "first.html").stat().st_size > 10_000
    assert list((tmp_path / "first").glob("*.parquet"))


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", PAGE.read_text("utf-8")))
def test_links_lead_somewhere(target):
    assert (PAGE.parent / target).exists()
