"""Groups of commands that live elsewhere and are imported only when one of them is asked for.

Decides when they are loaded, so that `rookery --help` stays quick, and that they may stand in a layer above the
command line. Refuses to know what they do.
"""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup


def loading(module: str) -> type[TyperGroup]:
    """A group class whose commands, beside its own, are those of `module.app`."""

    class LaterGroup(TyperGroup):
        """Commands of another module."""

        def list_commands(self, ctx: Any) -> list[str]:
            """The module's commands, and those the group has itself."""
            self._load()
            return list(super().list_commands(ctx))

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """The command of this name, or None."""
            if cmd_name not in self.commands:
                self._load()
            return super().get_command(ctx, cmd_name)

        def _load(self) -> None:
            loaded: Any = typer.main.get_command(importlib.import_module(module).app)
            for name, command in loaded.commands.items():
                self.commands.setdefault(name, command)

    return LaterGroup


def add_group(app: typer.Typer, name: str, module: str, help: str) -> None:
    """Register a group all of whose commands are those of `module.app`."""
    group = typer.Typer(name=name, cls=loading(module), help=help, no_args_is_help=True)
    # A group with one command of its own would else become that command.
    group.callback()(lambda: None)
    app.add_typer(group)
