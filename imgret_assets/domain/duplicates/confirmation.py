"""The confirmation of near-duplicates: whether two images are the same image, compared locally and in colour.

Belongs here: what two registered images differ by, and what of it a near-duplicate may differ by. Not here: their
registration (`domain.duplicates.registration`), which images are compared (`domain.duplicates.duplicate_search`),
decoding (`domain.duplicates.pixel_comparison`).

Steps:

1. The image with fewer pixels gives the grid, at most COMPARED_SIDE pixels long. The other is registered to it.
2. One least-squares fit explains the one by the other, in the direction that leaves less: a tone curve, a small
   symmetric kernel (resampling, blur, sharpening) and the rest of a shift that varies linearly.
3. What is left is measured in blocks of 8 x 8 pixels, every 4 pixels, relative to the contrast next to the block. What
   95 percent of the blocks keep below is the noise of recompression, which is everywhere; a changed word is in one
   place. The worst block may exceed that noise by a fixed factor and no fixed bound.
4. Colours are compared in means of 8 x 8 pixels after the same tone curve, gains of the channels and saturation.

docs/guide/duplicates.md has the rates by kind of change, which `python -m bench quality` measures.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from imgret_assets.domain.duplicates.registration import (
    KNOTS,
    TONE_BASIS,
    TONE_PENALTY,
    Box,
    reduced,
    register,
    resample_part,
    solve_penalised,
    window_within,
)
from imgret_assets.domain.runtime.blas_threads import one_blas_thread

# Long side of the grid in pixels. Letters of a page of A4 are 7 pixels high at 768. Of the digits changed in a price
# list of half the size, 3 of 12 can't be seen at 768 and 15 of 40 at 512.
COMPARED_SIDE = 768
# Pixels of the larger image along a side of the grid. More do not move the registration, and take longer.
SOURCE_OVERSAMPLING = 1.6

# Verdicts. `same` and `border` are near-duplicates; `changed`, `grey` and `frames` need a look; `different` is none.
SAME, BORDER, CHANGED, GREY, DIFFERENT = "same", "border", "changed", "grey", "different"
# Of two files with several frames, not all are the same.
FRAMES = "frames"
NEAR_VERDICTS, LOOK_VERDICTS = (SAME, BORDER), (CHANGED, GREY, FRAMES)

# Most that an edge may be cropped: 4 percent, for which hashes find candidates, and what a fit of 64 pixels can miss.
_MAX_CROP = 0.06
# Share of the side (at least 0.75 pixels of the grid) by which each image may show what the other does not. A burst
# that moved by 1 percent is refused; of 114 crops of photographs, 99 in 100 were registered to within 0.12 percent.
_MAX_NEW_CONTENT, _MAX_NEW_CONTENT_PIXELS = 0.005, 0.75
# Degrees. Copies are never rotated, and a second shot by hand mostly is.
_MAX_TURN_DEGREES = 0.3
# Contrast of the one relative to the other. Beyond that so few levels remain that a fit explains anything.
_MIN_GAIN, _MAX_GAIN = 0.4, 2.5
# Correlation of the registered images below which no part fits.
_MIN_FIT = 0.2
# A block may differ by this mean square in levels, plus this share of the contrast next to it: edges ring in a JPEG.
_BLOCK_NOISE, _CONTRAST_SHARE = 60.0, 0.10
# The worst block may be at most FREE + FACTOR x the 95th percentile, and never above CAP.
_NOISE_PERCENTILE = 95
_FREE_RATIO, _NOISE_FACTOR, _MAX_RATIO = 1.5, 10.0, 12.0
# Means of a block may differ by so many levels where a channel is clipped: the levels above are lost there.
_CLIPPED_MEAN_LEVELS, _CLIPPED_LEVEL, _CLIPPED_SHARE = 25.0, 252, 0.1
# An image of which less than this share differs, and the rest not at all, was edited in one place.
_MAX_CHANGED_SHARE, _MAX_CHANGED_NOISE = 0.04, 1.0
# Hue: tangent of the turn (10 degrees), and the levels that this turn makes: in a nearly grey image it is noise.
_MAX_HUE_TANGENT, _MIN_HUE_LEVELS = 0.18, 5.0
# Levels of chroma that a place may differ by after the fit, and before it. White balance of 10 percent makes 20.
_MAX_LOCAL_CHROMA, _MAX_RAW_CHROMA = 24.0, 80.0
# Gains of the channels and change of saturation that the fit may explain.
_MAX_BALANCE, _MAX_SATURATION = 0.10, 0.30
# Chroma in levels (root mean square) below which an image has no colour, and above which it has.
_GREY_CHROMA, _COLOUR_CHROMA = 1.5, 4.0
# Standard deviation in levels below which a strip around the box is a plain frame.
_FRAME_SPREAD = 6.0
# Scale of the kernel terms relative to a tone knot, which makes one penalty fit all: cross, corners, 3 x 3, 9 x 9,
# slopes.
_KERNEL_SCALE = 1 / np.array([4, 4, 9, 81, 2, 2, 2, 2], np.float32)
_KERNEL_PENALTY = np.pad(TONE_PENALTY, (0, 8)) + np.diag([0.0] * KNOTS + [0.05] * 8)
# Pixels, in whole rows, that the explaining fit uses.
_EXPLAINED_PIXELS = 50_000


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two images.

    Attributes:
        verdict: `same`, `border`, `changed`, `grey`, `frames` or `different`.
        reason: why, for a reader.
        excess: what the worst block differs by, relative to what it may; a near-duplicate has at most 1.
    """

    verdict: str
    reason: str
    excess: float


_NO_PART_FITS = Comparison(DIFFERENT, "no part of the one fits the other", 0.0)


@dataclass(frozen=True)
class _ColourDifference:
    """What the colours of two images differ by.

    Attributes:
        hue_tangent: tangent of the turn of hue.
        hue_levels: that turn in levels of chroma.
        local_chroma: largest local difference in levels after the fit.
        raw_chroma: largest local difference in levels before the fit.
        is_reversed: the colours are complementary.
        is_grey_version: exactly one of the two has colour.
    """

    hue_tangent: float
    hue_levels: float
    local_chroma: float
    raw_chroma: float
    is_reversed: bool
    is_grey_version: bool

    @property
    def is_turned(self) -> bool:
        """Whether all colours have turned to others."""
        return self.is_reversed or (self.hue_tangent > _MAX_HUE_TANGENT and self.hue_levels > _MIN_HUE_LEVELS)

    @property
    def is_other_colour(self) -> bool:
        """Whether all colours, or those of one place, are others."""
        return self.is_turned or self.local_chroma > _MAX_LOCAL_CHROMA or self.raw_chroma > _MAX_RAW_CHROMA


@dataclass(frozen=True)
class _Explained:
    """One image as far as the other explains it.

    Attributes:
        pixels: float32, what the explaining image makes.
        target: float32, the image that is explained.
        curve: float32 (256,), levels of the explaining image to levels of the target.
        gain: slope of the curve over the levels that occur.
        is_swapped: the smaller image explains the larger one.
    """

    pixels: np.ndarray
    target: np.ndarray
    curve: np.ndarray
    gain: float
    is_swapped: bool


# The arrays are small and pairs are compared by several threads: threads of BLAS would double the processor's time.
@one_blas_thread()
def compare_images(one: Image.Image, two: Image.Image) -> Comparison:
    """Compare two upright RGB images, in any order."""
    larger, smaller = sorted((one, two), key=lambda image: -image.width * image.height)
    scale = min(1.0, COMPARED_SIDE / max(smaller.size))
    size = (max(12, round(smaller.width * scale)), max(12, round(smaller.height * scale)))
    source, target = reduced(larger.convert("L"), size, SOURCE_OVERSAMPLING), smaller.convert("L")
    if target.size != size:
        target = target.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    try:
        return _compare_registered(larger, smaller, source, target)
    except np.linalg.LinAlgError:
        return _NO_PART_FITS


def _compare_registered(
    larger: Image.Image, smaller: Image.Image, source: Image.Image, target: Image.Image
) -> Comparison:
    """Register two images and measure what they differ by.

    Args:
        larger: the image with more pixels, RGB.
        smaller: the other, RGB.
        source: grey version of `larger`, with enough pixels for the grid.
        target: grey version of `smaller` at the size of the grid.

    Raises:
        LinAlgError: a system of equations has no solution.
    """
    size = target.size
    registration = register(source, target)
    box = registration.box
    cuts = (box[0], box[1], 1 - box[2], 1 - box[3])
    tolerance = max(_MAX_NEW_CONTENT, _MAX_NEW_CONTENT_PIXELS / max(size))
    if registration.fit < _MIN_FIT or max(map(abs, cuts)) > _MAX_CROP + tolerance:
        return _NO_PART_FITS
    left, top, right, bottom = window = window_within(box, size)
    x = np.asarray(resample_part(source, box, size, window, Image.Resampling.BICUBIC))
    y = np.asarray(target)[top:bottom, left:right]
    explained = _explain(x, y)
    cells = ((right - left) // 4, (bottom - top) // 4)
    colours_x, colours_y = (
        np.asarray(resample_part(image, part, size, window, Image.Resampling.BOX, cells))
        for image, part in ((larger, box), (smaller, (0.0, 0.0, 1.0, 1.0)))
    )
    is_clipped = np.maximum(colours_x.max(-1), colours_y.max(-1)) >= _CLIPPED_LEVEL
    ratios, noise = _block_ratios(explained.pixels, explained.target, is_clipped)
    allowed = min(_MAX_RATIO, _FREE_RATIO + _NOISE_FACTOR * noise)
    changed, excess = float((ratios > allowed).mean()), float(ratios.max()) / allowed
    if explained.is_swapped:
        colours_x, colours_y = colours_y, colours_x
    colours = _colour_difference(colours_x, colours_y, explained.curve)
    if min(cuts) < -tolerance and max(cuts) > tolerance:
        return Comparison(DIFFERENT, "shifted: each shows what the other does not", excess)
    if abs(registration.turn_degrees) > _MAX_TURN_DEGREES:
        return Comparison(DIFFERENT, f"turned by {abs(registration.turn_degrees):.1f} degrees", excess)
    if not _MIN_GAIN < explained.gain < _MAX_GAIN:
        return Comparison(DIFFERENT, "another contrast", excess)
    if changed > 0:
        is_edit = changed < _MAX_CHANGED_SHARE and noise < _MAX_CHANGED_NOISE and not colours.is_turned
        reason = f"{max(changed, 0.001):.1%} of the area differs"
        return Comparison(CHANGED if is_edit else DIFFERENT, reason, excess)
    return _compare_colours(colours, excess, is_framed=max(cuts) > tolerance and _is_plain_around(source, box))


def _compare_colours(colours: _ColourDifference, excess: float, *, is_framed: bool) -> Comparison:
    """Return the verdict about two images whose brightness is the same everywhere."""
    if colours.is_grey_version:
        return Comparison(GREY, "one is a grey version of the other", excess)
    if colours.is_other_colour:
        return Comparison(DIFFERENT, "another colour", excess)
    if is_framed:
        return Comparison(BORDER, "the same picture with a plain frame", excess)
    return Comparison(SAME, "the same picture", excess)


def _explain(x: np.ndarray, y: np.ndarray) -> _Explained:
    """Explain one of two registered images by the other, in the direction that leaves less.

    Args:
        x: uint8 (rows, columns), the larger image on the window.
        y: uint8 (rows, columns), the smaller image on the window.

    Raises:
        LinAlgError: the system has no solution.
    """
    stride = max(1, x.size // _EXPLAINED_PIXELS)
    down, across = (np.linspace(-1, 1, count, dtype=np.float32) for count in x.shape)
    fits = []
    for source, target in ((x, y), (y, x)):
        kernel = _kernel_terms(source)
        few = [term[::stride] for term in kernel]
        sampled = [*few[:4], few[4], few[4] * across, few[5], few[5] * down[::stride, None]]
        rows = np.concatenate(
            [
                TONE_BASIS[source[::stride]].reshape(-1, KNOTS).T,
                np.stack([term.ravel() for term in sampled]) * _KERNEL_SCALE[:, None],
            ]
        )
        left, weights = solve_penalised(rows, target[::stride].ravel().astype(np.float32), _KERNEL_PENALTY)
        fits.append((left, weights, kernel))
    is_swapped = fits[1][0] < fits[0][0]
    _, weights, kernel = fits[is_swapped]
    source, target = (y, x) if is_swapped else (x, y)
    curve, taps = TONE_BASIS @ weights[:KNOTS], weights[KNOTS:] * _KERNEL_SCALE
    pixels = curve[source]
    for tap, term in zip(taps[:4], kernel[:4], strict=True):
        pixels += tap * term
    pixels += kernel[4] * (taps[4] + taps[5] * across) + kernel[5] * (taps[6] + taps[7] * down[:, None])
    low, high = np.percentile(source[::4, ::4], (2, 98)).astype(int)
    gain = float(curve[high] - curve[low]) / (high - low) if high > low else 1.0
    return _Explained(pixels.clip(0, 255), target.astype(np.float32), curve.clip(0, 255), gain, bool(is_swapped))


def _kernel_terms(image: np.ndarray) -> list[np.ndarray]:
    """Return what a small symmetric kernel can add to an image, and its slopes: int16, each of the image's shape.

    The kernel's terms are the cross, the corners, the 3 x 3 and the 9 neighbours of 3 x 3, each less the pixel itself.
    """
    padded = np.pad(image, 1, mode="edge").astype(np.int16)
    middle, beside = padded[1:-1, 1:-1], padded[:, :-2] + padded[:, 2:]
    cross, corners = beside[1:-1] + padded[:-2, 1:-1] + padded[2:, 1:-1], beside[:-2] + beside[2:]
    nine = cross + corners + middle
    slope_x, slope_y = np.zeros_like(middle), np.zeros_like(middle)
    slope_x[:, 1:-1] = middle[:, 2:] - middle[:, :-2]
    slope_y[1:-1] = middle[2:] - middle[:-2]
    wide = _over_neighbours(nine, np.add) - 9 * nine
    return [cross - 4 * middle, corners - 4 * middle, nine - 9 * middle, wide, slope_x, slope_y]


def _over_neighbours(values: np.ndarray, combine: np.ufunc) -> np.ndarray:
    """Combine each value with its eight neighbours."""
    padded = np.pad(values, ((1, 1), (1, 1)) + ((0, 0),) * (values.ndim - 2), mode="edge")
    rows = combine(combine(padded[:-2], padded[1:-1]), padded[2:])
    return combine(combine(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _cell_means(values: np.ndarray, side: int) -> np.ndarray:
    """Return the means of cells of side x side values; what is left at the end is dropped."""
    rows, columns = values.shape[0] // side * side, values.shape[1] // side * side
    means = np.zeros((rows // side, columns // side, *values.shape[2:]), np.float32)
    for row in range(side):
        for column in range(side):
            means += values[row:rows:side, column:columns:side]
    return means / (side * side)


def _block_ratios(x: np.ndarray, y: np.ndarray, is_clipped: np.ndarray) -> tuple[np.ndarray, float]:
    """Return what each block of 8 x 8 pixels differs by relative to the contrast next to it.

    Args:
        x: float32, the explained pixels.
        y: float32, the pixels that they explain.
        is_clipped: bool, for each cell of 4 x 4 pixels whether a channel is clipped.

    Returns:
        Ratios, one for each block, every 4 pixels, and their 95th percentile.
    """

    def pool(cells: np.ndarray) -> np.ndarray:
        return (cells[:-1, :-1] + cells[1:, :-1] + cells[:-1, 1:] + cells[1:, 1:]) / 4

    mean_x, mean_y, square_x, square_y, square_difference = (
        pool(_cell_means(values, 4)) for values in (x, y, x * x, y * y, (x - y) ** 2)
    )
    # The smaller variance: what only one image has is no contrast that may excuse a difference.
    variance = np.minimum(square_x - mean_x * mean_x, square_y - mean_y * mean_y).clip(0)
    shift = np.abs(mean_x - mean_y)
    within = (square_difference - shift**2).clip(0)
    clipped = pool(is_clipped.astype(np.float32)) > _CLIPPED_SHARE
    between = np.where(clipped, (shift - _CLIPPED_MEAN_LEVELS).clip(0), shift) ** 2
    ratios = (within + between) / (_BLOCK_NOISE + _CONTRAST_SHARE * _over_neighbours(variance, np.maximum))
    return ratios, float(np.percentile(ratios, _NOISE_PERCENTILE))


def _chroma(rgb: np.ndarray) -> np.ndarray:
    """Return the two coordinates of colour that grey has not: float32 (rows, columns, 2), in levels."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return np.stack([(red - green) * np.float32(0.7071), ((red + green) / 2 - blue) * np.float32(0.8165)], -1)


def _length(chroma: np.ndarray) -> np.ndarray:
    return np.sqrt((chroma**2).sum(-1, keepdims=True))


def _colour_difference(x: np.ndarray, y: np.ndarray, curve: np.ndarray) -> _ColourDifference:
    """Return what the colours of two images differ by; clipped places count for `raw_chroma` alone.

    Args:
        x: uint8 (rows, columns, 3), the explaining image in means of 4 x 4 pixels.
        y: uint8 (rows, columns, 3), the other, likewise.
        curve: float32 (256,), the tone curve from x to y.
    """
    mapped, target = curve[x], y.astype(np.float32)
    inside = (mapped < 250) & (target < 252) & (mapped > 3) & (target > 2)
    is_free = np.all(inside, axis=-1, keepdims=True).astype(np.float32)
    if min(is_free.shape[:2]) >= 16:
        mapped, target, is_free = (_cell_means(values, 2) for values in (mapped, target, is_free))
    weight, chroma_x, chroma_y = (is_free > 0.99).astype(np.float32), _chroma(mapped), _chroma(target)
    difference = chroma_y - chroma_x
    terms = [_chroma(mapped * channel) for channel in np.eye(3, dtype=np.float32)]
    terms += [chroma_x, np.stack([-chroma_x[..., 1], chroma_x[..., 0]], -1)]
    count = max(1.0, float(weight.sum()))
    rows = np.stack([(term * weight).ravel() for term in terms])
    # The penalties, in levels², keep what a colourless image can't tell at zero.
    normal = (rows @ rows.T).astype(float) / count + np.diag([20.0, 20, 20, 2, 2])
    right = (rows @ (difference * weight).ravel()).astype(float) / count
    hue = abs(float(np.linalg.solve(normal, right)[4]))
    gains = np.linalg.solve(normal[:4, :4], right[:4])
    balance = np.clip(gains[:3] - gains[:3].mean(), -_MAX_BALANCE, _MAX_BALANCE)
    taken = [*balance.tolist(), float(np.clip(gains[3], -_MAX_SATURATION, _MAX_SATURATION))]
    left = difference.astype(np.float32)
    for gain, term in zip(taken, terms[:4], strict=True):
        left -= gain * term
    neighbours = _over_neighbours(weight, np.add)

    def local_mean(values: np.ndarray) -> np.ndarray:
        return _over_neighbours(values * weight, np.add) / np.maximum(neighbours, 1e-6)

    # Edges of colour blur in a JPEG, whose chroma has half the resolution.
    roughness = np.sqrt(np.maximum(local_mean(_length(chroma_x) ** 2) - _length(local_mean(chroma_x)) ** 2, 0))
    local = (_length(local_mean(left)) - 0.3 * roughness) * (neighbours >= 4)
    spreads = [float(np.sqrt((_length(chroma) ** 2 * weight).sum() / count)) for chroma in (chroma_x, chroma_y)]
    return _ColourDifference(
        hue_tangent=hue,
        hue_levels=hue * min(spreads),
        local_chroma=float(local.max()),
        raw_chroma=float(_length(_over_neighbours(difference, np.add) / 9).max()),
        is_reversed=bool(gains[3] < -1.25 and min(spreads) > 2),
        is_grey_version=min(spreads) < _GREY_CHROMA and max(spreads) > _COLOUR_CHROMA,
    )


def _is_plain_around(image: Image.Image, box: Box) -> bool:
    """Return whether everything outside the box is plain."""
    levels = np.asarray(image.resize((200, 200), Image.Resampling.BOX)).astype(np.float32)
    # Whole cells alone: a cell on the edge of the box has pixels of both.
    left, top = (max(0, int(value * 200)) for value in box[:2])
    right, bottom = (int(np.ceil(value * 200)) for value in box[2:])
    strips = (levels[:, :left], levels[:, right:], levels[:top], levels[bottom:])
    return max((float(strip.std()) for strip in strips if strip.size), default=np.inf) < _FRAME_SPREAD
