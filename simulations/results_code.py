"""Which code made a result: package version, commit where there is one, and a hash of the sources themselves.

Decides what counts as the code of a run: every Python file below dht/, node/ and simulations/. The hash is what is
compared; a commit says nothing about changes that nobody committed. Refuses to know what is done with it.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

SOURCES: Final = ("dht", "node", "simulations")
"""Folders whose code can change what a run does."""

ROOT: Final = Path(__file__).resolve().parent.parent

GIT_PATIENCE: Final = 5.0
"""Seconds that git may take to name the commit, for example on a cold network drive. UNSOURCED"""


@functools.cache
def code_version() -> dict[str, str]:
    """Version of the package, `commit` (empty outside a checkout), `sources` (16 hex digits), `python`, `platform`."""
    try:
        version = metadata.version("rookery")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return {
        "version": version,
        "commit": _commit(),
        "sources": _sources(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def code_text(code: dict[str, str]) -> str:
    """One line for people: `0.1.0, commit 9f31c02, sources 5e0a…`."""
    parts = [code.get("version", "unknown version")]
    parts += [f"commit {code['commit']}"] if code.get("commit") else []
    parts += [f"sources {code['sources']}"] if code.get("sources") else []
    return ", ".join(parts)


def _sources() -> str:
    digest = hashlib.sha256()
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if "__pycache__" not in file.parts:
                content = file.read_bytes()
                digest.update(f"{file.relative_to(ROOT).as_posix()}\0{len(content)}\0".encode())
                digest.update(content)
    return digest.hexdigest()[:16]


def _commit() -> str:
    # An installed package may lie inside somebody else's checkout, whose commit would say nothing about us.
    if not (ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--tags"],
            capture_output=True,
            text=True,
            timeout=GIT_PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
