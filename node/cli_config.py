"""The commands about this node itself, which need no running node: `id` and `config`.

Decides what is shown of keys and settings. Refuses to know what settings there are.
"""

from __future__ import annotations

from typing import Annotated

import typer

from node.cli_options import Json, NodeCommand, ServerCommand, node_config


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("id", cls=NodeCommand)(identity)
    group = typer.Typer(name="config", help="Show the configuration: a sample, what is in force, where it lies.")
    group.command("sample")(sample)
    group.command("show", cls=ServerCommand)(show)
    group.command("path")(path)
    app.add_typer(group, no_args_is_help=True)


def identity(ctx: typer.Context, json: Json = False) -> None:
    """Print this node's peer id: 52 characters, to be given to others. Makes the key at first use."""
    from node.adapters.keyfile import load_or_create_identity
    from node.cli_render import emit

    file = node_config(ctx).identity_file
    key = load_or_create_identity(file).public
    if json:
        emit({"identity": key.text, "file": str(file)})
    else:
        print(key.text)


def sample() -> None:
    """Print a configuration file with every setting at its default, explained."""
    from node.config_sample import sample_toml

    print(sample_toml(), end="")


def show(ctx: typer.Context, json: Json = False) -> None:
    """Show the settings in force: defaults, file, environment and flags put together."""
    from node.cli_render import emit, table
    from node.config_values import to_toml

    config = node_config(ctx)
    if json:
        emit({**config.to_plain(), "origins": config.origins})
        return
    values = {name: "" if value is None else to_toml(value) for name, value in config.to_plain().items()}
    rows = [{"setting": name, "value": values[name], "from": origin} for name, origin in config.origins.items()]
    table(rows, {"setting": "setting", "value": "value", "from": "from"}, empty="")


def path(
    data: Annotated[bool, typer.Option("--data", help="The data folder instead.")] = False,
    json: Json = False,
) -> None:
    """Print where the configuration file is looked for, and the data folder."""
    import os

    from node.cli_render import emit
    from node.cli_settings import load
    from node.config import default_config_file
    from node.config_sources import CONFIG_VARIABLE

    file = os.environ.get(CONFIG_VARIABLE) or str(default_config_file())
    if json:
        emit({"config": file, "exists": os.path.exists(file), "data_dir": str(load({}).data_dir)})
    elif data:
        print(load({}).data_dir)
    else:
        print(file)
