"""Where settings come from: file, environment, flags; who wins, and the one clear line when one of them is wrong.

Decides how names and texts of each source map to settings: `log_level` in the file, `ROOKERY_LOG_LEVEL`,
`--log-level`. Refuses to know which settings there are, and to look at the process environment.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dht.errors import BadConfig
from node.config_values import to_plain

PREFIX: Final = "ROOKERY_"
CONFIG_VARIABLE: Final = "ROOKERY_CONFIG"
"""Names the file itself, so it is no setting."""

SHOWN: Final = 80
"""Characters of a refused value that a message repeats. UNSOURCED: one line of a terminal."""

Fields = Mapping[str, FieldInfo]


class BadSetting(BadConfig):
    """Raised when a setting is wrong: `field`, `value`, `expected` (what is allowed), `source` (who said it)."""

    def __init__(self, field: str, value: object, expected: str, source: str, problem: str = "") -> None:
        super().__init__(field, value, expected)
        self.source = source
        self.problem = problem
        shown = repr(to_plain(value)) if not isinstance(value, dict | list) else repr(value)
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
        detail = f": {problem}" if problem else ""
        self.args = (f"{source}: {shown} is not allowed{detail}; allowed: {expected}",)


class UnknownSetting(BadConfig):
    """Raised when a source names a setting that does not exist; `nearest` is what was probably meant, or None."""

    def __init__(self, name: str, source: str, nearest: str | None) -> None:
        super().__init__(name, None, "a known setting")
        self.source = source
        self.nearest = nearest
        hint = f"; did you mean {nearest!r}?" if nearest else "; docs/configuration.md lists all"
        self.args = (f"{source}: there is no setting {name!r}{hint}",)


class Contradiction(BadConfig):
    """Raised when settings that are allowed each do not go together."""

    def __init__(self, settings: str, needs: str) -> None:
        super().__init__(settings, None, needs)
        self.args = (f"configuration: {settings} needs {needs}",)


class BadConfigFile(BadConfig):
    """Raised when a configuration file cannot be read, or is not TOML."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__("config", str(path), "a readable TOML file")
        self.path = path
        self.args = (f"configuration file {path}: {problem}",)


@dataclass(frozen=True, slots=True)
class Origins:
    """Who said what, for messages: the name of the source by setting."""

    names: Mapping[str, str]

    def of(self, field: str) -> str:
        """Name the source of a setting."""
        return self.names.get(field, f"setting {field!r}")


def gather(
    fields: Fields, flags: Mapping[str, object], env: Mapping[str, str], file: Path | None
) -> tuple[dict[str, object], Origins]:
    """Put the sources together, flags before environment before file. Raises `BadConfig`."""
    values: dict[str, object] = {}
    names: dict[str, str] = {}
    if file is not None:
        values |= (found := _from_file(fields, file))
        names |= {key: f"{file}, key {key!r}" for key in found}
    values |= (found := _from_env(fields, env))
    names |= {key: f"variable {PREFIX}{key.upper()}" for key in found}
    values |= (found := _from_flags(fields, flags))
    names |= {key: f"flag --{key.replace('_', '-')}" for key in found}
    return values, Origins(names)


def explain(fields: Fields, error: ValidationError, origins: Origins) -> BadConfig:
    """Turn the first fault that pydantic found into one clear line."""
    fault = error.errors(include_url=False)[0]
    if not fault["loc"]:
        raise error
    field = str(fault["loc"][0])
    if field not in fields:
        return _unknown(field, fields, f"setting {field!r}", str)
    extra = fields[field].json_schema_extra
    assert isinstance(extra, dict)
    value = "(not shown)" if extra["secret"] else fault["input"]
    problem = fault["msg"] if fault["type"] == "rookery" else ""
    return BadSetting(field, value, str(extra["allowed"]), origins.of(field), problem)


def _unknown(name: str, fields: Fields, source: str, style: Callable[[str], str]) -> UnknownSetting:
    near = difflib.get_close_matches(name.lower().replace("-", "_"), list(fields), 1, cutoff=0.5)
    return UnknownSetting(style(name), source, style(near[0]) if near else None)


def _from_file(fields: Fields, path: Path) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError:
        raise BadConfigFile(path, "there is none; name another, or none for the defaults") from None
    except UnicodeDecodeError as error:
        raise BadConfigFile(path, f"byte {error.start} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadConfigFile(path, f"not TOML: {error}") from None
    except OSError as error:
        raise BadConfigFile(path, f"cannot be read ({error.strerror})") from None
    for key, value in values.items():
        if key not in fields:
            raise _unknown(key, fields, str(path), str)
        extra = fields[key].json_schema_extra
        assert isinstance(extra, dict)
        # TOML has types; a quoted number or a bare 1 for true is a slip worth telling.
        wrong = (isinstance(value, bool) != (fields[key].annotation is bool)) or (
            isinstance(value, str) and fields[key].annotation in (int, float) and not _takes_text(fields[key])
        )
        if wrong:
            raise BadSetting(key, value, str(extra["allowed"]), f"{path}, key {key!r}", "its TOML type is another")
    return {key: _beside(path, key, value, fields[key]) for key, value in values.items()}


def _takes_text(field: FieldInfo) -> bool:
    return any(type(item).__name__ == "BeforeValidator" for item in field.metadata)


def _beside(path: Path, key: str, value: object, field: FieldInfo) -> object:
    """Read a relative path in a file as relative to that file: the file means the same wherever a node starts."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or not extra.get("path"):
        return value
    if isinstance(value, list):
        return [_resolve(path, item) for item in value]
    return _resolve(path, value)


def _resolve(path: Path, value: object) -> object:
    if isinstance(value, str) and value and not value.startswith("~") and not re.match(r"[a-z]+://", value):
        return str(path.absolute().parent / value)
    return value


def _from_env(fields: Fields, env: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for variable, text in env.items():
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key not in fields:
            raise _unknown(key, fields, "environment", lambda name: f"{PREFIX}{name.upper()}")
        found[key] = _split(text, fields[key])
    return found


def _from_flags(fields: Fields, flags: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for flag, value in flags.items():
        key = flag.removeprefix("--").replace("-", "_")
        if value is None:
            continue
        if key not in fields:
            raise _unknown(key, fields, "command line", lambda name: f"--{name.replace('_', '-')}")
        found[key] = _split(value, fields[key])
    return found


def _split(value: object, field: FieldInfo) -> object:
    """Read a list from one text: its parts stand between commas, and a repeated flag gives several texts."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or not extra.get("list"):
        return value
    texts: Iterable[object] = [value] if isinstance(value, str) else value if isinstance(value, Iterable) else [value]
    parts: list[object] = []
    for text in texts:
        parts += [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else [text]
    return parts
