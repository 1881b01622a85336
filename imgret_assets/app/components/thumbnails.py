"""Pictures for the page: found under a folder, made small, framed, measured.

Belongs here: which files may be shown, and small copies of them. Not here: how a thumbnail is made
(`domain.images.contact_sheets`) and kept (`domain.images.thumbnail_cache`), decoding (`domain.images.decode`).
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from imgret_assets.domain.images.contact_sheets import thumbnail
from imgret_assets.domain.images.decode import UnusableImageError, decode, read_header
from imgret_assets.domain.images.files import is_candidate
from imgret_assets.domain.images.thumbnail_cache import kept_thumbnail, thumbnails_folder
from imgret_assets.domain.storage.home import Home

TILE_PX = 224
_KEPT = 2048


@dataclass(frozen=True)
class PictureFacts:
    """What a file is: its size in pixels as shown, and in bytes; None where it can't be read."""

    width: int | None = None
    height: int | None = None
    bytes: int | None = None

    @property
    def text(self) -> str:
        """A line for people."""
        if self.bytes is None:
            return "the file is not there any more"
        size = f"{self.width:,} × {self.height:,} px · " if self.width is not None else ""
        return f"{size}{readable_bytes(self.bytes)}"


def readable_bytes(count: int) -> str:
    """Bytes with a unit."""
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit != "MB" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def picture_file(root: Path, path: str) -> Path | None:
    """The image file at a path under `root`; None where it isn't one, or lies elsewhere once links are followed."""
    parts = PurePosixPath(path).parts
    if not parts or any(part.startswith(".") for part in parts) or not is_candidate(parts[-1]):
        return None
    file = root / path
    try:
        inside = file.resolve().is_relative_to(root.resolve())
        return file if inside and file.is_file() else None
    except (OSError, ValueError):
        return None


def picture_facts(file: Path | None, *, max_pixels: int) -> PictureFacts:
    """Size of a picture, from its header."""
    if file is None:
        return PictureFacts()
    length: int | None = None
    try:
        length = file.stat().st_size
        with file.open("rb") as opened:
            header = read_header(opened, max_pixels=max_pixels)
    except UnusableImageError:
        return PictureFacts(bytes=length)
    except OSError:
        return PictureFacts()
    return PictureFacts(header.width, header.height, length)


def file_thumbnail(file: Path | None, size: int, *, max_pixels: int, folder: Path | None = None) -> bytes:
    """A file as JPEG of at most `size` x `size` pixels; a grey tile where it can't be read.

    Args:
        file: the picture.
        size: longest side in pixels.
        max_pixels: a larger picture is not opened.
        folder: where thumbnails are kept (`domain.images.thumbnail_cache`); in memory only where None.
    """
    try:
        found = None if file is None else file.stat()
    except OSError:
        found = None
    if file is None or found is None:
        return thumbnail(Path(), size=size)
    return _file_thumbnail(file, found.st_mtime_ns, found.st_size, size, max_pixels, folder)


@lru_cache(maxsize=_KEPT)
def _file_thumbnail(file: Path, mtime_ns: int, length: int, size: int, max_pixels: int, folder: Path | None) -> bytes:
    # The stamp makes a changed file new.
    del mtime_ns, length
    if picture_facts(file, max_pixels=max_pixels).width is None:
        return thumbnail(Path(), size=size)
    return thumbnail(file, size=size) if folder is None else kept_thumbnail(folder, file, size)


@lru_cache(maxsize=16)
def data_thumbnail(data: bytes, size: int, *, max_pixels: int) -> bytes | None:
    """Bytes of a picture as a small JPEG; None where they are no usable picture."""
    try:
        image = decode(data, max_pixels=max_pixels)
    except UnusableImageError:
        return None
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return _encoded(image, "JPEG")


def home_thumbnail(home: Home, file: Path | None, size: int) -> bytes:
    """`file_thumbnail` with a home's limit and its folder of thumbnails."""
    return file_thumbnail(file, size, max_pixels=home.settings.max_pixels, folder=thumbnails_folder(home))


def home_tiles(home: Home, files: Sequence[Path | None]) -> list[str]:
    """Files as tiles of one height, see `level_tiles`."""
    return level_tiles([home_thumbnail(home, file, TILE_PX) for file in files])


def level_tiles(thumbnails: list[bytes]) -> list[str]:
    """Thumbnails centred on clear tiles, all as tall as the tallest and TILE_PX wide, as data URIs of WebP.

    As URIs, because Streamlit would make a PNG of each tile that it is given, ten times as large and every time anew.
    """
    images = [Image.open(io.BytesIO(data)) for data in thumbnails]
    tall = max((image.height for image in images), default=0)
    return [_tile(data, tall) for data in thumbnails]


@lru_cache(maxsize=_KEPT)
def _tile(thumbnail: bytes, tall: int) -> str:
    image = Image.open(io.BytesIO(thumbnail))
    tile = Image.new("RGBA", (TILE_PX, tall))
    tile.paste(image, ((TILE_PX - image.width) // 2, (tall - image.height) // 2))
    return f"data:image/webp;base64,{base64.b64encode(_encoded(tile, 'WEBP')).decode()}"


def framed_uri(jpeg: bytes, colour: str, *, frame_px: int) -> tuple[str, int, int]:
    """A thumbnail in a frame of one colour as a data URI, with its width and height in pixels."""
    with Image.open(io.BytesIO(jpeg)) as image:
        framed = ImageOps.expand(image.convert("RGB"), border=frame_px, fill=colour)
    uri = "data:image/jpeg;base64," + base64.b64encode(_encoded(framed, "JPEG")).decode()
    return uri, framed.width, framed.height


def _encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=85)
    return buffer.getvalue()
