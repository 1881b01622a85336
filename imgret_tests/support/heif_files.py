"""HEIC files: some of 450 to 960 bytes that an encoder made once, and files with many images built from their parts.

Belongs here: the bytes. Not here: files of other formats (`odd_files`, `picture_forms`), which tests encode themselves:
no encoder of HEIC is installed. `heif_files/` was encoded by libheif and x265 from generated images of 64 x 48 pixels:
`halves` is red on the left and blue on the right, `turned` the same with EXIF orientation 6, which libheif also wrote
as its own rotation, `green` all green, `transparent` red on the left and clear on the right, `deep` has 10 bits per
channel.
"""

import struct
from pathlib import Path

_FOLDER = Path(__file__).with_name("heif_files")
# Quarter turns to the left that a rotation box holds, by EXIF orientation.
_QUARTERS_OF = {1: 0, 6: 3, 3: 2, 8: 1}


def heif(name: str) -> bytes:
    """Return one of the encoded files: `halves`, `turned`, `green`, `transparent` or `deep`."""
    return (_FOLDER / f"{name}.heic").read_bytes()


def box(name: bytes, content: bytes) -> bytes:
    """Return a box: its length, its name and its content."""
    return struct.pack(">I4s", 8 + len(content), name) + content


def many_images(count: int, primary: int, *, rotation: int = 1) -> bytes:
    """Return a file of `count` images, where `primary` (from 0 on) shows `halves` and all others show `green`.

    Args:
        count: number of images.
        primary: number of the primary one.
        rotation: EXIF orientation (1, 3, 6, 8) that the file's own property of all images stands for.
    """
    halves, green = heif("halves"), heif("green")
    properties = _part(halves, b"meta", b"iprp", b"ipco")
    quarters = box(b"irot", bytes([_QUARTERS_OF[rotation]]))
    # What the encoder wrote (configuration, colours, size, crop, depth), and the rotation last.
    associations = bytes([6, 0x81, 2, 3, 0x84, 5, 0x86])
    numbers = range(1, count + 1)
    pixels = _part(halves, b"mdat"), _part(green, b"mdat")

    def meta(start: int) -> bytes:
        entries = [
            (number, start, len(pixels[0]))
            if number == primary + 1
            else (number, start + len(pixels[0]), len(pixels[1]))
            for number in numbers
        ]
        located = b"".join(struct.pack(">HHHII", number, 0, 1, at, length) for number, at, length in entries)
        infos = b"".join(box(b"infe", struct.pack(">IHH4sB", 2 << 24, number, 0, b"hvc1", 0)) for number in numbers)
        associated = b"".join(struct.pack(">H", number) + associations for number in numbers)
        return box(
            b"meta",
            bytes(4)
            + box(b"hdlr", bytes(8) + b"pict" + bytes(13))
            + box(b"pitm", struct.pack(">IH", 0, primary + 1))
            + box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, count) + located)
            + box(b"iinf", struct.pack(">IH", 0, count) + infos)
            + box(
                b"iprp",
                box(b"ipco", properties + quarters) + box(b"ipma", struct.pack(">II", 0, count) + associated),
            ),
        )

    head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", b"".join(pixels))


def _part(data: bytes, *names: bytes) -> bytes:
    """Return the content of a box inside boxes."""
    for name in names:
        at = 0
        while data[at + 4 : at + 8] != name:
            at += struct.unpack_from(">I", data, at)[0]
        data = data[at + 8 : at + struct.unpack_from(">I", data, at)[0]]
        if name == b"meta":
            data = data[4:]
    return data


def with_exif(exif: bytes) -> bytes:
    """Return the file `turned` with other EXIF data, which starts with `Exif` and two zeros, at its end."""
    data = heif("turned")
    start = data.rindex(b"Exif\0\0") - 4
    entry = next(
        located for length in range(len(data)) if (located := struct.pack(">IHII", start, 1, 0, length)) in data
    )
    content = struct.pack(">I", 6) + exif
    return data.replace(entry, struct.pack(">IHII", len(data), 1, 0, len(content))) + content
