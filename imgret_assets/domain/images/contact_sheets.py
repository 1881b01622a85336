"""Thumbnails and contact sheets of images.

Belongs here: thumbnails as bytes and as Markdown, sheets of several images as Markdown and as PNG files. Not here:
decoding for embeddings (`domain.images.decode`), stored thumbnails (`domain.images.thumbnail_cache`), which images are
shown.
"""

import base64
import html
import io
import math
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageDraw, ImageFont, ImageOps

from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.images.file_reading import read_image_file, stamp_of_file
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.storage.atomic_files import replacing
from imgret_assets.image_roots import AnyRoot
from imgret_assets.object_url import ImageFile
from imgret_assets.wording import score_text

_PAPER, _CARD, _EDGE = (244, 245, 247), (255, 255, 255), (221, 224, 229)
_INK, _SOFT, _ACCENT = (28, 32, 40), (102, 110, 122), (0, 96, 178)
_GREY = (214, 217, 222)
_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "Arial.ttf", "segoeui.ttf")
_TILE, _QUERY, _GAP, _MARGIN = 236, 380, 18, 36
# Sizes in pixels and JPEG qualities, from the best to the smallest at which an image can still be recognised.
_STEPS = ((112, 72), (96, 66), (80, 60), (64, 50), (48, 40))
# Fewer characters than the smallest tile of a photograph takes, so that no more images are tried than can fit.
_MIN_TILE_BYTES = 400
# A thumbnail is made of any image that a user lets into a home (`max_pixels` and `max_bytes` are settings).
_MAX_PIXELS = 2**40
_MAX_BYTES = 2**50


class Hit(Protocol):
    """A hit of a query: its file, score and label."""

    @property
    def path(self) -> str:
        """The file, relative to the image root."""
        ...

    @property
    def score(self) -> float:
        """Raw cosine in [-1, 1]."""
        ...

    @property
    def label(self) -> str | None:
        """The folder; None for a file in the image root itself."""
        ...


def thumbnail(path: ImageFile, *, size: int = 96) -> bytes:
    """Return an image as JPEG of at most `size` x `size` pixels, in the colours and on the ground that are embedded.

    A file that can't be read gives a grey tile.
    """
    return _jpeg(_small(path, size), 82)


def data_uri(path: ImageFile, size: int = 96) -> str:
    """Return a thumbnail as a data URI, for Markdown and HTML."""
    return _uri(thumbnail(path, size=size))


def markdown_thumbnails(rows: Sequence[Sequence[ImageFile | str]], *, headers: Sequence[str], size: int = 72) -> str:
    """Return a Markdown table with thumbnails among its cells.

    Args:
        rows: the cells: a path is shown as its thumbnail, a text as it is.
        headers: of the columns.
        size: longest side of a thumbnail, in pixels.
    """
    lines = [_row(headers), _row(["---"] * len(headers))]
    for row in rows:
        lines.append(_row([_cell(cell) if isinstance(cell, str) else f"![]({data_uri(cell, size)})" for cell in row]))
    return "\n".join(lines)


def markdown_sheet(paths: Sequence[ImageFile], *, max_bytes: int, columns: int = 8) -> str:
    """Return a contact sheet as a Markdown image of at most `max_bytes` characters.

    The sheet shows the first images, as many as fit at a size at which they can be recognised. All images are made
    smaller before one is left out. The text is empty where there is no image, or where not even one fits.
    """
    shown = list(paths[: max(1, max_bytes // _MIN_TILE_BYTES)])
    while shown:
        smallest = 0
        for size, quality in _STEPS:
            text = f"![{len(shown)} images]({_uri(_jpeg(_grid(shown, size, columns), quality))})"
            if len(text) <= max_bytes:
                return text
            smallest = len(text)
        # The smallest step exceeds the limit by this factor. A little less is tried: a JPEG's header does not shrink.
        shown = shown[: min(len(shown) - 1, int(len(shown) * max_bytes / smallest * 0.95))]
    return ""


def query_sheet(query: ImageFile, hits: Sequence[Hit], out: Path, *, root: AnyRoot, title: str) -> None:
    """Write a contact sheet of a query image and its hits as PNG, whole or not at all.

    Args:
        query: the query image's file; shown large at the left.
        hits: best first; each is shown with rank, score, label and full path.
        out: the file to write.
        root: the image roots that the hits' paths are relative to.
        title: the heading.

    Raises:
        ImgretError: the file can't be written.
    """
    columns = min(len(hits), 5 if len(hits) > 8 or len(hits) == 5 else 4) or 1
    cards = [_hit_card(rank, hit, root) for rank, hit in enumerate(hits, 1)]
    rows = [_level(cards[i : i + columns]) for i in range(0, len(cards), columns)]
    heights = [row[0].height for row in rows]
    left = _query_card(query)
    top = _MARGIN + 58
    grid_x = _MARGIN + left.width + 2 * _GAP
    width = grid_x + columns * (_TILE + _GAP) - _GAP + _MARGIN
    height = top + max(left.height, sum(heights) + _GAP * (len(rows) - 1)) + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _text(draw, (_MARGIN, _MARGIN - 6), _shorten(title, 26, width - 2 * _MARGIN), 26, _INK)
    draw.line((_MARGIN, _MARGIN + 38, width - _MARGIN, _MARGIN + 38), fill=_EDGE, width=2)
    sheet.paste(left, (_MARGIN, top))
    if not hits:
        _text(draw, (grid_x, top + 8), "nothing found", 18, _SOFT)
    y = top
    for row, tall in zip(rows, heights, strict=True):
        for i, card in enumerate(row):
            sheet.paste(card, (grid_x + i * (_TILE + _GAP), y))
        y += tall + _GAP
    with replacing(out) as temporary:
        sheet.save(temporary, "PNG", optimize=True)


def _small(path: ImageFile, size: int) -> Image.Image:
    try:
        image = decode(read_image_file(path, max_bytes=_MAX_BYTES), max_pixels=_MAX_PIXELS, min_size=(size, size))
        image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    except (OSError, ValueError, UnusableImageError):
        return _placeholder(size)
    return image


def _placeholder(size: int) -> Image.Image:
    tile = Image.new("RGB", (size, size), _GREY)
    draw = ImageDraw.Draw(tile)
    a, b = size * 0.34, size * 0.66
    for line in ((a, a, b, b), (a, b, b, a)):
        draw.line(line, fill=(160, 165, 173), width=max(2, size // 24))
    return tile


def _jpeg(image: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality, optimize=True)
    return data.getvalue()


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    # A path may contain characters that start a table cell, a link or a tag in Markdown.
    quoted = html.escape(text, quote=False).replace("\\", "\\\\").replace("\n", " ")
    for sign in "|`*_[]":
        quoted = quoted.replace(sign, f"\\{sign}")
    return quoted


def _grid(paths: Sequence[ImageFile], size: int, columns: int) -> Image.Image:
    columns = min(columns, len(paths))
    gap = max(2, size // 24)
    step = size + gap
    sheet = Image.new("RGB", (columns * step + gap, math.ceil(len(paths) / columns) * step + gap), _PAPER)
    for i, path in enumerate(paths):
        tile = _cached_tile(path, *_file_stamp(path), size)
        x, y = gap + i % columns * step, gap + i // columns * step
        sheet.paste(_CARD, (x, y, x + size, y + size))
        sheet.paste(tile, (x + (size - tile.width) // 2, y + (size - tile.height) // 2))
    return sheet


def _file_stamp(path: ImageFile) -> tuple[int, int]:
    try:
        return stamp_of_file(path)
    except (OSError, ValueError):
        return (0, 0)


@lru_cache(maxsize=2048)
def _cached_tile(path: ImageFile, mtime_ns: int, file_bytes: int, size: int) -> Image.Image:
    # Cached because a sheet that has to shrink is drawn several times; time and size make a changed file a new key.
    del mtime_ns, file_bytes
    return _small(path, size)


def _hit_card(rank: int, hit: Hit, root: AnyRoot) -> Image.Image:
    lines = wrap_text(hit.path, 12, _TILE - 24)
    label = wrap_text(hit.label, 13, _TILE - 24) if hit.label else []
    image_height = 178
    card = Image.new("RGB", (_TILE, image_height + 44 + 17 * len(label) + 16 * len(lines) + 16), _CARD)
    draw = ImageDraw.Draw(card)
    _paste_centred(card, _small(root / hit.path, 400), (1, 1, _TILE - 1, image_height))
    y = image_height + 10
    _text(draw, (12, y), score_text(hit.score), 20, _ACCENT)
    number = f"#{rank}"
    _text(draw, (_TILE - 12 - font_of_size(13).getlength(number), y + 6), number, 13, _SOFT)
    y += 29
    for text in label:
        _text(draw, (12, y), text, 13, _INK)
        y += 17
    y += 3
    for text in lines:
        _text(draw, (12, y), text, 12, _SOFT)
        y += 16
    return card


def _level(cards: Sequence[Image.Image]) -> list[Image.Image]:
    """Return the cards of one row, all as tall as the tallest, with a frame."""
    levelled = []
    height = max(card.height for card in cards)
    for card in cards:
        tall = Image.new("RGB", (_TILE, height), _CARD)
        tall.paste(card, (0, 0))
        ImageDraw.Draw(tall).rectangle((0, 0, tall.width - 1, tall.height - 1), outline=_EDGE)
        levelled.append(tall)
    return levelled


def _query_card(query: ImageFile) -> Image.Image:
    image = _small(query, _QUERY - 2)
    lines = wrap_text(query.name, 16, _QUERY - 32)
    card = Image.new("RGB", (_QUERY, image.height + 2 + 62 + 21 * len(lines)), _CARD)
    draw = ImageDraw.Draw(card)
    _paste_centred(card, image, (1, 1, _QUERY - 1, image.height + 1))
    y = image.height + 14
    _text(draw, (16, y), "QUERY", 12, _SOFT)
    y += 20
    for text in lines:
        _text(draw, (16, y), text, 16, _INK)
        y += 21
    draw.rectangle((0, 0, card.width - 1, card.height - 1), outline=_EDGE)
    draw.rectangle((0, card.height - 5, card.width - 1, card.height - 1), fill=_ACCENT)
    return card


def _paste_centred(card: Image.Image, image: Image.Image, box: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = box
    fitted = ImageOps.contain(image, (x1 - x0, y1 - y0), Image.Resampling.LANCZOS)
    card.paste((249, 250, 251), box)
    card.paste(fitted, (x0 + (x1 - x0 - fitted.width) // 2, y0 + (y1 - y0 - fitted.height) // 2))


@lru_cache(maxsize=64)
def font_of_size(size: int, *, ascii_only: bool = True) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font: Pillow's own for ASCII, which it looks best in; else one of the system with more characters."""
    for name in () if ascii_only else _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size=size)


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, colour: tuple[int, int, int]
) -> None:
    draw.text(at, drawable_text(text, size), fill=colour, font=font_of_size(size, ascii_only=text.isascii()))


def drawable_text(text: str, size: int) -> str:
    r"""Return the text with characters that the font lacks written as \uXXXX instead of an empty box."""
    if text.isascii():
        return text
    return "".join(
        char if char.isascii() or _has_glyph(char, size) else char.encode("ascii", "backslashreplace").decode()
        for char in text
    )


@lru_cache(maxsize=4096)
def _has_glyph(char: str, size: int) -> bool:
    if 0xD800 <= ord(char) < 0xE000:
        return False
    shapes = []
    # The font draws the same box for every character it lacks; U+FFFF is one of them.
    for drawn in (char, "\uffff"):
        tile = Image.new("L", (4 * size, 2 * size))
        ImageDraw.Draw(tile).text((size, 0), drawn, fill=255, font=font_of_size(size, ascii_only=False))
        shapes.append(tile.tobytes())
    return shapes[0] != shapes[1]


def wrap_text(text: str, size: int, width: float) -> list[str]:
    """Break a text into lines of at most `width` pixels, after a slash, hyphen or blank where one is near."""
    font = font_of_size(size, ascii_only=text.isascii())
    rest = drawable_text(text, size)
    lines: list[str] = []
    while rest:
        fits = len(rest)
        while fits > 1 and font.getlength(rest[:fits]) > width:
            fits -= 1
        if fits < len(rest):
            break_at = max(rest.rfind(char, fits // 2, fits) for char in "/- _")
            fits = break_at + 1 if break_at > 0 else fits
        lines.append(rest[:fits])
        rest = rest[fits:]
    return lines


def _shorten(title: str, size: int, width: float) -> str:
    font = font_of_size(size, ascii_only=title.isascii())
    for length in range(len(title), 8, -1):
        short = title if length == len(title) else textwrap.shorten(title, length, placeholder=" …")
        if font.getlength(short) <= width:
            return short
    return title
