"""`rookery simulate compare`, `report` and `replay`: looking at what was played.

Decides options, words and exit codes: `replay` ends with 1 when the run was not the same run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from node.cli_exit import FAILED
from node.cli_options import Json
from simulations.cli_ends import ends
from simulations.errors import BadScenario

if TYPE_CHECKING:
    from simulations.replay import Replay
    from simulations.results import Run, RunFolder
    from simulations.running import Progress, Report

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that `run` or `sweep` made.")]


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of a run.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of another.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write an HTML page of it, too.")] = None,
    json: Json = False,
) -> None:
    """Lay two runs side by side, and say what differs beyond noise."""
    with ends(as_json=json):
        from node import cli_render as render
        from simulations.comparison import compare as compared
        from simulations.comparison_tables import comparison_tables
        from simulations.results import RunFolder

        found = compared(RunFolder.open(first).load(), RunFolder.open(second).load())
        if out is not None:
            from simulations.report import write_comparison

            write_comparison(found, out)
        if json:
            render.emit({**found.to_json(), "report": str(out) if out is not None else None})
            return
        screen = render.screen()
        screen.print(found.verdict, markup=False)
        for table in comparison_tables(found):
            screen.print(table)
        for note in found.notes:
            screen.print(f"Note: {note}", markup=False)
        if out is not None:
            screen.print(f"Report: {out}", markup=False)


def report(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The HTML file; FOLDER/report.html unless given.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", metavar="DIR", help="Write the plots as pictures, too.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    json: Json = False,
) -> None:
    """Make one self-contained HTML page of a run or a sweep."""
    with ends(as_json=json):
        from node import cli_render as render
        from simulations.report import read_folder, write

        what = read_folder(folder)
        written = write(what, out or folder / "report.html")
        pictures: list[Path] = []
        if plots is not None:
            from simulations.plots import save_plots

            pictures = save_plots(what, plots)
        if open_:
            typer.launch(written.absolute().as_uri())
        if json:
            render.emit({"report": str(written), "plots": [str(picture) for picture in pictures]})
            return
        render.screen().print(f"Report: {written}", markup=False)
        for picture in pictures:
            render.screen().print(f"Plot:   {picture}", markup=False)


def replay(
    folder: Folder,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Which seed; the first that failed, unless given.")
    ] = None,
    until: Annotated[
        str, typer.Option("--until", metavar="TIME", help="End at this virtual time: seconds, or 20min, 2h.")
    ] = "",
    events: Annotated[
        str, typer.Option("--events", metavar="A:B", help="Log deliveries A to B, counted from 1, and end there.")
    ] = "",
    log: Annotated[Path | None, typer.Option("--log", metavar="FILE", help="Write the whole log here.")] = None,
    twice: Annotated[
        bool, typer.Option("--twice", help="Play it two times, and fail at the first event that differs.")
    ] = False,
    json: Json = False,
) -> None:
    """Play a seed again, to the same event, with a log of it."""
    with ends(as_json=json):
        from simulations.results import RunFolder
        from simulations.scripts import scenario_of
        from simulations.sweeps import script_of

        kept = RunFolder.open(folder)
        result = kept.load()
        chosen = _seed(kept, result, seed)
        script = script_of(kept)
        scenario_of(kept.spec, script)
        if twice:
            if until or events or log is not None:
                raise BadScenario("--twice plays the whole seed and keeps no log: leave --until, --events, --log away")
            _twice(kept, chosen, script, as_json=json)
        else:
            _once(kept, result, chosen, script, _time(until), _range(events), log, as_json=json)


def _once(
    kept: RunFolder,
    result: Run,
    seed: int,
    script: str | None,
    until: float | None,
    events: tuple[int, int | None],
    log: Path | None,
    *,
    as_json: bool,
) -> None:
    from simulations.replay import replay as played

    facts = result.facts.get(seed, {})
    # An interrupted seed ended at a moment of wall time: nothing plays it to that very event again.
    recorded = "" if seed in result.stopped else str(facts.get("trace_hash", ""))
    with ExitStack() as stack:
        file: TextIO | None = stack.enter_context(log.open("w", encoding="utf-8")) if log is not None else None
        chosen = events != (1, None)

        def write(line: str) -> None:
            if file is not None:
                file.write(f"{line}\n")
            elif chosen and not as_json:
                print(line)

        report = stack.enter_context(_watched(seed, quiet=as_json))
        again = played(
            kept.spec, seed, recorded, script=script, until=until, events=events, write=write, progress=report
        )
    if again.result.stopped.startswith("interrupted"):
        raise KeyboardInterrupt
    verdict = _verdict(again, kept, result, seed)
    if as_json:
        _emit(again, seed, verdict)
    else:
        _show(again, seed, verdict, shown=chosen and log is None, log=log)
    if again.same is False:
        raise typer.Exit(FAILED)


@contextmanager
def _watched(seed: int, *, quiet: bool) -> Iterator[Report]:
    """Show how far the one seed is that is played in the block."""
    from simulations.board import Notice
    from simulations.progress import watch

    notices: list[Notice] = []
    with watch(1, lambda: list(notices), str, quiet=quiet) as shown:

        def report(progress: Progress) -> None:
            notices[:] = [Notice(f"seed {seed}", 0, progress)]
            shown.look()

        yield report


def _verdict(again: Replay, kept: RunFolder, result: Run, seed: int) -> str:
    from simulations.results_code import code_version

    if again.same:
        return f"the same run to the last byte: trace {again.hash[:16]}… as recorded"
    ours, theirs = code_version()["sources"], result.sources.get(seed, "")
    if again.same is False:
        why = "the code is the same, so the scenario is not deterministic: --twice finds the first event that differs"
        if theirs != ours:
            why = f"other code made it: {kept.meta.get('code')}, Python {kept.meta.get('python')}; here: {ours}"
        return f"NOT the same run: trace {again.hash[:16]}…, recorded was {again.recorded_hash[:16]}…; {why}"
    if not again.whole:
        return f"{again.result.stopped}; only a whole run can be compared with what was recorded"
    return "the recorded seed left no trace to compare with (it was interrupted, or its process was killed)"


def _show(again: Replay, seed: int, verdict: str, *, shown: bool, log: Path | None) -> None:
    from node import cli_render as render

    screen = render.screen()
    if not shown:
        for line in again.last:
            screen.print(line, markup=False)
    if again.result.error:
        screen.print(f"failed: {again.result.error}", markup=False)
        if trace := again.result.facts.get("traceback"):
            screen.print(trace.rstrip(), markup=False, style="dim")
    for one in again.result.expectations:
        if not one.met:
            screen.print(str(one), markup=False)
    if log is not None:
        screen.print(f"Log: {log}", markup=False)
    screen.print(f"seed {seed}: {verdict}", markup=False)


def _emit(again: Replay, seed: int, verdict: str) -> None:
    from dataclasses import asdict

    from node import cli_render as render
    from simulations.results_tables import plain

    document: dict[str, Any] = {
        "seed": seed,
        "same": again.same,
        "verdict": verdict,
        "trace_hash": again.hash,
        "recorded_hash": again.recorded_hash or None,
        "error": again.result.error or None,
        "stopped": again.result.stopped or None,
        "expectations": [asdict(one) for one in again.result.expectations],
        "facts": again.result.facts,
        "last": list(again.last),
    }
    render.emit(plain(document))


def _twice(kept: RunFolder, seed: int, script: str | None, *, as_json: bool) -> None:
    from node import cli_render as render
    from simulations.replay import same_results, twice

    with _watched(seed, quiet=as_json) as report:
        divergence, results = twice(kept.spec, seed, script=script, progress=report)
    same = divergence is None and same_results(results)
    if as_json:
        told = None if divergence is None else str(divergence)
        hashes = [one.facts["trace_hash"] for one in results]
        render.emit({"seed": seed, "same": same, "divergence": told, "trace_hashes": hashes})
    elif same:
        hash_ = results[0].facts["trace_hash"]
        render.screen().print(f"seed {seed}: twice the same run, trace {hash_[:16]}…", markup=False)
    elif divergence is not None:
        render.screen().print(f"seed {seed}: {divergence}", markup=False)
    else:
        render.screen().print(f"seed {seed}: the same deliveries, but other results", markup=False)
    if not same:
        raise typer.Exit(FAILED)


def _seed(kept: RunFolder, result: Run, seed: int | None) -> int:
    if seed is not None:
        if seed not in kept.seeds:
            raise BadScenario(f"seed {seed} is none of this run's: {', '.join(map(str, kept.seeds))}")
        return seed
    unmet = {one.seed for one in result.expectations if not one.met}
    failing = [one for one in kept.seeds if one in result.errors or one in unmet]
    return failing[0] if failing else kept.seeds[0]


def _time(until: str) -> float | None:
    from simulations.durations import parse_duration

    if not until:
        return None
    return parse_duration(f"{until}s" if until[-1].isdigit() else until, "--until")


def _range(events: str) -> tuple[int, int | None]:
    if not events:
        return 1, None
    first, colon, last = events.partition(":")
    if not all(part.isdigit() or (part == "" and colon) for part in (first, last)) or not (first or last):
        raise BadScenario(f"--events {events!r} is not A:B, two numbers of deliveries counted from 1")
    begin, end = int(first or 1), int(last) if last else (None if colon else int(first))
    if begin < 1 or (end is not None and end < begin):
        raise BadScenario(f"--events {events!r}: the first must be 1 or more, and not after the last")
    return begin, end
