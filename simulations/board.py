"""A board on which processes write how far they are, and on which they read that they shall stop.

Decides that it is a folder of small files, one a seed under way: nobody holds a lock, so a process that is killed at
any moment keeps nobody else waiting. Refuses to know what is shown to people.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from simulations.running import Progress

STOP: Final = "stop"
"""The file whose being there asks everybody to stop."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What one process wrote last."""

    name: str
    """Of what it plays, as `Board.reporter` was given it."""
    pid: int
    progress: Progress


class Board:
    """The folder, from either side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls) -> Board:
        """A new one, in the system's place for temporary files; `remove` ends it."""
        return cls(Path(tempfile.mkdtemp(prefix="rookery-simulate-")))

    def remove(self) -> None:
        """Take it away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # Those who play

    def write(self, name: str, progress: Progress) -> bool:
        """Say how far `name` is; true when everybody is to stop."""
        content = json.dumps({"name": name, "pid": os.getpid(), **asdict(progress)})
        # The board may be gone already, with the process that made it: then there is nobody to tell.
        with suppress(OSError):
            new = self.folder / f"{name}.new"
            new.write_text(content, encoding="utf-8")
            new.replace(self.folder / f"{name}.json")
        return (self.folder / STOP).exists()

    def wipe(self, name: str) -> None:
        """Say no more of `name`: it has ended."""
        with suppress(OSError):
            (self.folder / f"{name}.json").unlink()

    # Those who look

    def ask_to_stop(self) -> None:
        """Ask everybody to stop."""
        (self.folder / STOP).touch()

    def read(self) -> list[Notice]:
        """Everything under way, by name."""
        notices = []
        for file in sorted(self.folder.glob("*.json")):
            # It may end, and its notice be wiped, between the look at the folder and the look at the file.
            with suppress(OSError, ValueError, TypeError, KeyError):
                told = json.loads(file.read_text(encoding="utf-8"))
                notices.append(Notice(told.pop("name"), told.pop("pid"), Progress(**told)))
        return notices
