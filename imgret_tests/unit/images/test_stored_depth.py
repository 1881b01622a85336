import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from imgret_assets.domain.images.decode import read_header
from imgret_assets.domain.images.stored_depth import StoredDepth

NOISE = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)
COLOURS = Image.fromarray(NOISE)
GREY = COLOURS.convert("L")
DEEP_GREY = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def tiff(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def bmp_of_15_bits() -> bytes:
    start = struct.pack("<2sIHHI", b"BM", 54 + 8, 0, 0, 54)
    return start + struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 0, 8, 0, 0, 0, 0) + bytes(8)


def grey_palette() -> Image.Image:
    image = Image.fromarray(NOISE[..., 0])
    image.putpalette([level for level in range(256) for _ in range(3)])
    return image


def deep_png() -> bytes:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(2 * 3 * 2) for _ in range(2))
    start = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "channels", "bits"),
    [
        pytest.param(saved(GREY.convert("1"), "TIFF", compression="group4"), 1, 1, id="fax"),
        pytest.param(saved(GREY.convert("1"), "PNG"), 1, 1, id="png of 1 bit"),
        pytest.param(saved(GREY.convert("1"), "PPM"), 1, 1, id="pbm"),
        pytest.param(saved(GREY, "PNG"), 1, 8, id="grey png"),
        pytest.param(saved(GREY, "JPEG"), 1, 8, id="grey jpeg"),
        pytest.param(saved(GREY.convert("LA"), "PNG"), 1, 8, id="grey with transparency"),
        pytest.param(saved(GREY, "TIFF"), 1, 8, id="grey tiff"),
        pytest.param(saved(DEEP_GREY, "PNG"), 1, 16, id="grey png of 16 bits"),
        pytest.param(saved(COLOURS, "PNG"), 3, 24, id="png"),
        pytest.param(saved(COLOURS, "JPEG"), 3, 24, id="jpeg"),
        pytest.param(saved(COLOURS, "WEBP"), 3, 24, id="webp"),
        pytest.param(saved(COLOURS, "BMP"), 3, 24, id="bmp"),
        pytest.param(saved(COLOURS, "PPM"), 3, 24, id="ppm"),
        pytest.param(saved(COLOURS.convert("RGBA"), "PNG"), 3, 24, id="transparency counts for nothing"),
        pytest.param(saved(COLOURS.convert("RGBA"), "TIFF"), 3, 24, id="tiff with transparency"),
        pytest.param(saved(COLOURS.convert("CMYK"), "JPEG"), 4, 32, id="cmyk"),
        pytest.param(saved(COLOURS.quantize(200), "PNG"), 3, 8, id="palette"),
        pytest.param(saved(COLOURS.quantize(12), "PNG"), 3, 4, id="palette of 4 bits"),
        pytest.param(saved(COLOURS.quantize(200), "GIF"), 3, 8, id="gif"),
        pytest.param(saved(COLOURS.quantize(200), "TIFF"), 3, 8, id="palette tiff"),
        pytest.param(saved(grey_palette(), "PNG"), 1, 8, id="palette of greys"),
        pytest.param(bmp_of_15_bits(), 3, 15, id="bmp of 5 bits per channel"),
        pytest.param(deep_png(), 3, 48, id="png of 16 bits"),
        pytest.param(tiff(NOISE.astype(np.uint16) * 257, photometric="rgb"), 3, 48, id="tiff of 16 bits"),
        pytest.param(
            tiff(NOISE.astype(np.uint16).transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
            *(3, 48),
            id="planar tiff of 16 bits",
        ),
        pytest.param(tiff(NOISE[..., 0], photometric="miniswhite"), 1, 8, id="white is zero"),
        pytest.param(b"P6 2 2 65535\n" + bytes(24), 3, 48, id="ppm of 16 bits"),
    ],
)
def test_the_header_says_channels_and_bits_per_pixel(data: bytes, channels: int, bits: int) -> None:
    assert read_header(io.BytesIO(data), max_pixels=10**6).depth == StoredDepth(channels, bits)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_the_header_says_how_many_frames_a_file_has(form: str) -> None:
    frames = [Image.fromarray(np.roll(NOISE, 5 * shift, axis=1)) for shift in range(3)]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:])
    header = read_header(io.BytesIO(data), max_pixels=10**6)
    assert (header.frames, header.width, header.height) == (3, 32, 24)
    assert read_header(io.BytesIO(saved(COLOURS, form)), max_pixels=10**6).frames == 1


def test_frames_that_can_not_be_counted_leave_the_file_usable() -> None:
    frames = [Image.fromarray(np.roll(NOISE, 5 * shift, axis=1)) for shift in range(3)]
    data = bytearray(tiff(np.stack([np.asarray(frame) for frame in frames]), photometric="rgb"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as pages:
        second = pages.pages[1].offset
    data[second : second + 2] = b"\xff\xff"
    header = read_header(io.BytesIO(bytes(data)), max_pixels=10**6)
    assert (header.width, header.height, header.depth) == (32, 24, StoredDepth(3, 24))
