"""How the tables of a run lie on disk: one Parquet file a table and seed, whole or not there at all.

Decides columns, types, what a file says about itself, and how a file comes into being. Refuses to know what figures
mean and which files belong to a run.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from simulations.errors import SimulationError
from simulations.metrics import TABLES, Table

ARROW_TYPES: Final[dict[type, Any]] = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
"""How a column's Python type is kept."""

PREFIX: Final = "rookery."
"""Before each key of ours among a Parquet file's own notes."""


class BadResults(SimulationError):
    """Raised when a folder holds no run, or one that is damaged, or of another format than this code reads."""


def schema_of(table: str) -> Any:
    """The columns of a table as kept for one seed: those of `TABLES`, as a `pyarrow.Schema`."""
    return pa.schema([(column, ARROW_TYPES[kind]) for column, kind in TABLES[table].items()])


def arrow_of(name: str, table: Table) -> Any:
    """Make a `pyarrow.Table` of a recorded one. Raises `BadResults` naming the column whose values do not fit."""
    arrays = []
    for column, kind in TABLES[name].items():
        try:
            arrays.append(pa.array(table.columns[column], type=ARROW_TYPES[kind]))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise BadResults(f"table {name}, column {column}: values must be {kind.__name__}: {error}") from None
    return pa.Table.from_arrays(arrays, schema=schema_of(name))


def empty_table(name: str) -> Any:
    """A table without rows, with its seed column."""
    return with_seed(schema_of(name).empty_table(), 0)


def with_seed(table: Any, seed: int) -> Any:
    """The same table with the seed as its first column; text as codes, which is what makes large runs quick."""
    columns = [
        column.dictionary_encode() if pa.types.is_string(field.type) else column
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    seeds = pa.repeat(pa.scalar(seed, pa.int64()), table.num_rows)
    return pa.Table.from_arrays([seeds, *columns], names=["seed", *table.schema.names])


def write_parquet(table: Any, path: Path, about: Mapping[str, str]) -> None:
    """Write a table so that the file is either whole or not there; `about` goes into its notes."""
    notes = {f"{PREFIX}{key}": value for key, value in about.items()}
    part = path.with_name(f"{path.name}.part")
    pq.write_table(
        table.replace_schema_metadata(notes), part, compression="zstd", write_page_checksum=True, version="2.6"
    )
    settle(part, path)


def read_parquet(path: Path, name: str, rows: int) -> Any:
    """Read a table of one seed. Raises `BadResults` for a file that is missing, damaged or has other columns."""
    expected = schema_of(name)
    text = [field.name for field in expected if pa.types.is_string(field.type)]
    try:
        table = pq.read_table(path, read_dictionary=text, page_checksum_verification=True)
    except FileNotFoundError:
        raise BadResults(f"{path} is missing: the folder was copied in part, or a file deleted") from None
    except (pa.ArrowException, OSError) as error:
        raise BadResults(f"{path} is damaged and cannot be read: {error}") from None
    if table.schema.names != expected.names:
        raise BadResults(f"{path} has columns {table.schema.names}; a table {name} has {expected.names}")
    if table.num_rows != rows:
        raise BadResults(f"{path} holds {table.num_rows} rows, but {rows} were written")
    return table.replace_schema_metadata(None)


def write_csv(table: Any, path: Path) -> None:
    """Write a table as CSV, so that the file is either whole or not there."""
    part = path.with_name(f"{path.name}.part")
    plain = pa.Table.from_arrays(
        [
            column.cast(pa.string()) if pa.types.is_dictionary(field.type) else column
            for field, column in zip(table.schema, table.columns, strict=True)
        ],
        names=table.schema.names,
    )
    pa_csv.write_csv(plain, part)
    settle(part, path)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file, so that it is either whole or not there; what JSON cannot say is written as null."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    settle(part, path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object. Raises `BadResults` for what does not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadResults(f"{path} is damaged and cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise BadResults(f"{path} holds {type(content).__name__}, not an object: it is no file of a run")
    return content


def plain(value: Any) -> Any:
    """The same value of what JSON can say: NaN and infinities become null, tuples lists, all else text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(one) for one in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return plain(value.item())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def settle(part: Path, path: Path) -> None:
    """Bring a written file onto the disk, then under its name: in this order no crash leaves half a file."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
