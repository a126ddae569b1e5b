"""The forms in which an invite is shown: a code in the terminal, pictures, a link, lines of text.

Decides which form is shown where nobody asked for one, and the colours of a code. Refuses to know how a code is drawn.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from node.adapters.http import ApiFailure

Document = dict[str, Any]

Qr = Annotated[bool, typer.Option("--qr", help="Show it as a QR code.")]
Dense = Annotated[bool, typer.Option("--dense", help="Draw the code in fewer rows; needs a font with sextants.")]
LightGround = Annotated[
    bool, typer.Option("--light", help="Without colours: the terminal's ground is light, its text dark.")
]
Png = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Write the code as a PNG picture.")]
Svg = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write the code as an SVG picture.")]
Link = Annotated[bool, typer.Option("--link", help="Print it as a link.")]
Text = Annotated[bool, typer.Option("--text", help="Print it as numbered lines, to read out and to type.")]


class Shown:
    """The forms in which an invite is shown."""

    def __init__(
        self,
        *,
        qr: bool,
        dense: bool,
        light: bool,
        png: Path | None,
        svg: Path | None,
        link: bool,
        text: bool,
        as_json: bool,
    ) -> None:
        self._qr = qr or dense
        self._dense = dense
        self._light = light
        self._png = png
        self._svg = svg
        self._link = link
        self._text = text
        self._json = as_json

    def check(self) -> None:
        """Refuse files that cannot be written before an invite is made. Raises `ApiFailure`."""
        for file in (self._png, self._svg):
            if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
                raise ApiFailure("no-such-file", f"{file} cannot be written: {file.parent} is no folder, or it is one")

    def show(self, document: Document) -> None:
        """Show it; with no form asked for, as a code and a link on a terminal, and as a link alone in a pipe."""
        from node.cli_render import emit

        self._write(document["code"])
        if self._json:
            emit(document)
            return
        unasked = not (self._qr or self._link or self._text or self._png or self._svg)
        if self._qr or (unasked and sys.stdout.isatty()):
            self._draw(document)
        if self._link or unasked:
            print(document["link"] or document["uri"])
        if self._text:
            print(document["lines"])
        self._describe(document)

    def _write(self, code: str) -> None:
        from bootstrap.store import replace_file
        from node.adapters.qr_drawing import Code

        for file, kind in ((self._png, "png"), (self._svg, "svg")):
            if file is None:
                continue
            drawn = Code(code, level="M")
            # Whoever sees the picture can come in.
            replace_file(file.absolute(), drawn.png() if kind == "png" else drawn.svg(), mode=0o600)
            if not self._json:
                print(f"wrote {file}: a QR code of version {drawn.version}-{drawn.level}", file=sys.stderr)

    def _draw(self, document: Document) -> None:
        from node.adapters.qr_drawing import HALF_BLOCKS, SEXTANTS, Code

        code = Code(document["code"])
        blocks = SEXTANTS if self._dense else HALF_BLOCKS
        colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(code.terminal(blocks, colours=colours, light_ground=self._light or light_terminal()))
        if not sys.stdout.isatty():
            return
        terminal = shutil.get_terminal_size()
        columns, rows = code.size(blocks)
        if columns > terminal.columns or rows >= terminal.lines:
            hint = "" if self._dense else ", --dense draws it in fewer rows"
            print(
                f"the code takes {columns} x {rows} characters and this terminal has {terminal.columns} x"
                f" {terminal.lines}: make it larger or its letters smaller{hint}, or use --png",
                file=sys.stderr,
            )

    @staticmethod
    def _describe(document: Document) -> None:
        from node.cli_render import moment

        kind = "private network" if document["private"] else "network"
        uses = "one peer" if document["uses"] == 1 else f"{document['uses']} peers"
        homes, addresses = len(document["homes"]), document["addresses"]
        ways = [f"at {' and '.join(addresses)}"] if addresses else []
        ways += [f"through {homes} home node{'s' if homes > 1 else ''}"] if homes else []
        alone = ", of the local network alone" if document.get("lan_only") else ""
        lines = [
            f"invite {document['id']} into the {kind} {document['network']}{alone}, for {uses},"
            f" expires {moment(document['expires_at'])}",
            f"reaches this node {' or '.join(ways)}" if ways else "",
            "whoever sees it can come in: give it away as you would a key" if document["private"] else "",
        ]
        print("\n".join(line for line in lines if line), file=sys.stderr)


def light_terminal() -> bool:
    """Whether the terminal says that its ground is light: COLORFGBG, as rxvt, Konsole and others set it."""
    ground = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return ground in ("7", "15")
