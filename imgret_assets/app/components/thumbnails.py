"""Thumbnails of image files for the page.

Belongs here: the size of files, their thumbnails as bytes and as data URIs. Not here: which files may be shown
(`domain.images.files`), how a thumbnail is made (`domain.images.contact_sheets`) and stored
(`domain.images.thumbnail_cache`), decoding (`domain.images.decode`).
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageEnhance, ImageOps

from imgret_assets.app.graph_chart.echarts_options import Symbol
from imgret_assets.domain.images.contact_sheets import thumbnail
from imgret_assets.domain.images.crop import Crop
from imgret_assets.domain.images.decode import decode, read_header
from imgret_assets.domain.images.file_reading import open_image_file, stamp_of_file
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.images.thumbnail_cache import cached_thumbnail, thumbnails_folder
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError
from imgret_assets.object_url import ImageFile
from imgret_assets.settings import DEFAULT_MAX_BYTES

TILE_PX = 224
_CACHED_THUMBNAILS = 2048
_CACHED_FACTS = 16_384
# Symbols have few sizes, so that cached ones serve all charts; larger than drawn, for zooming.
_SYMBOL_SOURCES_PX = (64, 128)
_AFTER = '"/></svg>'


@dataclass(frozen=True)
class ImageFacts:
    """An image's size in pixels as shown, and its file's size in bytes; None if it can't be read."""

    width: int | None = None
    height: int | None = None
    bytes: int | None = None

    @property
    def text(self) -> str:
        """Both sizes with units."""
        if self.bytes is None:
            return "file no longer exists"
        size = f"{self.width:,} × {self.height:,} px · " if self.width is not None else ""
        return f"{size}{readable_bytes(self.bytes)}"


def readable_bytes(count: int) -> str:
    """Return a number of bytes with a unit."""
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit != "MB" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def image_facts(file: ImageFile | None, *, max_pixels: int, max_bytes: int = DEFAULT_MAX_BYTES) -> ImageFacts:
    """Return the sizes of an image, read from its header."""
    if file is None:
        return ImageFacts()
    try:
        return _cached_facts(file, *stamp_of_file(file), max_pixels, max_bytes)
    except OSError:
        return ImageFacts()


@lru_cache(maxsize=_CACHED_FACTS)
def _cached_facts(file: ImageFile, mtime_ns: int, length: int, max_pixels: int, max_bytes: int) -> ImageFacts:
    # The time is part of the key only: a changed file is read again.
    del mtime_ns
    try:
        with open_image_file(file, max_bytes=max_bytes) as opened:
            header = read_header(opened, max_pixels=max_pixels)
    except UnusableImageError:
        return ImageFacts(bytes=length)
    return ImageFacts(header.width, header.height, length)


def file_thumbnail(
    file: ImageFile | None,
    size: int,
    *,
    max_pixels: int,
    max_bytes: int = DEFAULT_MAX_BYTES,
    folder: Path | None = None,
) -> bytes:
    """Return a file as JPEG of at most `size` x `size` pixels; a grey tile if it can't be read.

    Args:
        file: the image.
        size: longest side in pixels.
        max_pixels: a larger image is not opened.
        max_bytes: a larger file is not read.
        folder: where thumbnails are stored (`domain.images.thumbnail_cache`); in memory only if None.
    """
    try:
        stamp = None if file is None else stamp_of_file(file)
    except OSError:
        stamp = None
    if file is None or stamp is None:
        return thumbnail(Path(), size=size)
    return _cached_thumbnail(file, *stamp, size, (max_pixels, max_bytes), folder)


def file_preview(file: ImageFile, size: int, *, max_pixels: int, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
    """Return a file as `file_thumbnail` does, made anew each time: large ones would fill memory and disk."""
    if image_facts(file, max_pixels=max_pixels, max_bytes=max_bytes).width is None:
        return thumbnail(Path(), size=TILE_PX)
    return thumbnail(file, size=size)


@lru_cache(maxsize=_CACHED_THUMBNAILS)
def _cached_thumbnail(
    file: ImageFile, mtime_ns: int, length: int, size: int, limits: tuple[int, int], folder: Path | None
) -> bytes:
    # Time and length are part of the key only: a changed file is read again.
    del mtime_ns, length
    max_pixels, max_bytes = limits
    if image_facts(file, max_pixels=max_pixels, max_bytes=max_bytes).width is None:
        return thumbnail(Path(), size=size)
    return thumbnail(file, size=size) if folder is None else cached_thumbnail(folder, file, size)


@lru_cache(maxsize=16)
def data_thumbnail(data: bytes, size: int, *, max_pixels: int) -> bytes | None:
    """Return an image file's bytes as a small JPEG; None if they are no usable image."""
    try:
        image = decode(data, max_pixels=max_pixels, min_size=(size, size))
    except UnusableImageError:
        return None
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return _encode(image, "JPEG")


@lru_cache(maxsize=16)
def cropped_thumbnail(data: bytes, crop: Crop | None, size: int, *, max_pixels: int) -> bytes | None:
    """Return an image file's bytes as a small JPEG whose part inside the crop is bright and whose rest is dim.

    None if they are no usable image. A crop that is not inside the image is not drawn.
    """
    thumbnail = data_thumbnail(data, size, max_pixels=max_pixels)
    if thumbnail is None or crop is None:
        return thumbnail
    image = Image.open(io.BytesIO(thumbnail)).convert("RGB")
    header = read_header(io.BytesIO(data), max_pixels=max_pixels)
    try:
        box = crop.in_percent(header.width, header.height).box(*image.size)
    except ImageError:
        return thumbnail
    dim = ImageEnhance.Brightness(image).enhance(0.3)
    dim.paste(image.crop(box), box)
    return _encode(dim, "JPEG")


def home_thumbnail(home: Home, file: ImageFile | None, size: int) -> bytes:
    """Return `file_thumbnail` with the home's limits of pixels and bytes and its folder of thumbnails."""
    limits = {"max_pixels": home.settings.max_pixels, "max_bytes": home.settings.max_bytes}
    return file_thumbnail(file, size, **limits, folder=thumbnails_folder(home))


def home_tiles(home: Home, files: Sequence[ImageFile | None]) -> list[str]:
    """Return files as tiles of equal height, see `equal_tiles`."""
    return equal_tiles([home_thumbnail(home, file, TILE_PX) for file in files])


def equal_tiles(thumbnails: list[bytes], width: int = TILE_PX) -> list[str]:
    """Return thumbnails centred on transparent tiles, of one width and as high as the highest, as data URIs of SVG.

    As URIs, because Streamlit would make a PNG of each tile's bytes, ten times as large and again in every run. As SVG,
    because the JPEG in it stays as it is: another encoding of 24 tiles would take a quarter of a search.
    """
    sizes = [_size(data) for data in thumbnails]
    height = max((height for _, height in sizes), default=0)
    return [_tile(data, size, (width, height)) for data, size in zip(thumbnails, sizes, strict=True)]


def _size(jpeg: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(jpeg)) as image:
        return image.size


def _tile(jpeg: bytes, size: tuple[int, int], tile: tuple[int, int]) -> str:
    (width, height), (tile_width, tile_height) = size, tile
    place = f'x="{(tile_width - width) // 2}" y="{(tile_height - height) // 2}" width="{width}" height="{height}"'
    before = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{tile_width}" height="{tile_height}" '
        f'viewBox="0 0 {tile_width} {tile_height}"><image {place} href="data:image/jpeg;base64,'
    )
    # Base64 has no character that a URI's data may not have.
    return f"data:image/svg+xml,{quote(before)}{base64.b64encode(jpeg).decode()}{quote(_AFTER)}"


def framed_symbol(thumbnail: bytes, size: int, colour: str, *, frame_px: int) -> Symbol:
    """Return an image with a frame as a symbol of a chart.

    Args:
        thumbnail: the image as JPEG of at most `TILE_PX` pixels a side, which a tile of it shows, too.
        size: longest side in which the image is drawn, in pixels, without its frame.
        colour: of the frame.
        frame_px: width of the frame as it is drawn.
    """
    source_px = next((px for px in _SYMBOL_SOURCES_PX if px >= size), _SYMBOL_SOURCES_PX[-1])
    symbol = frame_thumbnail(thumbnail, source_px, colour, frame_px=max(1, round(frame_px * source_px / size)))
    scale = size / source_px
    return Symbol(symbol.uri, round(symbol.width * scale), round(symbol.height * scale))


# A chart has up to some hundred, of some kilobytes each: those of the last views are cached.
@lru_cache(maxsize=4096)
def frame_thumbnail(jpeg: bytes, size: int, colour: str, *, frame_px: int) -> Symbol:
    """Return a thumbnail of at most `size` x `size` pixels in a frame of one colour."""
    with Image.open(io.BytesIO(jpeg)) as image:
        image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
        framed = ImageOps.expand(image.convert("RGB"), border=frame_px, fill=colour)
    uri = "data:image/jpeg;base64," + base64.b64encode(_encode(framed, "JPEG")).decode()
    return Symbol(uri, framed.width, framed.height)


def _encode(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=85)
    return buffer.getvalue()
