"""How values look to people: units, strangers' text, width."""

import io
import json
import sys

import pytest

from node import cli_render as render


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.00032, "320 µs"),
        (0.012, "12 ms"),
        (4.2, "4.2 s"),
        (180, "3 min"),
        (18_360, "5.1 h"),
        (172_800, "2.0 d"),
        (-3600, "-60 min"),
    ],
)
def test_spans_have_the_unit_that_fits(seconds, shown):
    assert render.span(seconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (999, "999 B"), (30_000_000, "30.0 MB"), (5e9, "5.0 GB")])
def test_sizes_have_the_unit_that_fits(count, shown):
    assert render.size(count) == shown


def test_moments_are_told_from_now(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1000.0)
    assert render.moment(988.0) == "12 s ago"
    assert render.moment(4600.0) == "in 60 min"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("rtt", 0.012, "12 ms"),
        ("rtt", None, "–"),
        ("found", True, "yes"),
        ("size", 1000, "1.0 kB"),
        ("throughput", 5e7, "50.0 MB/s"),
        ("homes", ["a", "b"], "a\nb"),
        ("reasons", {"cas_mismatch": 2, "timeout": None}, "cas mismatch 2"),
        ("name", "[red]\x1b[31mevil\r\n", "\\[red]�[31mevil��"),
    ],
)
def test_values_by_name(name, value, shown):
    assert render.text(value, name) == shown


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_pipe_gets_whole_lines_and_no_colour(capsys):
    long = "x" * 500
    render.table([{"peer": long, "rtt": 0.1}], {"peer": "peer", "rtt": "rtt", "age": "age"}, empty="none")
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["peer", "rtt"]
    assert row == f"{long}  100 ms"
    assert "\x1b" not in row


def test_a_terminal_gets_colours_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for wanted in (True, False):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        render.screen().print("[red]x[/red]")
        assert ("\x1b[31m" in terminal.getvalue()) is wanted
        monkeypatch.setenv("NO_COLOR", "1")


def test_json_is_one_line_in_a_pipe_and_indented_on_a_terminal(capsys, monkeypatch):
    render.emit({"a": "ü"})
    assert capsys.readouterr().out == '{"a": "ü"}\n'
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    render.emit({"a": 1})
    shown = terminal.getvalue()
    assert json.loads(shown) == {"a": 1}
    assert shown.count("\n") == 3


def test_where_a_transfer_went_on_is_a_number_of_bytes():
    assert render.text(208_404_480, "resumed_at") == "208.4 MB"
