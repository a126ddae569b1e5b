"""Prints the swarms' figures side by side at the end of a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

Figures = dict[str, dict[str, float]]

FIGURES = pytest.StashKey[Figures]()
FLOODS = pytest.StashKey[Figures]()


@pytest.fixture
def swarm_figures(pytestconfig: pytest.Config) -> Figures:
    """Figures by swarm, to be shown at the end."""
    return pytestconfig.stash.setdefault(FIGURES, {})


@pytest.fixture
def flood_figures(pytestconfig: pytest.Config) -> Figures:
    """Figures by what a node was flooded with, to be shown at the end."""
    return pytestconfig.stash.setdefault(FLOODS, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the tables."""
    for key, title in (
        (FIGURES, "one run, one machine; the kademlia package's values are unsigned"),
        (FLOODS, "a node of thirty, flooded; reads by itself and by others"),
    ):
        if figures := config.stash.get(key, {}):
            terminalreporter.write("\n" + _table(title, figures))


def _table(title: str, figures: Figures) -> str:
    table = Table(title=title)
    table.add_column("")
    for swarm in figures:
        table.add_column(swarm, justify="right")
    for name in sorted({name for row in figures.values() for name in row}):
        table.add_row(name, *(f"{row[name]:,.4g}" if name in row else "–" for row in figures.values()))
    text = io.StringIO()
    Console(width=120, file=text).print(table)
    return text.getvalue()
