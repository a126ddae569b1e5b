"""`rookery simulate`: list, run, sweep, compare, replay, report.

Decides which commands there are, and lists scenarios. What a command was given becomes a run in `cli_spec`; playing
stands in `cli_play`, looking at results in `cli_look`. How a command ends is the `rookery` command's affair.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.cli_options import Json
from simulations.cli_look import compare, replay, report
from simulations.cli_play import FREE, run, sweep
from simulations.cli_spec import complete_names

app = typer.Typer(
    name="simulate", help="Play large networks on a virtual clock, and see what becomes of them.", no_args_is_help=True
)


@app.command("list")
def list_(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Show this scenario's parameters instead.", autocompletion=complete_names
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the scenarios, or one scenario's parameters: types, defaults, bounds."""
    from simulations.cli_describe import described, show_described, show_scenarios
    from simulations.scenario import named, scenarios

    if name is None:
        show_scenarios(scenarios(), as_json=json)
        return
    from simulations.scripts import is_script, load_script

    document: dict[str, Any] = described(load_script(name) if is_script(name) else named(name))
    show_described(document, as_json=json)


app.command("run", context_settings=FREE)(run)
app.command("sweep", context_settings=FREE)(sweep)
app.command("compare")(compare)
app.command("replay")(replay)
app.command("report")(report)
