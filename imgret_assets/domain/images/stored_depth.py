"""The depth in which a file stores its pixels: colour channels and bits per pixel, from its header alone.

Belongs here: what the modes, raw modes and tags of formats say about depth. Not here: opening files
(`domain.images.decode`), what the pixels themselves show (`domain.duplicates.image_quality`).

Transparency counts for neither. A palette with colours has 3 channels and the bits of an index: fewer bits per channel
than RGB, and more channels than grey.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from imgret_assets.domain.images.file_formats import TIFF

_BITS, _PHOTOMETRIC, _SAMPLES, _COLOUR_MAP, _EXTRA_SAMPLES = 258, 262, 277, 320, 338
_TIFF_PALETTE, _TIFF_GREY = 3, frozenset({0, 1})
# Channels and bits per channel of the modes that Pillow opens files in; a raw mode may say more bits or fewer.
_MODES = {
    "1": (1, 1),
    **dict.fromkeys(("L", "LA", "La"), (1, 8)),
    **dict.fromkeys(("I", "I;16", "I;16B", "I;16L", "I;16N"), (1, 16)),
    "F": (1, 32),
    "CMYK": (4, 8),
}
# Bits per pixel of a raw mode such as `L;4`, `P;2` or `BGR;15`, and per channel of one such as `RGB;16B`.
_PACKED_MODES = {
    **{f"{mode};{bits}": bits for mode in ("L", "P") for bits in (1, 2, 4)},
    **{f"{mode};{bits}": bits for mode in ("RGB", "BGR") for bits in (15, 16)},
}
_WIDE_ENDINGS = (";16B", ";16L", ";16N")
_PPM_DECODERS = ("ppm", "ppm_plain")


@dataclass(frozen=True)
class StoredDepth:
    """The depth of a file's pixels.

    Attributes:
        channels: colour channels: 1 grey, 3 colours (also by a palette), 4 CMYK.
        bits: bits per pixel: 1 (fax), 8 (grey or palette), 24 (RGB), 48 (RGB of 16 bits), ….
    """

    channels: int
    bits: int


def stored_depth(image: Image.Image) -> StoredDepth | None:
    """Return the depth in which an opened file stores its first frame; None if its header does not say it."""
    if image.format == TIFF:
        tags: Mapping[int, Any] = image.tag_v2  # type: ignore[attr-defined]
        bits, extra = tags.get(_BITS, 1), tags.get(_EXTRA_SAMPLES, ())
        return tiff_depth(
            int(tags.get(_PHOTOMETRIC, 0)),
            max(bits) if isinstance(bits, tuple) else int(bits),
            int(tags.get(_SAMPLES, 1)),
            len(extra) if isinstance(extra, tuple) else 1,
            tags.get(_COLOUR_MAP),
        )
    decoder, raw_mode, maximum = _tile_of(image)
    if image.mode in ("P", "PA"):
        bits = _PACKED_MODES.get(raw_mode, 8)
        return StoredDepth(3 if _has_coloured_palette(image) else 1, bits)
    channels, bits = _MODES.get(image.mode, (3, 8))
    if raw_mode in _PACKED_MODES:
        return StoredDepth(channels, _PACKED_MODES[raw_mode])
    if raw_mode.endswith(_WIDE_ENDINGS):
        bits = 16
    elif decoder in _PPM_DECODERS and maximum:
        bits = maximum.bit_length()
    return StoredDepth(channels, channels * bits)


def tiff_depth(
    photometric: int, bits: int, samples: int, extra_samples: int, colour_map: Sequence[int] | None
) -> StoredDepth:
    """Return the depth of a page of a TIFF by the values of its tags.

    Args:
        photometric: PhotometricInterpretation.
        bits: BitsPerSample, of the channel that has most.
        samples: SamplesPerPixel.
        extra_samples: how many of the samples are no colours.
        colour_map: all reds, all greens, all blues of the palette; None if there is none.
    """
    if photometric == _TIFF_PALETTE:
        colours = list(colour_map or ())
        third = len(colours) // 3
        is_grey = colours[:third] == colours[third : 2 * third] == colours[2 * third :]
        return StoredDepth(1 if is_grey else 3, bits)
    channels = 1 if photometric in _TIFF_GREY else max(1, samples - extra_samples)
    return StoredDepth(channels, channels * bits)


def _tile_of(image: Image.Image) -> tuple[str, str, int]:
    """Return the decoder, the raw mode and the largest value that an image's first tile names; empty or 0 if none."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return "", "", 0
    decoder, arguments = tiles[0][0], tiles[0][3]
    values = arguments if isinstance(arguments, tuple) else (arguments,)
    raw_mode = next((value for value in values if isinstance(value, str)), "")
    maximum = next((value for value in values if isinstance(value, int)), 0)
    return decoder, raw_mode, maximum


def _has_coloured_palette(image: Image.Image) -> bool:
    if image.palette is None:
        return False
    raw_mode, data = image.palette.getdata()
    step = 4 if len(raw_mode) == 4 else 3
    return not data[0::step] == data[1::step] == data[2::step]
