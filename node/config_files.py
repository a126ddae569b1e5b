"""Settings of what happens to files that are offered.

Decides names, defaults and bounds. Refuses to know where values come from: `node/config.py` does.
"""

from __future__ import annotations

from typing import Annotated, Literal

from node.config_values import FilePath, Lower, PeerId, Settings, Size, setting


class FileSettings(Settings):
    """What happens to files that are offered."""

    download_dir: FilePath | None = setting(
        None,
        "Folder for received files. By default `received` in data_dir.",
        allowed="a folder's path",
        source="beside the node's other data: nodes on one machine do not mix",
        path=True,
    )
    receive: Annotated[Literal["ask", "accept", "refuse"], Lower] = setting(
        "ask",
        "What happens to offered files: ask whoever watches (nobody there: refused), accept those of `accept_from`, "
        "or refuse all.",
        allowed="ask, accept or refuse",
        source="nothing lands on a disk unasked",
    )
    accept_from: tuple[PeerId | Literal["all"], ...] = setting(
        (),
        'Whose files `receive = "accept"` takes.',
        allowed='a list of peer ids of 52 characters, or "all" as its one item',
        source="nobody is trusted unasked",
        list=True,
    )
    max_receive_bytes: Size = setting(
        16 * 1024**3,
        "Largest file that is received.",
        allowed='bytes, or a size such as "500 MB" or "16 GiB"; 0 to 1 EB',
        source="UNSOURCED",
        ge=0,
        le=10**18,
    )
