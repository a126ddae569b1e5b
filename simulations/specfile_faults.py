"""What is wrong in a scenario file, said so that it can be mended: file, line, key, value, what is allowed.

Decides the words. Refuses to know what the keys mean.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from simulations.errors import BadScenario
from simulations.specfile_lines import Path as KeyPath
from simulations.specfile_lines import line_of

LONGEST_VALUE: Final = 60
"""Characters of a value that are repeated in a message. UNSOURCED"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    path: Path
    line: int
    """Counted from 1."""
    key: str
    """Dotted, elements of a list counted from 1: `step[2].hours`. Empty where the text is no TOML at all."""
    message: str
    """What is wrong with it, and what would be right."""
    value: str = ""
    """What is written there, as TOML writes it; empty where nothing is."""
    column: int = 0
    """Counted from 1; 0 where only the line is known."""

    @property
    def said(self) -> str:
        """Key, value and message, without the place."""
        what = f"{self.key} = {self.value}" if self.value else self.key
        return f"{what}: {self.message}" if what else self.message

    def __str__(self) -> str:
        return f"{self.path}:{self.line}{f':{self.column}' if self.column else ''}: {self.said}"


class BadFile(BadScenario):
    """Raised when a scenario file is not one; its text is every fault, `faults` has them one by one."""

    kind = "bad-scenario-file"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line))
        super().__init__("; ".join(str(fault) for fault in self.faults))


class Faults:
    """Gathers the faults of one file."""

    def __init__(self, path: Path, data: dict[str, Any], lines: dict[KeyPath, int]) -> None:
        self.found: list[Fault] = []
        self._path = path
        self._data = data
        self._lines = lines

    def add(self, key: KeyPath, message: str) -> None:
        """Add a fault of a key that may or may not be written in the file."""
        there, value = _look_up(self._data, key)
        written = _toml(value) if there and not isinstance(value, dict | list) else ""
        self.found.append(Fault(self._path, line_of(self._lines, key), _dotted(key), message, written))

    def add_unknown(self, key: KeyPath, known: Iterable[str]) -> None:
        """Add a key that means nothing, with those that do."""
        self.add(key, _unknown(str(key[-1]), list(known)))

    def add_all(self, error: ValidationError, model: type[BaseModel], above: KeyPath = ()) -> None:
        """Add what pydantic found, in the table `above` that `model` describes."""
        _, table = _look_up(self._data, above)
        for one in error.errors(include_url=False):
            key, owner = _resolve(one["loc"], table, model)
            if one["type"] == "union_tag_invalid":
                key = (*key, "do")
            self.add((*above, *key), _message(one, str(key[-1]) if key else "", owner))


def faults_of(error: ValidationError, model: type[BaseModel], given: Mapping[str, Any]) -> list[str]:
    """What pydantic found in settings that stand in no file: key, value and what is allowed, one line each."""
    faults = Faults(Path(), dict(given), {})
    faults.add_all(error, model)
    return [fault.said for fault in faults.found]


def _resolve(loc: Sequence[str | int], table: Any, model: type[BaseModel]) -> tuple[KeyPath, type[BaseModel]]:
    """Turn pydantic's place into a key path of the file, and find the model whose field it is.

    Between them pydantic puts the tags of unions (`step`, 0, `run`, `hours`), which no file has.
    """
    path: list[str | int] = []
    owner, inner = model, model
    for at, part in enumerate(loc):
        if isinstance(part, int):
            path.append(part)
            table = table[part] if isinstance(table, list) and part < len(table) else None
            continue
        written = isinstance(table, dict) and part in table
        last = at == len(loc) - 1
        if written or (last and part in inner.model_fields):
            path.append(part)
            owner = inner
            below = _models(inner.model_fields[part].annotation) if part in inner.model_fields else []
            table = table.get(part) if isinstance(table, dict) else None
            inner = below[0] if below else inner
            continue
        tagged = [kind for kind in _models(model, deep=True) if part in _tags(kind)]
        if tagged:
            inner = owner = tagged[0]
        elif last:
            path.append(part)
            owner = inner
    return tuple(path), owner


def _models(annotation: Any, *, deep: bool = False) -> list[type[BaseModel]]:
    """The models that an annotation speaks of; `deep`: and those that their fields speak of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not deep:
            return [annotation]
        fields = annotation.model_fields.values()
        return [annotation, *(kind for field in fields for kind in _models(field.annotation, deep=True))]
    return [kind for part in get_args(annotation) for kind in _models(part, deep=deep)]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("do")
    return get_args(field.annotation) if field is not None else ()


def _message(error: Any, key: str, owner: type[BaseModel]) -> str:
    """Pydantic's finding in our words, with what is allowed."""
    kind, context = error["type"], error.get("ctx", {})
    described = owner.model_fields[key].description if key in owner.model_fields else None
    about = f" ({described})" if described else ""
    if kind == "missing":
        return f"is missing{about}"
    if kind == "extra_forbidden":
        return _unknown(key, list(owner.model_fields))
    if kind == "union_tag_invalid":
        allowed = [tag.strip("' ") for tag in str(context["expected_tags"]).split(",")]
        return f"is no step: {_nearest(str(context['tag']), allowed)}there are {', '.join(allowed)}"
    if kind == "union_tag_not_found":
        return 'has no `do`, which says what happens, for example do = "run"'
    if kind == "literal_error":
        return f"allowed are {context['expected']}{about}"
    if kind == "value_error":
        return f"{context['error']}{about}"
    message = str(error["msg"]).removeprefix("Input ")
    return f"{message[:1].lower()}{message[1:]}{about}"


def _unknown(key: str, known: list[str]) -> str:
    return f"there is no such key: {_nearest(key, known)}there are {', '.join(known)}"


def _nearest(written: str, known: list[str]) -> str:
    near = difflib.get_close_matches(written, known, 1)
    return f"did you mean {near[0]}? " if near else ""


def _look_up(data: Any, path: KeyPath) -> tuple[bool, Any]:
    for part in path:
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data))
        if not inside:
            return False, None
        data = data[part]
    return True, data


def _dotted(path: KeyPath) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            shown = part if part.replace("-", "").replace("_", "").isalnum() else json.dumps(part, ensure_ascii=False)
            text += f".{shown}" if text else shown
    return text


def _toml(value: Any) -> str:
    text = str(value) if not isinstance(value, str | bool) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
