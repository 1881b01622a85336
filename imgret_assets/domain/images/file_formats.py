"""Formats of files by their content: which format the first bytes have, and whether bytes are missing at the end.

Belongs here: signatures and the outer structure of every format. Not here: decoding (`domain.images.decode`), the
status of a file (`domain.images.failures`).
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# Bytes at the start of a file that `identify` needs.
START_BYTES = 64
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIFF = "TIFF"
# Formats that need a decoder besides Pillow and tifffile (`domain.images.optional_decoders`).
HEIF = "HEIF"
JPEG_XL = "JPEG XL"
RAW = "RAW"
_JP2_SIGNATURE = b"\0\0\0\x0cjP  "
_SIGNATURES = (
    # Camera raw files; those of other makers are TIFFs (`domain.images.raw_decoding`).
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\0", RAW),
    (b"FOVb", RAW),
    (b"\0MRM", RAW),
    (PNG_SIGNATURE, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (_JP2_SIGNATURE, "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\1\0", "ICO"),
    (b"BM", "BMP"),
    (b"\xff\x0a", JPEG_XL),
    (b"\0\0\0\x0cJXL ", JPEG_XL),
    (b"8BPS", "Photoshop"),
    (b"P7\n", "PAM"),
)
_PNM = re.compile(rb"P[1-6fFy0][\s#]")
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_CANON_RAW_BRAND = b"crx "
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"avci", b"avcs", b"mif1", b"mif2",
     b"msf1", b"miaf"}
)  # fmt: skip
# A marker inside the pixels of a JPEG: not a filled byte, and no mark for a restart.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_TIFF_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325


def identify(start: bytes) -> str | None:
    """Return the format that a file's first bytes have; None for none, and for TGA, which has no signature.

    Args:
        start: the first `START_BYTES` bytes, or all of a shorter file.
    """
    for signature, name in _SIGNATURES:
        if start.startswith(signature):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[4:8] == b"ftyp":
        # After the main brand come a version and the other brands, up to the length of the box.
        length = min(struct.unpack(">I", start[:4])[0], len(start))
        brands = {start[8:12], *(start[at : at + 4] for at in range(16, length, 4))}
        if start[8:12] == _CANON_RAW_BRAND:
            return RAW
        return "AVIF" if brands & _AVIF_BRANDS else HEIF if brands & _HEIF_BRANDS else None
    return "PPM" if _PNM.match(start) else None


def missing_part(data: bytes, form: str | None) -> str | None:
    """Return what is missing at the end of a file; None if its structure is complete, or can't tell.

    Args:
        data: all bytes of the file.
        form: its format (`identify`).
    """
    walk = _WALKS.get(form or "")
    if walk is None:
        return None
    try:
        return walk(data)
    except (struct.error, IndexError):
        return "its header is incomplete"


@dataclass(frozen=True)
class PngChunk:
    """One chunk of a PNG file: its name, where its data starts, and their length in bytes."""

    name: bytes
    start: int
    length: int


def png_chunks(data: bytes) -> Iterator[PngChunk]:
    """Yield the chunks of a PNG file up to `IEND`; one that does not fit into the file ends it."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            return
        yield PngChunk(name, at + 8, length)
        if name == b"IEND":
            return
        at += 12 + length


def _missing_in_png(data: bytes) -> str | None:
    has_end = any(chunk.name == b"IEND" for chunk in png_chunks(data))
    return None if has_end else "it ends before the last chunk of the PNG"


def _missing_in_jpeg(data: bytes) -> str | None:
    at = 2
    while match := _JPEG_MARKER.search(data, at):
        at = match.end()
        marker = data[at - 1]
        if marker == 0xD9:
            return None
        if marker not in (0x01, 0xD8):
            at += struct.unpack_from(">H", data, at)[0]
    return "it ends before the end mark of the JPEG"


def _missing_in_gif(data: bytes) -> str | None:
    flags = struct.unpack_from("<6sHHBBB", data)[3]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while at < len(data):
        block = data[at]
        if block == 0x3B:
            return None
        if block == 0x21:
            at += 2
        elif block == 0x2C:
            flags = data[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            return None
        while data[at]:
            at += 1 + data[at]
        at += 1
    return "it ends before the end mark of the GIF"


def _missing_in_webp(data: bytes) -> str | None:
    declared = 8 + struct.unpack_from("<I", data, 4)[0]
    return None if len(data) >= declared else f"it has {len(data):,} of {declared:,} bytes"


def _missing_in_bmp(data: bytes) -> str | None:
    declared, _, start, header = struct.unpack_from("<IIII", data, 2)
    needed = start
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        needed += (width * bits + 31) // 32 * 4 * height
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        needed = declared if compression in (1, 2) else needed + (width * bits + 31) // 32 * 4 * abs(height)
    return None if len(data) >= needed else f"it has {len(data):,} of {needed:,} bytes"


def _missing_in_ico(data: bytes) -> str | None:
    count = struct.unpack_from("<H", data, 4)[0]
    for number in range(count):
        length, offset = struct.unpack_from("<II", data, 14 + 16 * number)
        if offset + length > len(data):
            return f"its image {number + 1} of {count} ends after the file"
    return None


def _missing_in_boxes(data: bytes) -> str | None:
    pixels = {b"jp2c", b"mdat"}
    names, end = _boxes(data)
    if end > len(data) and not pixels & set(names[:-1]):
        return f"its box {names[-1].decode('latin-1')!r} ends after the file"
    return None if pixels & set(names) else "it ends before the pixels"


def _missing_in_heif(data: bytes) -> str | None:
    names, end = _boxes(data)
    if end > len(data):
        return f"its box {names[-1].decode('latin-1')!r} ends after the file"
    return None if b"meta" in names else "it ends before the box 'meta'"


def _boxes(data: bytes) -> tuple[list[bytes], int]:
    """Return the names of a file's outer boxes, and where the last one ends, which may be after the file."""
    at, names = 0, []
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        names.append(name)
        if length == 1:
            length = struct.unpack_from(">Q", data, at + 8)[0]
        if 0 < length < 8:
            break
        at = len(data) if length == 0 else at + length
    return names, at


def _missing_in_jpeg2000(data: bytes) -> str | None:
    problem = _missing_in_boxes(data) if data.startswith(_JP2_SIGNATURE) else None
    has_end = data.rstrip(b"\0").endswith(b"\xff\xd9") or data.startswith(_JP2_SIGNATURE)
    return problem if has_end else "it ends before the end mark of the JPEG 2000"


def _missing_in_pnm(data: bytes) -> str | None:
    kind = data[1:2]
    if kind not in b"123456":
        return None
    head = re.compile(rb"P.(?:\s|#[^\n]*\n)+" + rb"(\d+)(?:\s|#[^\n]*\n)+" * (1 if kind in b"14" else 2) + rb"(\d+)\s")
    match = head.match(data)
    if match is None:
        return "its header is incomplete"
    width, height, *top = (int(number) for number in match.groups())
    channels = 3 if kind in b"36" else 1
    rest = len(data) - match.end()
    if kind in b"123":
        text = data[match.end() :]
        count = len(re.sub(rb"\s", b"", text)) if kind == b"1" else len(text.split())
        return None if count >= width * height * channels else f"it has {count:,} values"
    row = (width + 7) // 8 if kind == b"4" else width * channels * (2 if top and top[0] > 255 else 1)
    return None if rest >= row * height else f"it has {rest:,} of {row * height:,} bytes of pixels"


def _missing_in_tiff(data: bytes) -> str | None:
    order = "<" if data[:1] == b"I" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    word, entry_bytes, inline = ("Q", 20, 8) if is_big else ("I", 12, 4)
    directory = struct.unpack_from(order + word, data, 8 if is_big else 4)[0]
    count = struct.unpack_from(order + ("Q" if is_big else "H"), data, directory)[0]
    first = directory + (8 if is_big else 2)
    if first + count * entry_bytes > len(data):
        return "its directory ends after the file"
    stored: dict[int, tuple[int, ...]] = {}
    for number in range(count):
        at = first + number * entry_bytes
        tag, kind, values = struct.unpack_from(f"{order}HH{word}", data, at)
        length = values * _TIFF_TYPE_BYTES.get(kind, 1)
        place = at + entry_bytes - inline
        if length > inline:
            place = struct.unpack_from(order + word, data, place)[0]
            if place + length > len(data):
                return f"the values of its tag {tag} end after the file"
        if tag in (_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES) and kind in (3, 4, 16):
            stored[tag] = struct.unpack_from(f"{order}{values}{ {3: 'H', 4: 'I', 16: 'Q'}[kind] }", data, place)
    for starts, lengths in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        for start, length in zip(stored.get(starts, ()), stored.get(lengths, ()), strict=False):
            if start + length > len(data):
                return "its pixels end after the file"
    return None


_WALKS: dict[str, Callable[[bytes], str | None]] = {
    "PNG": _missing_in_png,
    "JPEG": _missing_in_jpeg,
    "GIF": _missing_in_gif,
    "WEBP": _missing_in_webp,
    "BMP": _missing_in_bmp,
    "ICO": _missing_in_ico,
    "AVIF": _missing_in_boxes,
    HEIF: _missing_in_heif,
    "JPEG2000": _missing_in_jpeg2000,
    "PPM": _missing_in_pnm,
    TIFF: _missing_in_tiff,
}
