"""Repair of PNG files that Pillow refuses although their pixels are right.

Belongs here: text and profiles of more than Pillow's limit of 1 MB, wrong checksums of chunks that are no pixels, and
metadata after the pixels.
Not here: pixels (`domain.images.decode`).
"""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from imgret_assets.domain.images.file_formats import PNG_SIGNATURE, PngChunk, png_chunks

# Pillow refuses a file with a text or a profile that is larger when it is decompressed.
_PILLOW_LIMIT_BYTES = 1 << 20
# Pillow refuses a file with more text in all.
_PILLOW_TEXT_BYTES = 16 << 20
_MAX_PROFILE_BYTES = 16 << 20
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_METADATA = (b"eXIf", *_TEXTS)


@dataclass(frozen=True)
class RepairedPng:
    """A PNG file without what Pillow refuses, and the colour profile that was taken out of it, if any."""

    data: bytes
    icc_profile: bytes | None


def has_late_metadata(file: BinaryIO) -> bool:
    """Return whether chunks that may contain an orientation follow the pixels of a PNG file."""
    file.seek(len(PNG_SIGNATURE))
    after_pixels = False
    while len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        if after_pixels and name in _METADATA:
            return True
        after_pixels = after_pixels or name == b"IDAT"
        file.seek(length + 4, io.SEEK_CUR)
    return False


def repair_png(data: bytes) -> RepairedPng | None:
    """Return a PNG file without the chunks that Pillow refuses it for; None where there are none."""
    kept = [PNG_SIGNATURE]
    profile: bytes | None = None
    text_bytes = removed = 0
    end = len(PNG_SIGNATURE)
    for chunk in png_chunks(data):
        end = chunk.start + chunk.length + 4
        whole, content = data[chunk.start - 8 : end], data[chunk.start : end - 4]
        is_removed = False
        if chunk.name[0] & 0x20:
            is_removed = zlib.crc32(chunk.name + content) != struct.unpack(">I", whole[-4:])[0]
            if not is_removed and chunk.name == b"iCCP":
                found = _inflated(content.partition(b"\0")[2][1:], _MAX_PROFILE_BYTES)
                is_removed = len(found) > _PILLOW_LIMIT_BYTES
                profile = found if is_removed else None
            elif not is_removed and chunk.name in _TEXTS:
                size = _text_bytes(chunk, content)
                is_removed = size > _PILLOW_LIMIT_BYTES or text_bytes + size > _PILLOW_TEXT_BYTES
                text_bytes += 0 if is_removed else size
        removed += is_removed
        if not is_removed:
            kept.append(whole)
    return RepairedPng(b"".join([*kept, data[end:]]), profile) if removed else None


def _text_bytes(chunk: PngChunk, content: bytes) -> int:
    """Return the size of a text when it is decompressed, at most a little over the limit."""
    rest = content.partition(b"\0")[2]
    if chunk.name == b"zTXt":
        return len(_inflated(rest[1:], _PILLOW_LIMIT_BYTES))
    if chunk.name == b"iTXt" and rest[:1] == b"\1":
        return len(_inflated(rest[2:].split(b"\0", 2)[-1], _PILLOW_LIMIT_BYTES))
    return len(content)


def _inflated(data: bytes, limit: int) -> bytes:
    """Return decompressed bytes, at most one more than `limit`; what can't be decompressed is left to Pillow."""
    try:
        return zlib.decompressobj().decompress(data, limit + 1)
    except zlib.error:
        return b""
