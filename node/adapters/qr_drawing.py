"""Draws QR codes: with the characters of a terminal, as PNG, and as SVG.

Decides that a code is dark on light with its quiet zone, whatever colours the terminal has. Refuses to know what stands
in a code. segno is imported with the first one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from segno import QRCode

QUIET: Final = 4
"""Modules of quiet zone on paper and in pictures (ISO/IEC 18004, section 6.3.8)."""

TERMINAL_QUIET: Final = 2
"""The same in a terminal. The standard asks for 4; readers do with 2, and rows are dear there. UNSOURCED, but read by
zxing-cpp in `tests/node/test_qr.py`, on dark ground and on light."""

PNG_SCALE: Final = 8
"""Pixels of a module: some 600 for a code of version 10, which prints at 300 dpi as wide as a matchbox. UNSOURCED"""

ON_PAPER: Final = "\x1b[38;5;16;48;5;231m"
"""Black on white by their numbers in the colour cube (xterm's 256 colours): themes change the first sixteen only."""

RESET: Final = "\x1b[0m"

_HALVES: Final = {0: " ", 1: "▀", 2: "▄", 3: "█"}
"""One column and two rows of modules in a character: bit 0 the upper one."""


def _sextants() -> dict[int, str]:
    """Two columns and three rows of modules in a character, row by row from bit 0 (Unicode 13, U+1FB00 to U+1FB3B,
    which leave out what was there before: nothing, all, and the left and the right half)."""
    there = {0: " ", 63: "█", 21: "▌", 42: "▐"}
    code = 0x1FB00
    found = {}
    for bits in range(64):
        if bits in there:
            found[bits] = there[bits]
        else:
            found[bits] = chr(code)
            code += 1
    return found


@dataclass(frozen=True, slots=True)
class Blocks:
    """How modules are put into characters."""

    columns: int
    rows: int
    characters: Mapping[int, str]


HALF_BLOCKS: Final = Blocks(1, 2, _HALVES)
"""What every terminal has."""

SEXTANTS: Final = Blocks(2, 3, _sextants())
"""A third of the rows less, in terminals whose font has them, or that draw them themselves."""


class Code:
    """One QR code."""

    def __init__(self, text: str, *, level: str = "L") -> None:
        """`text` in capitals and digits takes 5.5 bits a character; `level` is the least correction: L, M, Q or H. What
        room its size leaves raises it."""
        import segno

        self._code: QRCode = segno.make_qr(text, error=level, boost_error=True)

    @property
    def version(self) -> int:
        """1 to 40: it has 17 + 4 times as many modules a side."""
        return int(self._code.version)

    @property
    def level(self) -> str:
        """Its error correction: L, M, Q or H."""
        return str(self._code.error)

    def size(self, blocks: Blocks = HALF_BLOCKS) -> tuple[int, int]:
        """Columns and rows of a terminal that it takes."""
        side = 17 + 4 * self.version + 2 * TERMINAL_QUIET
        return -(-side // blocks.columns), -(-side // blocks.rows)

    def terminal(self, blocks: Blocks = HALF_BLOCKS, *, colours: bool = True, light_ground: bool = False) -> str:
        """The code as lines of text. Without `colours` it is drawn with the terminal's own: as light on a dark ground
        unless the ground is said to be light."""
        dark_is_ink = colours or light_ground
        matrix = [list(row) for row in self._code.matrix_iter(border=TERMINAL_QUIET)]
        lines = []
        for line in _characters(matrix, blocks, dark_is_ink):
            lines.append(f"{ON_PAPER}{line}{RESET}" if colours else line)
        return "\n".join(lines)

    def png(self, scale: int = PNG_SCALE) -> bytes:
        """The code as a PNG file."""
        return self._saved(lambda out: self._code.save(out, kind="png", scale=scale, border=QUIET))

    def svg(self) -> bytes:
        """The code as an SVG file, on white."""
        return self._saved(
            lambda out: self._code.save(out, kind="svg", border=QUIET, light="white", omitsize=True, xmldecl=True)
        )

    @staticmethod
    def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
        out = io.BytesIO()
        save(out)
        return out.getvalue()


def _characters(matrix: list[list[int]], blocks: Blocks, dark_is_ink: bool) -> Iterator[str]:
    """Lines of characters; what a last row or column lacks is light, as the quiet zone is."""
    side = len(matrix)
    for top in range(0, side, blocks.rows):
        line = ""
        for left in range(0, side, blocks.columns):
            bits = 0
            for number in range(blocks.rows * blocks.columns):
                down, right = divmod(number, blocks.columns)
                inside = top + down < side and left + right < side
                dark = inside and bool(matrix[top + down][left + right])
                # Without ink beyond the edge nothing frays where the ground is light, and nothing is missing where not.
                bits |= (dark == dark_is_ink and inside) << number
            line += blocks.characters[bits]
        yield line
