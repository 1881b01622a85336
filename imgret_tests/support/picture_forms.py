"""One picture in many forms of files: TIFF, BMP, PNG, PNM and TGA by depth, planes, runs, order and compression.

Belongs here: writers of each form, and the RGB pixels that a reader has to see. Not here: files that are no picture or
broken (`odd_files.py`). The writers are made for this purpose, because no library writes all forms.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from imgret_tests.support.odd_files import png_chunk
from imgret_tests.support.pictures import picture

# Odd numbers, so that rows end within a byte and within a word.
WIDTH, HEIGHT = 61, 43
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, LAB = 0, 1, 2, 3, 5, 8


@dataclass(frozen=True)
class Form:
    """A file in one form.

    Attributes:
        name: names the form.
        data: the file's bytes.
        pixels: uint8 (height, width, 3): what a person sees.
        tolerance: largest difference of a value that the form itself causes.
    """

    name: str
    data: bytes
    pixels: np.ndarray
    tolerance: int = 1


def all_forms() -> list[Form]:
    """Return every form; names are unique."""
    return [*tiff_forms(), *bmp_forms(), *png_forms(), *pnm_forms(), *tga_forms()]


def colours() -> np.ndarray:
    """Return the picture in colour, uint8 (height, width, 3)."""
    return np.asarray(picture(11, size=(WIDTH, HEIGHT)).convert("RGB"))


def greys() -> np.ndarray:
    """Return the picture in grey, uint8 (height, width)."""
    return np.asarray(Image.fromarray(colours()).convert("L"))


def indexed(colour_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture with a palette: uint8 (height, width), and its colours, uint8 (colour_count, 3)."""
    image = Image.fromarray(colours()).quantize(colour_count, dither=Image.Dither.NONE)
    palette = np.zeros((colour_count, 3), np.uint8)
    found = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)[:colour_count]
    palette[: len(found)] = found
    return np.asarray(image), palette


def _as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def _quantised(values: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 8-bit values as uint64 of `bits` bits, and the 8-bit values that those mean."""
    top = 2**bits - 1
    deep = np.rint(values.astype(np.float64) * top / 255).astype(np.uint64)
    return deep, np.rint(deep.astype(np.float64) * 255 / top).astype(np.uint8)


def _packed(rows: np.ndarray, bits: int, order: str, kind: int = UNSIGNED) -> bytes:
    """Return rows (height, values) as samples of `bits` bits, each row filled to a byte."""
    if kind == FLOAT:
        return rows.astype(f"{order}f{bits // 8}").tobytes()
    if bits in (8, 16, 32, 64):
        return rows.astype(f"{order}{'i' if kind == SIGNED else 'u'}{bits // 8}").tobytes()
    if bits % 8 == 0:
        whole = rows.astype(f"{order}u4").view(np.uint8).reshape(*rows.shape, 4)
        return (whole[..., :3] if order == "<" else whole[..., 1:]).tobytes()
    shifts = np.arange(bits, dtype=np.uint64)[::-1]
    flags = ((rows.astype(np.uint64)[..., np.newaxis] >> shifts) & np.uint64(1)).astype(np.uint8)
    return np.packbits(flags.reshape(len(rows), -1), axis=1).tobytes()


# TIFF


def tiff(
    values: np.ndarray,
    bits: int,
    photometric: int,
    *,
    kind: int = UNSIGNED,
    planar: bool = False,
    order: str = "<",
    compression: str = "none",
    strips: int = 1,
    big: bool = False,
    tags: tuple[tuple[int, int, list[int]], ...] = (),
) -> bytes:
    """Return values (height, width, samples) as a TIFF file.

    Args:
        values: samples as they are stored.
        bits: of a sample.
        photometric: meaning of the samples.
        kind: `UNSIGNED`, `SIGNED` or `FLOAT`.
        planar: a plane for each sample, in strips of its own.
        order: `<` or `>`.
        compression: `none`, `deflate` or `packbits`.
        strips: number of strips of a plane.
        big: BigTIFF, with offsets of 64 bits.
        tags: further tags, with their type (3 or 4) and values.
    """
    height, width, samples = values.shape
    planes = [values[..., [n]] for n in range(samples)] if planar else [values]
    rows_per_strip = -(-height // strips)
    raw = [
        _packed(plane[start : start + rows_per_strip].reshape(-1, width * plane.shape[2]), bits, order, kind)
        for plane in planes
        for start in range(0, height, rows_per_strip)
    ]
    compress = {"none": bytes, "deflate": zlib.compress, "packbits": _literal_packbits}[compression]
    data = [compress(strip) for strip in raw]
    entries = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * samples),
        259: (3, [{"none": 1, "deflate": 8, "packbits": 32773}[compression]]),
        262: (3, [photometric]),
        273: (4, [0] * len(data)),
        277: (3, [samples]),
        278: (4, [rows_per_strip]),
        279: (4, [len(strip) for strip in data]),
        284: (3, [2 if planar else 1]),
        339: (3, [kind] * samples),
        **{tag: (form, numbers) for tag, form, numbers in tags},
    }
    if photometric == CMYK:
        entries[332] = (3, [1])
    return _tiff_file(dict(sorted(entries.items())), data, order, big=big)


def _tiff_file(entries: dict[int, tuple[int, list[int]]], data: list[bytes], order: str, *, big: bool) -> bytes:
    head, count, entry, inline = (16, "Q", "HHQ", 8) if big else (8, "H", "HHI", 4)
    offset = "Q" if big else "I"
    directory_bytes = struct.calcsize("=" + count) + (20 if big else 12) * len(entries) + inline
    sizes = {tag: {3: 2, 4: 4}[form] * len(values) for tag, (form, values) in entries.items()}
    beside = sum(size for size in sizes.values() if size > inline)
    start = head + directory_bytes + beside
    entries[273] = (4, [start + sum(map(len, data[:n])) for n in range(len(data))])
    directory, outside = b"", b""
    for tag, (form, values) in entries.items():
        packed = struct.pack(f"{order}{len(values)}{ {3: 'H', 4: 'I'}[form] }", *values)
        if len(packed) > inline:
            place = struct.pack(order + offset, head + directory_bytes + len(outside))
            outside += packed
        else:
            place = packed.ljust(inline, b"\0")
        directory += struct.pack(order + entry, tag, form, len(values)) + place
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    mark += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    end = struct.pack(order + offset, 0)
    return mark + struct.pack(order + count, len(entries)) + directory + end + outside + b"".join(data)


def _literal_packbits(data: bytes) -> bytes:
    parts = [data[n : n + 128] for n in range(0, len(data), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def tiff_forms() -> Iterator[Form]:
    """Yield forms of TIFF."""
    for part in (_whole_numbers, _cmyk, _floats, _palettes, _orientations, _other_tiffs):
        yield from part(colours(), greys())


def _whole_numbers(rgb: np.ndarray, grey: np.ndarray) -> Iterator[Form]:
    for bits in (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 24, 32):
        for order in "<>":
            deep, seen = _quantised(grey, bits)
            for photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
                stored = (np.uint64(2**bits - 1) - deep if photometric == WHITE_IS_ZERO else deep)[..., np.newaxis]
                name = f"tiff grey {bits} bits {'0 is white' if photometric == WHITE_IS_ZERO else ''} {order}"
                yield Form(name, tiff(stored, bits, photometric, order=order), _as_rgb(seen))
            deep, seen = _quantised(rgb, bits)
            for planar in (False, True):
                for compression in ("none", "deflate", "packbits"):
                    data = tiff(deep, bits, RGB, planar=planar, order=order, compression=compression, strips=3)
                    yield Form(f"tiff rgb {bits} bits {'planar' if planar else ''} {compression} {order}", data, seen)


def _cmyk(rgb: np.ndarray, _: np.ndarray) -> Iterator[Form]:
    cmyk = np.asarray(Image.fromarray(rgb).convert("CMYK"))
    seen = np.asarray(Image.fromarray(cmyk, "CMYK").convert("RGB"))
    for bits in (8, 16):
        deep = _quantised(cmyk, bits)[0]
        for order in "<>":
            for planar in (False, True):
                data = tiff(deep, bits, CMYK, planar=planar, order=order)
                yield Form(f"tiff cmyk {bits} bits {'planar' if planar else ''} {order}", data, seen, 2)


def _floats(rgb: np.ndarray, grey: np.ndarray) -> Iterator[Form]:
    for bits in (16, 32, 64):
        for order in "<>":
            data = tiff(grey[..., np.newaxis] / 255, bits, BLACK_IS_ZERO, kind=FLOAT, order=order)
            yield Form(f"tiff grey {bits}-bit float {order}", data, _as_rgb(grey))
            data = tiff(1 - grey[..., np.newaxis] / 255, bits, WHITE_IS_ZERO, kind=FLOAT, order=order)
            yield Form(f"tiff grey {bits}-bit float 0 is white {order}", data, _as_rgb(grey))
            for planar in (False, True):
                data = tiff(rgb / 255, bits, RGB, kind=FLOAT, order=order, planar=planar)
                yield Form(f"tiff rgb {bits}-bit float {'planar' if planar else ''} {order}", data, rgb)


def _palettes(*_: np.ndarray) -> Iterator[Form]:
    for bits in (1, 2, 4, 8):
        index, palette = indexed(2**bits)
        colour_map = [int(value) * 257 for channel in palette.T for value in channel]
        for planar in (False, True):
            data = tiff(index[..., np.newaxis], bits, PALETTE, tags=((320, 3, colour_map),), planar=planar)
            yield Form(f"tiff palette {bits} bits {'planar' if planar else ''}", data, palette[index])


# What is done to the picture before it is stored, so that each orientation shows it upright.
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _orientations(rgb: np.ndarray, _: np.ndarray) -> Iterator[Form]:
    for orientation in range(1, 9):
        stored = Image.fromarray(rgb)
        turned = np.asarray(stored.transpose(_STORED[orientation]) if orientation in _STORED else stored)
        for bits in (8, 12):
            deep = _quantised(turned, bits)[0]
            data = tiff(deep, bits, RGB, tags=((274, 3, [orientation]),))
            yield Form(f"tiff rgb {bits} bits orientation {orientation}", data, rgb)


def _other_tiffs(rgb: np.ndarray, grey: np.ndarray) -> Iterator[Form]:
    for bits in (8, 16, 32):
        deep = _quantised(rgb, bits)[0]
        for order in "<>":
            yield Form(f"bigtiff rgb {bits} bits {order}", tiff(deep, bits, RGB, order=order, big=True), rgb)
    opaque = np.dstack([rgb, np.full(grey.shape, 255, np.uint8)])
    for bits in (8, 16, 32):
        deep = _quantised(opaque, bits)[0]
        for planar in (False, True):
            data = tiff(deep, bits, RGB, tags=((338, 3, [2]),), planar=planar)
            yield Form(f"tiff rgba {bits} bits {'planar' if planar else ''}", data, rgb)


# BMP


def bmp(data: bytes, bits: int, *, compression: int = 0, palette: np.ndarray | None = None, top_down: bool = False,
        masks: tuple[int, ...] = ()) -> bytes:  # fmt: skip
    """Return a BMP file around the stored rows."""
    table = b"" if palette is None else b"".join(bytes([int(b), int(g), int(r), 0]) for r, g, b in palette)
    table = b"".join(struct.pack("<I", mask) for mask in masks) + table
    start = 54 + len(table)
    height = -HEIGHT if top_down else HEIGHT
    colour_count = 0 if palette is None else len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, compression, len(data), 0, 0, colour_count, 0)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + info + table + data


def _bmp_rows(rows: bytes, row_bytes: int) -> bytes:
    """Return rows with each filled to four bytes."""
    parts = [rows[n : n + row_bytes] for n in range(0, len(rows), row_bytes)]
    return b"".join(part + bytes(-row_bytes % 4) for part in parts)


def bmp_forms() -> Iterator[Form]:
    """Yield forms of BMP."""
    rgb = colours()
    for bits in (1, 4, 8):
        index, palette = indexed(2**bits)
        for top_down in (False, True):
            rows = index if top_down else index[::-1]
            stored = _bmp_rows(_packed(rows, bits, "<"), -(-WIDTH * bits // 8))
            data = bmp(stored, bits, palette=palette, top_down=top_down)
            yield Form(f"bmp {bits} bits {'top down' if top_down else ''}", data, palette[index], 0)
    for bits in (4, 8):
        index, palette = indexed(2**bits)
        for longest in (1, 3, 4, 5, 6, 7, 254):
            for skipping in (False, True):
                stored, seen = _bmp_runs(index[::-1], bits, longest, skipping=skipping)
                data = bmp(stored, bits, compression=3 - bits // 4, palette=palette)
                what = f"runs of {longest}{' with jumps' if skipping else ''}"
                yield Form(f"bmp {bits} bits {what}", data, palette[seen[::-1]], 0)
    for name, masks in (("555", ()), ("565", (0xF800, 0x07E0, 0x001F)), ("555 by masks", (0x7C00, 0x03E0, 0x001F))):
        green = 6 if name == "565" else 5
        parts = [_quantised(rgb[..., n], bits) for n, bits in enumerate((5, green, 5))]
        word = (parts[0][0] << np.uint64(5 + green)) | (parts[1][0] << np.uint64(5)) | parts[2][0]
        stored = _bmp_rows(word[::-1].astype("<u2").tobytes(), 2 * WIDTH)
        seen = np.dstack([part[1] for part in parts])
        yield Form(f"bmp 16 bits {name}", bmp(stored, 16, compression=3 if masks else 0, masks=masks), seen, 4)
    bgr = rgb[::-1, :, ::-1]
    yield Form("bmp 24 bits", bmp(_bmp_rows(bgr.tobytes(), 3 * WIDTH), 24), rgb, 0)
    wide = np.dstack([bgr, np.zeros(bgr.shape[:2], np.uint8)])
    yield Form("bmp 32 bits", bmp(wide.tobytes(), 32), rgb, 0)
    masks = (0xFF0000, 0xFF00, 0xFF)
    yield Form("bmp 32 bits by masks", bmp(wide.tobytes(), 32, compression=3, masks=masks), rgb, 0)


def _bmp_runs(rows: np.ndarray, bits: int, longest: int, *, skipping: bool) -> tuple[bytes, np.ndarray]:
    """Return rows as literal runs of up to `longest` pixels between repeated ones, and the pixels that they mean.

    With `skipping`, every seventh row ends early and every ninth is left out by a jump; what is skipped has colour 0.
    """
    out, seen = b"", rows.copy()
    for y, row in enumerate(rows):
        end = len(row)
        if skipping and y % 9 == 4:
            out += bytes([0, 2, 0, 1])
            seen[y] = 0
            continue
        if skipping and y % 7 == 3:
            end = (y * 5) % len(row)
            seen[y, end:] = 0
        x, literal = 0, True
        while x < end:
            length = min(end - x, longest)
            part = [int(value) for value in row[x : x + length]]
            if literal and length >= 3:
                out += bytes([0, length])
                body = bytes(part) if bits == 8 else _nibbles(part)
                out += body + bytes(len(body) % 2)
            else:
                length = 1
                while x + length < end and length < 255 and row[x + length] == row[x]:
                    length += 1
                out += bytes([length, int(row[x]) * (17 if bits == 4 else 1)])
            x, literal = x + length, not literal
        out += b"\0\0"
    return out + b"\0\1", seen


def _nibbles(values: list[int]) -> bytes:
    values = values + [0] * (len(values) % 2)
    return bytes(values[n] << 4 | values[n + 1] for n in range(0, len(values), 2))


# PNG


def png(values: np.ndarray, bits: int, colour_type: int, *, interlaced: bool, chunks: bytes = b"") -> bytes:
    """Return values (height, width, samples) as a PNG file."""
    height, width = values.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    stored = b""
    for x, y, step_x, step_y in passes:
        part = values[y::step_y, x::step_x]
        rows = part.reshape(len(part), -1)
        for row in rows if part.shape[1] else ():
            stored += b"\0" + _packed(row[np.newaxis], bits, ">")
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, int(interlaced))
    body = png_chunk(b"IHDR", head) + chunks + png_chunk(b"IDAT", zlib.compress(stored)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_forms() -> Iterator[Form]:
    """Yield forms of PNG."""
    rgb, grey = colours(), greys()
    for interlaced in (False, True):
        form = "interlaced" if interlaced else ""
        for bits in (1, 2, 4, 8, 16):
            deep, seen = _quantised(grey, bits)
            yield Form(f"png grey {bits} {form}", png(deep[..., np.newaxis], bits, 0, interlaced=interlaced),
                       _as_rgb(seen))  # fmt: skip
        for bits in (1, 2, 4, 8):
            index, palette = indexed(2**bits)
            table = png_chunk(b"PLTE", palette.tobytes())
            data = png(index[..., np.newaxis], bits, 3, interlaced=interlaced, chunks=table)
            yield Form(f"png palette {bits} {form}", data, palette[index], 0)
        for bits in (8, 16):
            opaque = np.full((HEIGHT, WIDTH), 255, np.uint8)
            for colour_type, values, seen in (
                (2, rgb, rgb),
                (4, np.dstack([grey, opaque]), _as_rgb(grey)),
                (6, np.dstack([rgb, opaque]), rgb),
            ):
                data = png(_quantised(values, bits)[0], bits, colour_type, interlaced=interlaced)
                yield Form(f"png type {colour_type} {bits} {form}", data, seen)


# PNM and TGA


def pnm_forms() -> Iterator[Form]:
    """Yield forms of PBM, PGM and PPM."""
    rgb, grey = colours(), greys()
    for name, values, plain, raw in (("grey", grey, b"P2", b"P5"), ("rgb", rgb, b"P3", b"P6")):
        for top in (1, 15, 100, 255, 1023, 65535):
            deep = np.rint(values * (top / 255)).astype(np.uint32)
            seen = np.rint(deep * (255 / top)).astype(np.uint8)
            seen = _as_rgb(seen) if name == "grey" else seen
            head = b" %d %d\n%d\n" % (WIDTH, HEIGHT, top)
            text = b"\n".join(b" ".join(b"%d" % value for value in row.reshape(-1)) for row in deep)
            yield Form(f"pnm {name} of {top} text", plain + head + text + b"\n", seen)
            yield Form(f"pnm {name} of {top}", raw + head + deep.astype(">u2" if top > 255 else "u1").tobytes(), seen)
    bits = (grey < 128).astype(np.uint8)
    seen = _as_rgb((255 * (1 - bits)).astype(np.uint8))
    head = b" %d %d\n" % (WIDTH, HEIGHT)
    yield Form("pnm bits", b"P4" + head + np.packbits(bits, axis=1).tobytes(), seen, 0)
    text = b"\n".join(b" ".join(b"%d" % value for value in row) for row in bits)
    yield Form("pnm bits text", b"P1" + head + text + b"\n", seen, 0)


def tga_forms() -> Iterator[Form]:
    """Yield forms of TGA."""
    rgb, grey = colours(), greys()
    index, palette = indexed(256)
    fives = _quantised(rgb, 5)
    words = ((fives[0][..., 0] << np.uint64(10)) | (fives[0][..., 1] << np.uint64(5)) | fives[0][..., 2]).astype("<u2")
    opaque = np.full(grey.shape, 255, np.uint8)
    for name, kind, depth, stored, seen, tolerance in (
        ("grey", 3, 8, grey[..., np.newaxis], _as_rgb(grey), 0),
        ("rgb 24", 2, 24, rgb[..., ::-1], rgb, 0),
        ("rgba 32", 2, 32, np.dstack([rgb[..., ::-1], opaque]), rgb, 0),
        ("rgb 16", 2, 16, words[..., np.newaxis].view(np.uint8), fives[1], 8),
        ("palette", 1, 8, index[..., np.newaxis], palette[index], 0),
    ):
        for top_down in (False, True):
            rows = stored if top_down else stored[::-1]
            for runs in (False, True):
                table = palette[:, ::-1].tobytes() if kind == 1 else b""
                map_bits = 24 if kind == 1 else 0
                head = struct.pack("<BBBHHBHHHHBB", 0, kind == 1, kind + 8 * runs, 0, 256 if kind == 1 else 0, map_bits,
                                   0, 0, WIDTH, HEIGHT, depth, 0x20 * top_down + 8 * (depth == 32))  # fmt: skip
                body = b"".join(_tga_runs(row) for row in rows) if runs else rows.tobytes()
                what = f"{'top down' if top_down else ''} {'runs' if runs else ''}"
                yield Form(f"tga {name} {what}", head + table + body, seen, tolerance)


def _tga_runs(row: np.ndarray) -> bytes:
    """Return a row (width, bytes of a pixel) as alternating repeated and literal packets."""
    out, x = b"", 0
    while x < len(row):
        length = 1
        while x + length < len(row) and length < 128 and (row[x + length] == row[x]).all():
            length += 1
        if length > 1:
            out += bytes([127 + length]) + row[x].tobytes()
        else:
            length = min(5, len(row) - x)
            out += bytes([length - 1]) + row[x : x + length].tobytes()
        x += length
    return out
