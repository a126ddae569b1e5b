"""How documents look to people: tables, fields, spans of time; and to programs: JSON.

Decides colours and widths: plain and never cut short where the output is no terminal. Refuses to fetch anything.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console

Document = Mapping[str, Any]

PIPE_WIDTH: Final = 10_000
"""Columns where no terminal sets them: a line for a program must never be wrapped or cut. UNSOURCED"""

ID_WIDTH: Final = 52
"""Characters of a peer id."""

NOTHING: Final = "–"


def screen() -> Console:
    """The console for results."""
    return _console(sys.stdout)


def margin() -> Console:
    """The console for what is said beside the results: progress, spinners, warnings."""
    return _console(sys.stderr)


def emit(document: Any) -> None:
    """Write one document to standard output; indented for the eye on a terminal, one line otherwise."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(document, ensure_ascii=False, indent=indent), flush=True)


def emit_line(document: Any) -> None:
    """Write one document of a stream: always one line, and at once."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


def fields(document: Document, *, skip: Sequence[str] = (), console: Console | None = None) -> None:
    """Show a document as names and values, nested ones indented."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    _add_fields(grid, document, skip, 0)
    _show(grid, console or screen())


def table(rows: Iterable[Document], columns: Mapping[str, str], *, empty: str) -> None:
    """Show documents as rows; `columns` maps a key to its heading. Columns that nothing fills are left out."""
    from rich.table import Table

    rows = list(rows)
    console = screen()
    if not rows:
        console.print(empty, style="dim")
        return
    shown = {key: head for key, head in columns.items() if any(row.get(key) not in (None, "", [], {}) for row in rows)}
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for key, head in shown.items():
        # An id that is broken in two cannot be copied.
        grid.add_column(head, overflow="fold", min_width=ID_WIDTH if key in ("peer", "owner") else None)
    for row in rows:
        grid.add_row(*(text(row.get(key), key) for key in shown))
    _show(grid, console)


def text(value: Any, name: str = "") -> str:
    """One value as people read it; `name` tells the unit."""
    if value is None or value in ([], {}):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and _is_span(name):
        return span(float(value))
    if isinstance(value, int | float) and name in MOMENTS:
        return moment(float(value))
    if isinstance(value, int) and (
        name in ("bytes", "resumed_at") or name.endswith(("_bytes", "size", "bytes_sent", "bytes_received"))
    ):
        return size(value)
    if name == "throughput":
        return f"{size(float(value))}/s"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return "\n".join(text(item, name) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{label(key)} {text(item, key)}" for key, item in value.items() if item is not None)
    return escape(str(value))


def escape(written: str) -> str:
    """Keep what a stranger wrote from steering the terminal or Rich's markup."""
    from rich.markup import escape as rich_escape

    return rich_escape(plain(written))


def plain(written: str) -> str:
    """The same for output that is not Rich's."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in written)


def label(name: str) -> str:
    """A field's name for people."""
    return name.replace("_", " ")


def span(seconds: float) -> str:
    """A span of time with the unit that fits: `320 µs`, `12 ms`, `4.2 s`, `3 min`, `5.1 h`, `2 d`."""
    size_of = abs(seconds)
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s"), (7200.0, 1 / 60, "min")):
        if size_of < limit:
            return f"{seconds * factor:.3g} {unit}"
    if size_of < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"


def moment(then: float) -> str:
    """A point of time as its distance from now: `12 s ago`, `in 3.2 h`."""
    ahead = then - time.time()
    return f"in {span(ahead)}" if ahead > 0 else f"{span(-ahead)} ago"


def size(count: float) -> str:
    """A number of bytes with the unit that fits (1 MB = 10^6)."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(count) >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def _is_span(name: str) -> bool:
    return name.endswith(("seconds", "rtt", "uptime", "age", "offset", "expires_in", "_time"))


MOMENTS: Final = frozenset(
    {"last_seen", "online_since", "changed", "expires", "published_at", "expires_at", "issued_at", "revoked_at", "at"}
)
"""Names of points of time, in Unix seconds."""


def _add_fields(grid: Any, document: Document, skip: Sequence[str], depth: int) -> None:
    for name, value in document.items():
        if name in skip:
            continue
        head = "  " * depth + label(name)
        if isinstance(value, Mapping) and value:
            grid.add_row(head, "")
            spans = {phase: span(seconds) for phase, seconds in value.items()} if name == "phases" else value
            _add_fields(grid, spans, (), depth + 1)
        else:
            grid.add_row(head, text(value, name))


def _show(grid: Any, console: Console) -> None:
    """Print a table; without the blanks that fill its columns where nobody looks."""
    if console.is_terminal:
        console.print(grid)
        return
    with console.capture() as capture:
        console.print(grid)
    console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _console(file: Any) -> Console:
    from rich.console import Console

    # Looked up at each use: a test, or a shell, may have put another stream there.
    return Console(file=file, highlight=False, soft_wrap=not file.isatty(), width=None if file.isatty() else PIPE_WIDTH)
