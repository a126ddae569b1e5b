"""Changes single settings in a configuration file and leaves everything else in it as it was.

Decides that comments, order and tables stay, and that a file which would not say what it should is not written. Refuses
to know what settings mean.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from bootstrap.store import replace_file
from dht.errors import LocalError
from node.config_values import to_plain, to_toml


def with_settings(text: str, changes: Mapping[str, object]) -> str:
    """`text`, a TOML file, with these settings set. Raises `LocalError` when it is none, or cannot be changed."""
    try:
        wanted = {**tomllib.loads(text), **{name: to_plain(value) for name, value in changes.items()}}
        for name, value in changes.items():
            text = _with_one(text, name, f"{name} = {to_toml(value)}")
        if tomllib.loads(text) != wanted:
            raise LocalError("it is written in a way that this program cannot change: edit it by hand")
    except tomllib.TOMLDecodeError as error:
        raise LocalError(f"it is no TOML file: {error}") from None
    return text


def change_file(path: Path, changes: Mapping[str, object]) -> None:
    """Set these settings in the file, which is made when there is none. Raises `LocalError`."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"configuration file {path}: it cannot be read: {error}") from None
    try:
        changed = with_settings(text, changes)
    except LocalError as error:
        raise LocalError(f"configuration file {path}: {error}") from None
    if "network_key" in changes:
        mode &= 0o600  # Whoever reads the key is in the network.
    replace_file(path, changed.encode(), mode)


def _with_one(text: str, name: str, line: str) -> str:
    lines = text.splitlines()
    end = next((place for place, one in enumerate(lines) if re.match(r"\s*\[", one)), len(lines))
    start = next((place for place in range(end) if re.match(rf"\s*{re.escape(name)}\s*=", lines[place])), None)
    if start is None:
        # Before the first table: what stands behind its head belongs to it.
        head = lines[:end]
        return "\n".join([*head, line, *([""] if end < len(lines) and head else []), *lines[end:]]) + "\n"
    for stop in range(start + 1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[start:stop]))
        except tomllib.TOMLDecodeError:
            continue  # The value goes on in the next line.
        return "\n".join([*lines[:start], line, *lines[stop:]]) + "\n"
    return text
