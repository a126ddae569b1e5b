"""What people are shown while seeds are played."""

import io
import time

import pytest

from simulations import progress as shown
from simulations.board import Notice
from simulations.progress import Lines, TerminalBars, Watch, watch
from simulations.running import Progress


def notice(name: str = "0-1", **changed: float) -> Notice:
    values: dict[str, float] = {
        "done": 1800.0,
        "planned": 7200.0,
        "events": 30_000,
        "memory": 312_000_000,
        "wall": 10.0,
    }
    values |= changed
    progress = Progress(
        1, values["done"], values["planned"], int(values["events"]), int(values["memory"]), values["wall"]
    )
    return Notice(name, 1, progress)


def test_a_seed_in_words() -> None:
    quiet = Watch(1, list, str)
    assert quiet.told(notice()) == "30 min of 2.0 h simulated, 3,000 events/s, 312 MB, 30 s left"
    # The rate is of late, not of all the time.
    assert "10,000 events/s" in quiet.told(notice(events=50_000, wall=12.0))
    # A seed that is played again begins anew.
    assert "500 events/s" in quiet.told(notice(events=500, wall=1.0))
    assert quiet.told(notice(planned=0.0, events=10, wall=10.0)) == "30 min simulated, 1 events/s, 312 MB"
    assert quiet.told(notice("m", done=50, planned=200, events=0)) == "50 of 200 computed, 312 MB, 30 s left"


def test_what_is_left_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = Watch(4, list, str)
    assert quiet.left([]) is None
    monkeypatch.setattr(time, "monotonic", lambda: quiet.began + 100)
    quiet.took(ok=True)
    # One done and a quarter of another, in 100 s: 2.75 of 4 are left.
    assert quiet.left([notice()]) == pytest.approx(220)


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = watch(3, lambda: [notice()], lambda name: f"seed of {name}", quiet=False, stream=io.StringIO())
    assert type(lines) is Lines
    for _ in range(100):
        now[0] += 0.25
        lines.look()
    lines.took(ok=False)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0] == (
        "10 s: 0 of 3 seeds done, about 110 s left; "
        "seed of 0-1: 30 min of 2.0 h simulated, 3,000 events/s, 312 MB, 30 s left"
    )
    now[0] += 10
    lines.look()
    assert "1 of 3 seeds done, 1 failed" in capsys.readouterr().err


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    out = io.StringIO()
    monkeypatch.setattr("node.cli_render.margin", lambda: Console(file=out, force_terminal=True, width=160))
    notices = [notice(), notice("0-2", planned=0.0)]
    with TerminalBars(3, lambda: list(notices), lambda name: f"seed {name[-1]}") as bars:
        bars.look()
        bars.took(ok=False)
        notices.pop()
        bars.look()
    text = out.getvalue()
    assert "seed 1" in text
    assert "1 of 3 done, 1 failed" in text
    assert "30 min of 2.0 h simulated" in text


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with watch(1, lambda: [notice()], str, quiet=True) as nothing:
        nothing.look()
        nothing.took(ok=True)
    assert type(nothing) is Watch
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_bars() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert type(watch(1, list, str, quiet=False, stream=Terminal())) is TerminalBars
    assert shown.LINE_EVERY == 10.0
