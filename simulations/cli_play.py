"""`rookery simulate run` and `sweep`: play, show how far it is, keep the results, say what came of it.

Decides options, folders and exit codes: 0 when every seed met what was expected, 1 when one did not, 130 after Ctrl-C,
with everything kept that was done by then.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.cli_exit import FAILED, INTERRUPTED, debugging
from node.cli_options import Json
from simulations.cli_ends import ends
from simulations.cli_spec import Asked, asked, command_line, complete_names
from simulations.errors import BadScenario

if TYPE_CHECKING:
    from simulations.executors import Job, Place
    from simulations.results import Run, RunFolder
    from simulations.results_sweep import Sweep

FREE: Final = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Options that only the scenario knows, such as --nodes, are no errors of the command line's."""

FOLDER: Final = "runs"
"""Where results go, below the folder one is in, unless --out says otherwise."""

What = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME|FILE",
        help="A scenario (see list), a scenario file (.toml), or a script (.py, .py:NAME).",
        autocompletion=complete_names,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the scenario; --KEY VALUE says the same."),
]
World = Annotated[list[str] | None, typer.Option("--world", metavar="KEY=VALUE", help="A setting of the world.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Play this one seed.")]
Seeds = Annotated[str, typer.Option("--seeds", metavar="N|A,B,C", help="How many seeds, or which.")]
EngineOption = Annotated[str | None, typer.Option("--engine", metavar="protocol|model", help="What plays it.")]
Title = Annotated[str, typer.Option("--title", help="One line for the report.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Seeds played at once; one a core, as memory allows.")
]
ClusterOption = Annotated[
    str | None, typer.Option("--cluster", metavar="HOST:PORT", help="Play on the Dask cluster of this scheduler.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the results; runs/NAME-TIME unless given.")]
Resume = Annotated[Path | None, typer.Option("--resume", metavar="FOLDER", help="Go on with what is in this folder.")]
Csv = Annotated[bool, typer.Option("--csv", help="Write tables as CSV, too.")]
ReportFile = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the HTML report here.")]
Open = Annotated[bool, typer.Option("--open", help="Open the HTML report in a browser.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def run(
    ctx: typer.Context,
    what: What = None,
    settings: Set = None,
    world: World = None,
    seed: Seed = None,
    seeds: Seeds = "",
    engine: EngineOption = None,
    title: Title = "",
    jobs: Jobs = None,
    cluster: ClusterOption = None,
    out: Out = None,
    resume: Resume = None,
    csv: Csv = False,
    report: ReportFile = None,
    open_: Open = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Play a scenario, and keep and show what came of it."""
    with ends(as_json=json):
        from simulations.sweeps import begin, reopen

        if resume is not None:
            _nothing_beside_resume(what, ctx.args)
            sweep, folders = reopen(resume)
            if sweep is not None:
                raise BadScenario(f"{resume} holds a sweep: `rookery simulate sweep --resume {resume}` goes on with it")
        else:
            wanted = _asked(what, ctx, settings, world, engine, title, seed, seeds)
            if wanted.vary:
                raise BadScenario(f"{what} has a [sweep] table: `rookery simulate sweep {what}` plays it")
            folders = [begin(_folder(out, wanted), wanted.spec, wanted.seeds, command=command_line(ctx))]
        interrupted = _play(folders, jobs, cluster, quiet=quiet or json)
        result = folders[0].finish(csv=csv)
        written = _report(result, folders[0].path, report, open_)
        _show_run(result, folders[0].path, written, as_json=json)
        _leave(interrupted, result.ok)


def sweep(
    ctx: typer.Context,
    what: What = None,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="KEY=VALUES", help="A,B,C or FIRST:LAST:STEP; world.KEY is the world's."),
    ] = None,
    settings: Set = None,
    world: World = None,
    seed: Seed = None,
    seeds: Seeds = "",
    engine: EngineOption = None,
    title: Title = "",
    jobs: Jobs = None,
    cluster: ClusterOption = None,
    out: Out = None,
    resume: Resume = None,
    csv: Csv = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Play a scenario at every point of a grid of settings."""
    with ends(as_json=json):
        from simulations.sweeps import begin_sweep, reopen

        whole: Sweep | None
        if resume is not None:
            _nothing_beside_resume(what, ctx.args)
            whole, folders = reopen(resume)
            if whole is None:
                raise BadScenario(f"{resume} holds one run: `rookery simulate run --resume {resume}` goes on with it")
        else:
            wanted = _asked(what, ctx, settings, world, engine, title, seed, seeds, vary)
            whole, folders = begin_sweep(
                _folder(out, wanted), wanted.spec, wanted.seeds, wanted.vary, command=command_line(ctx)
            )
        interrupted = _play(folders, jobs, cluster, quiet=quiet or json)
        results = [folder.finish(csv=csv) for folder in folders]
        _show_sweep(whole, json)
        _leave(interrupted, all(result.ok for result in results))


def _asked(
    what: str | None,
    ctx: typer.Context,
    settings: list[str] | None,
    world: list[str] | None,
    engine: str | None,
    title: str,
    seed: int | None,
    seeds: str,
    vary: list[str] | None = None,
) -> Asked:
    # An option that only the scenario knows may stand before its name, and is then taken for the name.
    words = [*([what] if what is not None else []), *ctx.args]
    name, at = None, 0
    while at < len(words):
        if not words[at].startswith("--"):
            name = words.pop(at)
            break
        at += 1 if "=" in words[at] else 2
    if name is None:
        raise BadScenario("say what to play: the NAME of a scenario (`rookery simulate list`), or a FILE")
    return asked(
        name,
        words,
        settings=settings or (),
        world=world or (),
        engine=engine,
        title=title,
        seed=seed,
        seeds=seeds,
        vary=vary or (),
    )


def _nothing_beside_resume(what: str | None, free: list[str]) -> None:
    if what is not None or free:
        raise BadScenario("--resume goes on with what was begun: it takes no scenario and no settings beside it")


def _folder(out: Path | None, wanted: Asked) -> Path:
    if out is not None:
        return out
    folder = Path(FOLDER) / f"{wanted.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    number, path = 1, folder
    while path.exists():
        number, path = number + 1, folder.with_name(f"{folder.name}-{number + 1}")
    return path


def _play(folders: list[RunFolder], jobs: int | None, cluster: str | None, *, quiet: bool) -> bool:
    """Play what is still to be played; true when Ctrl-C ended it."""
    from node.cli_render import margin
    from simulations.executors import Here, Unplayable
    from simulations.progress import watch
    from simulations.sweeps import jobs_of, named, other_code, play

    todo = jobs_of(folders)
    for folder in folders[:1]:
        if todo and (warning := other_code(folder)):
            margin().print(f"warning: {warning}", markup=False)
    if not todo:
        return False
    names = {job.name: named(job, folders) for job in todo}
    place = _place(todo, jobs, cluster)
    with watch(len(todo), place.progress, lambda name: names.get(name, name), quiet=quiet) as shown:
        if isinstance(place, Here):
            place.look = shown.look
        try:
            play(
                folders,
                todo,
                place,
                took=lambda job, result: shown.took(ok=result.ok or bool(result.stopped)),
                look=shown.look,
            )
        except KeyboardInterrupt:
            return True
        except Unplayable:
            kind, kept = ("sweep", folders[0].path.parent) if folders[0].meta.get("point") else ("run", folders[0].path)
            margin().print(f"Go on:  rookery simulate {kind} --resume {kept}", markup=False)
            raise
    return False


def _place(todo: list[Job], jobs: int | None, cluster: str | None) -> Place:
    from simulations.executors import Here, Processes, default_jobs

    if cluster is not None:
        if jobs is not None:
            raise BadScenario("give either --jobs or --cluster: a cluster has as many workers as it has")
        from simulations.executors_cluster import Cluster

        return Cluster(cluster)
    width = min(jobs or default_jobs(max(map(_nodes, todo))), len(todo))
    return Here() if width == 1 else Processes(width)


def _nodes(job: Job) -> int:
    """How many nodes a job has in memory, as far as its parameters tell: for a guess of the memory needed."""
    from simulations.scripts import scenario_of

    if job.spec.engine == "model":
        return 0
    parameters = scenario_of(job.spec, job.script).parameters(**job.spec.parameters)
    nodes = getattr(parameters, "nodes", 0)
    if isinstance(nodes, int):
        return nodes
    return sum(getattr(group, "count", 0) for group in nodes) if isinstance(nodes, tuple) else 0


def _report(result: Run, folder: Path, wanted: Path | None, open_: bool) -> Path | None:
    if wanted is None and not open_:
        return None
    from simulations.report import write_report

    written: Path = write_report(result, wanted or folder / "report.html")
    if open_:
        typer.launch(written.absolute().as_uri())
    return written


def _show_run(result: Run, folder: Path, report: Path | None, *, as_json: bool) -> None:
    from node import cli_render as render

    summary = result.summary()
    if as_json:
        render.emit({"folder": str(folder), "report": str(report) if report else None, **summary.to_json()})
        return
    screen = render.screen()
    for table in summary.tables():
        screen.print(table)
    for note in summary.run["notes"]:
        screen.print(f"Note: {note}", markup=False)
    if debugging():
        for seed in result.errors:
            screen.print(str(result.facts[seed].get("traceback", "")), markup=False, style="dim")
    failing = [seed for seed in result.seeds if seed in result.errors] or [
        one.seed for one in result.expectations if not one.met
    ]
    if failing:
        screen.print(f"Replay: rookery simulate replay {folder} --seed {failing[0]}", markup=False)
    if result.missing or result.stopped:
        screen.print(f"Go on:  rookery simulate run --resume {folder}", markup=False)
    screen.print(f"{_seeds_text(result)} of {result.title} in {folder}", markup=False)
    if report is not None:
        screen.print(f"Report: {report}", markup=False)


def _seeds_text(result: Run) -> str:
    count = len(result.seeds)
    return f"{count} seed" if count == 1 else f"{count} seeds"


def _show_sweep(whole: Sweep, as_json: bool) -> None:
    from node import cli_render as render

    if as_json:
        render.emit({"folder": str(whole.path), **whole.to_json()})
        return
    screen = render.screen()
    for names in _by_kind(whole):
        screen.print(whole.table(names))
    for note in whole.notes:
        screen.print(f"Note: {note}", markup=False)
    if any(run.missing or run.stopped for _, run in whole.runs):
        screen.print(f"Go on:  rookery simulate sweep --resume {whole.path}", markup=False)
    screen.print(f"{len(whole.points)} points of {whole.title} in {whole.path}", markup=False)


def _by_kind(whole: Sweep) -> list[list[str]]:
    """Figures that share a table: those of one kind of operation, then all values of a whole run."""
    from simulations.results_summary import SHOWN

    kinds = dict.fromkeys(kind for _, run in whole.runs for kind in run.operations.kinds)
    there = whole.names()
    groups = [[name for what, _, _ in SHOWN if (name := f"{kind}.{what}") in there] for kind in kinds]
    groups.append(list(dict.fromkeys(metric for _, run in whole.runs for metric in run.values)))
    return [group for group in groups if group]


def _leave(interrupted: bool, ok: bool) -> None:
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if not ok:
        raise typer.Exit(FAILED)
