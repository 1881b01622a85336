"""One small file for every oddity a collection of pictures has, and what is to become of it.

Belongs here: the bytes, made on the spot, and the expected status of listing (`listed`) and of decoding
(`decoded`). Not here: odd places and names in the file system (`unit/test_files.py`, `unit/test_scan.py`).
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from imgret_assets.domain.images.image_status import Status
from imgret_tests.support.heif_files import heif
from imgret_tests.support.pictures import picture

# The limit of pixels under which the pictures below are judged.
MAX_PIXELS = 1_000_000
RED = (255, 0, 0)
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class OddFile:
    """A file and what is expected of it.

    Attributes:
        name: a file name that says what is odd.
        data: its bytes.
        listed: status in the manifest, from the header alone.
        decoded: status of its pixels, for files that are ok in the manifest.
        size: width and height as shown.
        format: what the content is, whatever the name says.
        centre: RGB of the middle of the decoded picture, within `tolerance`.
    """

    name: str
    data: bytes
    listed: Status = Status.OK
    decoded: Status = Status.OK
    size: tuple[int, int] | None = None
    format: str | None = None
    centre: tuple[int, int, int] | None = None
    tolerance: int = 0


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int) -> bytes:
    """The beginning of an 8-bit RGB PNG of that size, pixels to follow."""
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def with_late_exif(png: bytes, orientation: int) -> bytes:
    """The PNG with its EXIF orientation after the pixels, where the format allows it, too."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    end = png.rindex(b"IEND") - 4
    return png[:end] + png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + png[end:]


def animation(form: str, **options: object) -> bytes:
    """Two frames: red, then green."""
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime")]
    return saved(frames[0], form, save_all=True, append_images=frames[1:], duration=50, **options)


def odd_files() -> list[OddFile]:
    """All of them; names are unique."""
    return [*_broken(), *_modes(), *_turned()]


def _broken() -> list[OddFile]:
    jpeg, png = saved(picture(1), "JPEG"), saved(picture(2), "PNG")
    # Pixels that can't be compressed, so that half a file is half a picture.
    noise = Image.fromarray(np.random.default_rng(5).integers(0, 255, (60, 80, 3), dtype=np.uint8))
    bomb = png_header(60_000, 60_000) + png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    return [
        OddFile("zero bytes.jpg", b"", Status.EMPTY),
        OddFile("text.jpg", b"this is no picture, whatever its name says\n", Status.NOT_AN_IMAGE),
        OddFile("html.png", b"<!doctype html><title>404</title>", Status.NOT_AN_IMAGE),
        OddFile("zeros.jpg", bytes(5000), Status.NOT_AN_IMAGE),
        OddFile("pdf.jpg", b"%PDF-1.7\n1 0 obj\n", Status.NOT_AN_IMAGE),
        # Pillow would give this to Ghostscript.
        OddFile(
            "postscript.jpg",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n" * 9,
            Status.NOT_AN_IMAGE,
        ),
        OddFile("svg.png", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", Status.NOT_AN_IMAGE),
        OddFile("header of a heic.heic", heif("halves")[:300], Status.TRUNCATED),
        OddFile("half a heic.heic", heif("halves")[:480], decoded=Status.TRUNCATED, size=(64, 48), format="HEIF"),
        OddFile("a heic.jpg", heif("halves"), size=(64, 48), format="HEIF"),
        OddFile("a jpeg.heic", jpeg, size=(40, 30), format="JPEG"),
        OddFile("zero bytes.heic", b"", Status.EMPTY),
        OddFile("header of a jpeg xl.jxl", b"\xff\x0a\xcb", Status.TRUNCATED),
        OddFile("photoshop.jpg", b"8BPS\0\1" + bytes(64), Status.UNSUPPORTED),
        OddFile("header of a jpeg.jpg", jpeg[:20], Status.TRUNCATED),
        OddFile("header of a png.png", png[:20], Status.TRUNCATED),
        OddFile("header of a gif.gif", b"GIF89a\x01", Status.TRUNCATED),
        OddFile("half a jpeg.jpg", _half(saved(noise, "JPEG")), decoded=Status.TRUNCATED, size=(80, 60), format="JPEG"),
        OddFile("half a png.png", _half(saved(noise, "PNG")), decoded=Status.TRUNCATED, size=(80, 60), format="PNG"),
        OddFile("half a webp.webp", _half(saved(noise, "WEBP")), Status.TRUNCATED),
        OddFile("half a gif.gif", _half(saved(noise, "GIF")), decoded=Status.TRUNCATED, size=(80, 60), format="GIF"),
        OddFile("half a bmp.bmp", _half(saved(noise, "BMP")), decoded=Status.TRUNCATED, size=(80, 60), format="BMP"),
        OddFile("flipped bits.png", _flipped(png), decoded=Status.DAMAGED, size=(40, 30), format="PNG"),
        OddFile("bomb.png", bomb, Status.TOO_LARGE),
        OddFile("a png.jpg", png, size=(40, 30), format="PNG"),
        OddFile("a jpeg.png", jpeg, size=(40, 30), format="JPEG"),
        OddFile("UPPER CASE.JPEG", jpeg, size=(40, 30), format="JPEG"),
    ]


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(png: bytes) -> bytes:
    middle = png.index(b"IDAT") + 40
    return png[:middle] + bytes(byte ^ 0xFF for byte in png[middle : middle + 8]) + png[middle + 8 :]


def _modes() -> list[OddFile]:
    """Single-coloured pictures of 20 x 10 in every mode; what is transparent shows white."""
    red = Image.new("RGB", (20, 10), (255, 0, 0))
    clear = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    half_clear = Image.new("RGBA", (20, 10), (255, 0, 0, 128))
    palette = Image.new("P", (20, 10), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    deep = Image.fromarray(np.full((10, 20), 65535 // 2, dtype=np.uint16))
    return [
        _plain("cmyk.jpg", saved(Image.new("CMYK", (20, 10), (0, 255, 255, 0)), "JPEG"), RED, 4),
        _plain("grey.jpg", saved(Image.new("L", (20, 10), 100), "JPEG"), (100, 100, 100), 4),
        _plain("one bit.png", saved(Image.new("1", (20, 10), 1), "PNG"), WHITE),
        _plain("palette.png", saved(palette, "PNG"), (0, 0, 255)),
        _plain("transparent palette.png", saved(palette, "PNG", transparency=1), WHITE),
        _plain("transparent.png", saved(clear, "PNG"), WHITE),
        _plain("half transparent.png", saved(half_clear, "PNG"), (255, 127, 127), 1),
        _plain("transparent grey.png", saved(Image.new("LA", (20, 10), (100, 0)), "PNG"), WHITE),
        _plain("transparent colour.png", saved(red, "PNG", transparency=(255, 0, 0)), WHITE),
        _plain("16 bit.png", saved(deep, "PNG"), (127, 127, 127), 1),
        _plain("16 bit.tif", saved(deep, "TIFF"), (127, 127, 127), 1),
        _plain("animated.gif", animation("GIF"), RED),
        _plain("animated.webp", animation("WEBP", lossless=True), RED),
        _plain("animated.png", animation("PNG"), RED),
        _plain("one pixel.png", saved(Image.new("RGB", (1, 1), "red"), "PNG"), RED, size=(1, 1)),
    ]


def _plain(
    name: str, data: bytes, centre: tuple[int, int, int], tolerance: int = 0, size: tuple[int, int] = (20, 10)
) -> OddFile:
    form = {"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], name.rpartition(".")[2].upper())
    return OddFile(name, data, size=size, format=form, centre=centre, tolerance=tolerance)


def _turned() -> list[OddFile]:
    """Left half red, right half blue when stored; turned by EXIF, so that the halves lie one over the other."""
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        OddFile("turned.jpg", saved(image, "JPEG", exif=exif, quality=95), size=(20, 40), format="JPEG"),
        OddFile("turned.png", saved(image, "PNG", exif=exif), size=(20, 40), format="PNG"),
        OddFile("turned at its end.png", with_late_exif(saved(image, "PNG"), 6), size=(20, 40), format="PNG"),
        OddFile("turned.webp", saved(image, "WEBP", exif=exif), size=(20, 40), format="WEBP"),
        OddFile(
            "damaged exif.jpg", saved(image, "JPEG", exif=b"Exif\0\0MM\0*" + b"\xff" * 40), size=(40, 20), format="JPEG"
        ),
    ]
