"""The node's settings as command-line flags, made from `NodeConfig`: each setting has one, and no flag lacks one.

Decides the flags' extra names and which of them a command's help shows. Refuses to know what a setting means and how
texts become values: `NodeConfig.load` reads flags as it reads the environment.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from node.cli_exit import DEBUG_VARIABLE
from node.config import NodeConfig
from node.config_sample import flag_and_variable

CONFIG: Final = "config"
"""The flag that names the configuration file: no setting, for it says where settings are."""

ALIASES: Final = {
    "bootstrap_lists": "--bootstrap",
    "bootstrap_signers": "--bootstrap-signer",
    "contacts": "--contact",
}
"""Settings that hold several values, under the name of one: flags are repeated."""

ALWAYS_SHOWN: Final = frozenset({"data_dir", "contacts", "bootstrap_lists", "network"})
"""What says which node, and which network, a command is for."""

PANEL: Final = "Settings of the node"

GIVEN: Final = "rookery.settings"
"""Where a command's context keeps the settings given as flags."""


def options(taken: Set[str], *, shows_all: bool) -> list[Any]:
    """One option for each setting, and `--config`; those whose name the command uses itself are left out."""
    parameters = [_parameter(CONFIG, str | None, ["--config"], "Configuration file (TOML).", hidden=False)]
    for name, field in NodeConfig.model_fields.items():
        flag, variable = flag_and_variable(name)
        extra: Any = field.json_schema_extra
        names = [flag, *([ALIASES[name]] if name in ALIASES else [])]
        kind: Any = str | None
        if extra["list"]:
            kind = list[str] | None
        elif field.annotation is bool:
            kind = bool | None
            names = [f"{flag}/--no-{flag.removeprefix('--')}"]
        if not taken.isdisjoint(names):
            continue
        text = f"{field.description} Allowed: {extra['allowed']}. [dim]{variable}[/dim]"
        parameters.append(_parameter(name, kind, names, text, hidden=not (shows_all or name in ALWAYS_SHOWN)))
    return _made(parameters)


def load(given: Mapping[str, Any]) -> NodeConfig:
    """The configuration in force under these flags. Raises `BadConfig` with one clear line."""
    flags = dict(given)
    file = flags.pop(CONFIG, None)
    environment = {name: text for name, text in os.environ.items() if name != DEBUG_VARIABLE}
    return NodeConfig.load(flags, environment, Path(file).expanduser() if file is not None else None)


def _parameter(name: str, kind: Any, names: list[str], text: str, *, hidden: bool) -> inspect.Parameter:
    option: Any = typer.Option(
        *names,
        help=text,
        hidden=hidden,
        show_default=False,
        rich_help_panel=PANEL,
        expose_value=False,
        callback=_keeper(name),
    )
    return inspect.Parameter(
        f"setting_{name}", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _keeper(name: str) -> Callable[[typer.Context, Any], Any]:
    def keep(ctx: typer.Context, value: Any) -> Any:
        if value is not None and value not in ([], ()):
            ctx.meta.setdefault(GIVEN, {})[name] = value
        return value

    return keep


def _made(parameters: list[inspect.Parameter]) -> list[Any]:
    """Let Typer make its options from a function that has these parameters, as it does from written ones."""

    def settings(**_: object) -> None:
        """Carries the signature only."""

    settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    settings.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(settings)
    return list(typer.main.get_command(app).params)
