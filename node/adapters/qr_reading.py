"""Reads QR codes off pictures: screenshots, scans, photos of a screen.

Decides how hard a picture is looked at, and how large it may be. Refuses to know what stands in a code. Pillow and
zxing-cpp are imported with the first picture.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from dht.errors import LocalError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FILE: Final = 64 * 1024**2
"""Bytes of a picture's file. UNSOURCED: what no phone makes"""

MAX_PIXELS: Final = 178_000_000
"""Pixels of a picture, which has one byte for each here: a small file can claim any number. What Pillow takes."""

LONGEST_SIDE: Final = 2400
"""Pixels to which a large picture is made smaller first: a module of a code has some then. UNSOURCED"""


class BadPicture(LocalError):
    """Raised when a file is no picture that could be read; `kind` is its name outside."""

    kind = "bad-picture"


def read_codes(data: bytes, wanted: Callable[[str], bool] = lambda _text: True) -> list[str]:
    """The texts of the QR codes in a picture, none twice. Raises `BadPicture`.

    A picture with none that is `wanted` is looked at harder: next to a clear one there may be a blurred one.
    """
    import zxingcpp

    qr = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
    picture = _opened(data)
    seen: dict[str, bool] = {}
    for attempt in _ways_to_look(picture):
        for code in zxingcpp.read_barcodes(attempt, formats=qr):
            if code.valid and code.text and code.text not in seen:
                seen[code.text] = wanted(code.text)
        if any(seen.values()):
            break
    return list(seen)


def looks_like_a_picture(data: bytes) -> bool:
    """Whether a file begins as pictures do: PNG, JPEG, GIF, BMP, TIFF, WebP."""
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
    return data.startswith(starts)


def _opened(data: bytes) -> Image:
    from PIL import Image, ImageOps, UnidentifiedImageError

    if len(data) > MAX_FILE:
        raise BadPicture(f"the picture has more than {MAX_FILE // 1024**2} MiB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what is odd in a file that can be read, a person need not know.
            opened = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"))
            if opened.width * opened.height > MAX_PIXELS:
                raise BadPicture(f"the picture has more than {MAX_PIXELS:,} pixels")
            opened.load()
            picture: Image.Image = ImageOps.exif_transpose(opened)
            if picture.has_transparency_data:  # A screenshot with a transparent ground would be black on black.
                white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(white, picture.convert("RGBA"))
            return picture.convert("L")
    except UnidentifiedImageError:
        raise BadPicture("the file is no PNG, JPEG, GIF, BMP, TIFF or WebP picture") from None
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        Image.DecompressionBombError,
    ) as error:
        raise BadPicture(f"the picture cannot be read: {error}") from None


def _ways_to_look(picture: Image) -> Iterator[Image]:
    """The picture as it is, then as it may be easier: smaller, smoother, with more contrast, larger."""
    from PIL import Image, ImageFilter, ImageOps

    longest = max(picture.size)
    if longest > LONGEST_SIDE:
        small = picture.copy()
        small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        yield small
    else:
        small = picture
        yield picture
    yield ImageOps.autocontrast(small, cutoff=2)
    # Noise of a sensor, and the grid of a screen's own pixels.
    yield ImageOps.autocontrast(small.filter(ImageFilter.MedianFilter(3)), cutoff=2)
    yield ImageOps.autocontrast(small.filter(ImageFilter.GaussianBlur(max(1.5, longest / 800))), cutoff=2)
    if longest <= LONGEST_SIDE // 2:
        yield picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.LANCZOS)
    if longest > LONGEST_SIDE:
        yield picture
