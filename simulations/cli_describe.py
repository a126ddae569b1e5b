"""Scenarios as documents and as tables: what can be set, of which type, within which bounds.

Decides how a parameter is described. Refuses to know how scenarios are played.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from simulations.scenario import Scenario
from simulations.settings import WorldSettings

_BOUNDS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
"""How JSON Schema names bounds, and how people write them."""

_TYPES: Final = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "array": "list",
    "object": "table",
}


def described(scenario: Scenario) -> dict[str, Any]:
    """Everything that can be set for a scenario."""
    return {
        "name": scenario.name,
        "title": scenario.title,
        "description": scenario.description,
        "engines": list(scenario.engines),
        "parameters": _settings(scenario.parameters, {}),
        "world": _settings(WorldSettings, scenario.world),
    }


def show_scenarios(known: Mapping[str, Scenario], *, as_json: bool) -> None:
    """List them by name."""
    from node import cli_render as render

    rows = [
        {"name": one.name, "title": one.title, "engines": ", ".join(one.engines), "description": one.description}
        for one in known.values()
    ]
    if as_json:
        render.emit([described(one) for one in known.values()])
        return
    render.table(rows, {"name": "scenario", "title": "what it shows", "engines": "engines"}, empty="none")


def show_described(document: Mapping[str, Any], *, as_json: bool) -> None:
    """Show one scenario."""
    from node import cli_render as render

    if as_json:
        render.emit(document)
        return
    columns = {"name": "name", "type": "type", "default": "default", "bounds": "bounds", "description": "what it is"}
    screen = render.screen()
    screen.print(f"[bold]{document['name']}[/bold]: {render.escape(document['title'])}")
    if document["description"]:
        screen.print(render.escape(document["description"]))
    screen.print(f"engines: {', '.join(document['engines'])}")
    screen.print("\n[bold]parameters[/bold] (--set NAME=VALUE, or --NAME VALUE)")
    render.table(_rows(document["parameters"]), columns, empty="none")
    screen.print("\n[bold]world[/bold] (--world NAME=VALUE)")
    render.table(_rows(document["world"]), columns, empty="none")


def _rows(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**one, "default": "needed" if one["needed"] else _written(one["default"])} for one in settings]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None else '""' if value == "" else str(value)


def _settings(model: type[BaseModel], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every field of a model; `other` are defaults that a scenario changes."""
    schema = model.model_json_schema()
    found = []
    for name, told in schema.get("properties", {}).items():
        kinds = [told, *told.get("anyOf", [])]
        bounds = [f"{sign} {one[key]:g}" for one in kinds for key, sign in _BOUNDS.items() if key in one]
        allowed = [value for one in kinds for value in one.get("enum", [])]
        found.append(
            {
                "name": name,
                "type": _type(told, schema),
                "default": other.get(name, told.get("default")),
                "needed": name in schema.get("required", []) and name not in other,
                "bounds": " or ".join(map(str, allowed)) if allowed else ", ".join(bounds),
                "description": told.get("description", ""),
            }
        )
    return found


def _type(told: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "$ref" in told:
        return _type(schema["$defs"][told["$ref"].rpartition("/")[2]], schema)
    if "anyOf" in told:
        kinds = [_type(one, schema) for one in told["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    return _TYPES.get(told.get("type", ""), "text")
