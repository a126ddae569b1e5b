"""How commands of `rookery simulate` end badly: every fault of a file a line, a missing package named.

Decides these two; everything else ends as all of the `rookery` command does (`node.cli_exit`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from node.adapters.http import ApiFailure
from node.cli_exit import BAD_INPUT, tell
from simulations.specfile_faults import BadFile

EXTRA: Final = frozenset(
    {"dask", "distributed", "jinja2", "matplotlib", "numba", "numpy", "psutil", "pyarrow", "scipy", "tornado"}
)
"""Packages that only simulations need: `pip install 'rookery[simulate]'` brings them."""


@contextmanager
def ends(*, as_json: bool) -> Iterator[None]:
    """Turn what the block raises into the lines and the exit code that people and scripts can use."""
    try:
        yield
    except BadFile as error:
        if as_json:
            _emit(error)
        for fault in error.faults:
            tell(ApiFailure(error.kind, str(fault)), as_json=False)
        raise typer.Exit(BAD_INPUT) from None
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA:
            raise
        raise ApiFailure(
            "not-installed",
            f"simulations need the package {missing}, which is not installed",
            "pip install 'rookery[simulate]'",
        ) from None


def _emit(error: BadFile) -> None:
    from node import cli_render as render

    faults = [
        {
            "file": str(fault.path),
            "line": fault.line,
            "column": fault.column or None,
            "key": fault.key or None,
            "value": fault.value or None,
            "message": fault.message,
        }
        for fault in error.faults
    ]
    document = ApiFailure(error.kind, str(error)).to_json()
    document["error"]["faults"] = faults
    render.emit(document)
