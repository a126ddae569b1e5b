"""How the demo looks: a line for each step as it happens, tables at the end; or one JSON document.

Decides words, colours and columns. Refuses to know how anything is done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from node.cli_render import emit, screen, size, span

if TYPE_CHECKING:
    from node.demo_meeting import Meeting

LABELS: Final = {
    "publish": "publish (receiver's record)",
    "prepare": "load WebRTC (once)",
    "lookup": "look-up in the DHT",
    "relays": "look for relays",
    "gather": "gather candidates",
    "signaling": "signaling (offer, answer)",
    "ice": "ICE",
    "dtls": "DTLS",
    "sctp": "SCTP",
    "proof": "proof of keys (dialled)",
    "total": "from key to open link",
    "first_byte": "first byte",
    "transfer": "transfer",
}
"""The phases of a meeting, for people, in the order they are shown."""


class StepFailed(Exception):
    """Raised in place of what went wrong, and names the step that it went wrong in."""

    def __init__(self, step: str, error: BaseException) -> None:
        super().__init__(f"{step}: {error or type(error).__name__}")
        self.step = step
        self.error = str(error) or type(error).__name__


@dataclass(slots=True)
class Row:
    """A node in the picture of the network."""

    name: str
    peer: str
    port: int
    contacts: int
    first: str = ""
    """Its part in the first meeting."""
    killed: bool = False
    second: str = ""


@dataclass(slots=True)
class Step:
    """One step of the story."""

    name: str
    seconds: float = 0.0
    note: str = ""


@dataclass(slots=True)
class Report:
    """What has happened so far, and how it is shown."""

    as_json: bool
    steps: list[Step] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    meetings: list[Meeting] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    current: str = "start"
    """The step that is being done."""

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step and show it; what is raised within comes out as `StepFailed`."""
        step = Step(name)
        self.current = name
        begun = time.monotonic()
        try:
            with self._waiting(name):
                yield step
        except Exception as error:
            raise StepFailed(name, error) from error
        step.seconds = time.monotonic() - begun
        self.steps.append(step)
        if not self.as_json:
            note = f"  [dim]{step.note}[/dim]" if step.note else ""
            screen().print(f"[green]✓[/green] {step.seconds:6.2f} s  {name}{note}")

    def heading(self, text: str) -> None:
        """Begin a new part."""
        if not self.as_json:
            screen().print(f"\n[bold]{text}[/bold]")

    def failed(self, failure: StepFailed) -> None:
        """Say which step failed: on standard error, and as a document where JSON was asked for."""
        from node.cli_render import margin, plain

        if self.as_json:
            emit({"ok": False, "failed_step": failure.step, "error": failure.error, "steps": self._steps()})
        line = plain(f"demo failed at the step {failure.step!r}: {failure.error}")
        margin().print(line, style="red", markup=False)

    def finish(self) -> None:
        """Show the figures."""
        total = time.monotonic() - self.started
        if self.as_json:
            emit(
                {
                    "ok": True,
                    "seconds": total,
                    "steps": self._steps(),
                    "nodes": [asdict(row) for row in self.rows],
                    "meetings": [asdict(meeting) for meeting in self.meetings],
                }
            )
            return
        self._show_network()
        self._show_meetings()
        screen().print(f"\n[bold green]All of it worked[/bold green] in {span(total)}; nothing is left behind.")

    def _show_network(self) -> None:
        rows = []
        for row in self.rows:
            fate = "[red]✗ killed[/red]" if row.killed else "[green]● alive[/green]"
            rows.append((row.name, f"{row.peer[:8]}…", str(row.port), str(row.contacts), row.first, fate, row.second))
        _table(("node", "key", "UDP port", "contacts", "1st meeting", "then", "2nd meeting"), rows, right=(2, 3))

    def _show_meetings(self) -> None:
        heads = ["phase", *(f"{one.sender} → {one.receiver}" for one in self.meetings)]
        rows = [
            (label, *(span(one.seconds[phase]) if phase in one.seconds else "–" for one in self.meetings))
            for phase, label in LABELS.items()
            if any(phase in one.seconds for one in self.meetings)
        ]
        rows.append(("throughput", *(f"{size(one.throughput)}/s" for one in self.meetings)))
        rows.append(("size", *(size(one.size) for one in self.meetings)))
        rows.append(("path", *(one.path for one in self.meetings)))
        rows.append(("record held by", *(f"{one.holders} nodes" for one in self.meetings)))
        rows.append(("SHA-256, both sides", *(f"{one.sha256[:16]}… ✓" for one in self.meetings)))
        _table(heads, rows, right=range(1, len(heads)))

    def _steps(self) -> list[dict[str, Any]]:
        return [asdict(step) for step in self.steps]

    def _waiting(self, name: str) -> AbstractContextManager[Any]:
        console = screen()
        return console.status(name) if console.is_terminal and not self.as_json else nullcontext()


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))  # For 80 columns.
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    screen().print(table)
