"""The sample configuration file and the table of settings, both written from the model, so that neither goes stale."""

from __future__ import annotations

import textwrap

from pydantic.fields import FieldInfo

from node.config import NodeConfig
from node.config_sources import PREFIX
from node.config_values import to_toml

_HEAD = """\
# Configuration of a Rookery node. Every line is a default: take away its # to change it.
# Environment variables (ROOKERY_PORT=...) win over this file, and flags (--port ...) win over both.
"""

_EXAMPLES = {
    "network_key": "00" * 32,
    "api": "/run/user/1000/rookery/api.sock",
    "api_http": "127.0.0.1:7717",
    "download_dir": "~/Downloads",
    "invite_page": "https://example.org/join",
    "websocket": "0.0.0.0:443",
}
"""What stands in the sample for settings that have no value by default; commented twice, so it stays off."""


def sample_toml() -> str:
    """Return a commented configuration file that holds every setting at its default."""
    defaults = NodeConfig()
    parts = [_HEAD]
    for name, field in NodeConfig.model_fields.items():
        extra = _extra(field)
        lines = textwrap.wrap(f"{field.description} Allowed: {extra['allowed']}.", 100)
        parts.append("".join(f"# {line}\n" for line in lines) + _line(name, getattr(defaults, name)))
    return "\n".join(parts)


def settings_table() -> str:
    """Return every setting as the Markdown table of docs/configuration.md. Folders are named, not spelled out."""
    defaults = NodeConfig()
    rows = ["| setting | default | allowed | what it does | source of the default |", "|---|---|---|---|---|"]
    for name, field in NodeConfig.model_fields.items():
        extra = _extra(field)
        value = getattr(defaults, name)
        shown = "the system's" if name == "data_dir" else "–" if value is None else f"`{to_toml(value)}`"
        cells = (f"`{name}`", shown, extra["allowed"], field.description, extra["source"])
        rows.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(rows) + "\n"


def flag_and_variable(name: str) -> tuple[str, str]:
    """Return how a setting is called on the command line and in the environment."""
    return f"--{name.replace('_', '-')}", f"{PREFIX}{name.upper()}"


def _line(name: str, value: object) -> str:
    if value is None:
        return f"## {name} = {to_toml(_EXAMPLES[name])}\n"
    return f"#{name} = {to_toml(value)}\n"


def _extra(field: FieldInfo) -> dict[str, object]:
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}
