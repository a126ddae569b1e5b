"""Codes are read again: as files, as photos would show them, and off the very characters of a terminal."""

import io
import random
import zlib

import pytest
from PIL import Image, ImageDraw, ImageFilter

from node.adapters.qr_drawing import HALF_BLOCKS, ON_PAPER, RESET, SEXTANTS, Blocks, Code
from node.adapters.qr_reading import BadPicture, looks_like_a_picture, read_codes
from node.protocols.invite import make_invite
from node.protocols.invite_text import to_code
from tests.node.test_invite import FULL, INVITER, NATED, PRIVATE, PUBLIC

TEXT = to_code(make_invite(INVITER, PRIVATE).raw)
CODE = Code(TEXT)

CELL = (12, 24)
"""Pixels of a terminal's character: twice as high as wide, as most fonts."""


def rendered(text: str, blocks: Blocks, ink: str, ground: str, around: str) -> Image.Image:
    """What a terminal shows: each block character's parts filled with ink, on the ground, within a window."""
    lines = [line.removeprefix(ON_PAPER).removesuffix(RESET) for line in text.splitlines()]
    width, height = CELL
    bits_of = {char: bits for bits, char in blocks.characters.items()}
    window = Image.new("RGB", ((len(lines[0]) + 20) * width, (len(lines) + 4) * height), around)
    page = ImageDraw.Draw(window)
    across, down = width // blocks.columns, height // blocks.rows
    for row, line in enumerate(lines, 2):
        page.rectangle((0, row * height, len(line) * width - 1, (row + 1) * height - 1), fill=ground)
        for column, char in enumerate(line):
            for number in range(blocks.columns * blocks.rows):
                if bits_of[char] >> number & 1:
                    y, x = divmod(number, blocks.columns)
                    left, top = column * width + x * across, row * height + y * down
                    page.rectangle((left, top, left + across - 1, top + down - 1), fill=ink)
    return window


def png(picture: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(("said", "version"), [(NATED, 10), (PUBLIC, 9), (PRIVATE, 11), (FULL, 11)])
def test_codes_are_small_enough_for_a_terminal(said, version) -> None:
    code = Code(to_code(make_invite(INVITER, said).raw))
    assert code.version == version
    columns, rows = code.size()
    assert columns <= 65 and rows <= 33
    # 24 rows and a prompt, where the font has the characters.
    assert code.size(SEXTANTS)[1] <= 22


@pytest.mark.parametrize("blocks", [HALF_BLOCKS, SEXTANTS], ids=["half-blocks", "sextants"])
@pytest.mark.parametrize("around", ["black", "white", "#002b36", "#fdf6e3"])
def test_in_colour_it_is_read_off_any_terminal(blocks: Blocks, around: str) -> None:
    text = CODE.terminal(blocks)
    assert text.splitlines()[0].startswith("\x1b[38;5;16;48;5;231m")
    assert read_codes(png(rendered(text, blocks, "black", "white", around))) == [TEXT]


@pytest.mark.parametrize("blocks", [HALF_BLOCKS, SEXTANTS], ids=["half-blocks", "sextants"])
@pytest.mark.parametrize(
    ("light_ground", "ink", "ground"), [(False, "#d0d0d0", "#101010"), (True, "#303030", "#f8f8f0")]
)
def test_without_colours_it_is_read_off_the_terminal_it_was_drawn_for(blocks, light_ground, ink, ground) -> None:
    text = CODE.terminal(blocks, colours=False, light_ground=light_ground)
    assert "\x1b" not in text
    assert read_codes(png(rendered(text, blocks, ink, ground, ground))) == [TEXT]


def test_lines_have_the_size_that_was_told() -> None:
    for blocks in (HALF_BLOCKS, SEXTANTS):
        lines = CODE.terminal(blocks, colours=False).splitlines()
        assert (len(lines[0]), len(lines)) == CODE.size(blocks)
        assert len({len(line) for line in lines}) == 1


def test_files_are_read() -> None:
    assert read_codes(CODE.png()) == [TEXT]
    assert looks_like_a_picture(CODE.png())
    svg = CODE.svg()
    assert svg.startswith(b"<?xml") and b"<svg" in svg and b'fill="#fff"' in svg
    assert not looks_like_a_picture(svg)


def photo(angle: float, *, noise: int = 0, blur: float = 0.0, lean: float = 0.0) -> Image.Image:
    """A photo of a screen: turned, leaning, unsharp, and with a noisy sensor."""
    screen = rendered(CODE.terminal(), HALF_BLOCKS, "#181818", "#e8ecef", "#300a24")
    if lean:
        width, height = screen.size
        corners = (0, 0, lean * width, height, width * (1 - lean), height, width, 0)
        screen = screen.transform(screen.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    turned = screen.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor="#77706a")
    if blur:
        turned = turned.filter(ImageFilter.GaussianBlur(blur))
    if noise:
        rng = random.Random(5)
        grain = Image.frombytes("L", (256, 256), bytes(rng.randrange(128 - noise, 128 + noise) for _ in range(65536)))
        tiled = Image.new("L", turned.size)
        for x in range(0, turned.width, 256):
            for y in range(0, turned.height, 256):
                tiled.paste(grain, (x, y))
        turned = Image.blend(turned, tiled.convert("RGB"), 0.35)
    return turned


@pytest.mark.parametrize(
    ("angle", "noise", "blur", "lean"),
    [(90, 0, 0, 0), (180, 0, 0, 0), (13, 0, 0, 0), (-31, 60, 1, 0), (7, 127, 2, 0), (4, 40, 1, 0.025)],
)
def test_photos_of_a_screen_are_read(angle, noise, blur, lean) -> None:
    shot = png(photo(angle, noise=noise, blur=blur, lean=lean), "JPEG", quality=60)
    assert read_codes(shot) == [TEXT]


def test_a_picture_of_a_large_camera_is_made_smaller_first() -> None:
    assert read_codes(CODE.png(scale=44)) == [TEXT]


def test_a_picture_of_something_else_has_no_code() -> None:
    assert read_codes(png(Image.new("RGB", (300, 200), "teal"))) == []


def test_a_transparent_ground_is_white() -> None:
    picture = Image.open(io.BytesIO(CODE.png())).convert("RGBA")
    gone = picture.getchannel("R").point(lambda value: 0 if value > 128 else 255)
    picture.putalpha(gone)
    assert read_codes(png(picture)) == [TEXT]


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", CODE.png()[:200], b"\xff\xd8\xff\xe0" + bytes(50)]
)
def test_what_is_no_picture_is_said(data: bytes) -> None:
    with pytest.raises(BadPicture):
        read_codes(data)


def test_a_small_file_that_claims_to_be_huge_is_refused() -> None:
    claimed = bytearray(png(Image.new("L", (1, 1))))
    claimed[16:24] = (100_000).to_bytes(4, "big") * 2
    claimed[29:33] = zlib.crc32(bytes(claimed[12:29])).to_bytes(4, "big")
    with pytest.raises(BadPicture):
        read_codes(bytes(claimed))
