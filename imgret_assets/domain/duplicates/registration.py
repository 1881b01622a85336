"""The registration of two images: the part of the larger image that the smaller one shows.

Belongs here: the affine fit of two grey images from coarse to fine, resampling the part that fits. Not here: what two
registered images differ by (`domain.duplicates.confirmation`), decoding (`domain.duplicates.pixel_comparison`).

A box is (left, top, right, bottom) in shares of the larger image; 0, 0, 1, 1 is the whole image. A grid is (columns,
rows) of pixels that are laid over the box. Pillow's `resize(box=…)` resamples at fractions of a pixel and antialiases,
so no image is warped in numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

Box = tuple[float, float, float, float]
Grid = tuple[int, int]
# Columns and rows of a grid that lie within the image: left, top, right, bottom.
Window = tuple[int, int, int, int]

# Knots of a tone curve over the 256 levels: nine follow brightness, contrast, gamma and clipping, more follow noise.
KNOTS = 9
# float32 (256, KNOTS): the share of each knot in each level, by linear interpolation.
TONE_BASIS = np.clip(1 - np.abs((np.arange(256) * (KNOTS - 1) / 255)[:, None] - np.arange(KNOTS)), 0, None).astype(
    np.float32
)
_BENDS = np.diff(np.eye(KNOTS), 2, axis=0)
# Penalty on the curvature of a tone curve, which levels that do not occur need; the rest keeps the system regular.
TONE_PENALTY = 3e-3 * _BENDS.T @ _BENDS + 1e-7 * np.eye(KNOTS)

# The registration starts at the best of these boxes: the whole image, centred crops and corner crops of up to 4 percent
# an edge. They are the alignments for which hashes find candidates; the fit corrects what lies between them.
_FIRST_BOXES: tuple[Box, ...] = (
    *((cut, cut, 1 - cut, 1 - cut) for cut in (0.0, 0.01, 0.02, 0.03, 0.04)),
    *((left, top, left + 0.96, top + 0.96) for left in (0.0, 0.04) for top in (0.0, 0.04)),
)
_WHOLE = _FIRST_BOXES[0]
# Correlation of registered images from which no other start is tried. Lines of text fit each other at several places,
# so the first start may end at a wrong one.
_GOOD_FIT = 0.9
# Long sides in pixels at which the fit runs before it runs at full size. A step of 3 from one to the next keeps the
# remaining error below a pixel, where Gauss-Newton converges.
_LEVEL_SIDES = (384, 192, 64)
# Steps at the coarsest size and at each finer one; they end earlier once a step moves less than _SETTLED_PIXELS.
_FIRST_STEPS, _LATER_STEPS = 6, 3
_SETTLED_PIXELS, _SETTLED_PIXELS_FULL_SIZE = 0.06, 0.25
# A step moves at most this far, in pixels: linearised gradients do not hold beyond.
_MAX_MOVE_PIXELS = 3.0
# The fit at a size uses about this many pixels, whole rows apart. All pixels would move the box by less than 0.01
# pixels in nine of ten photographs, and by at most 0.4 pixels in nine of ten documents.
_FIT_PIXELS = 30_000
_MIN_WINDOW_PIXELS = 8
_SMOOTHED = ImageFilter.BoxBlur(1)


@dataclass(frozen=True)
class Registration:
    """How the smaller image lies in the larger one.

    Attributes:
        box: the part of the larger image; sides outside 0…1 are content that only the smaller image has.
        turn_degrees: rotation of the one against the other.
        fit: correlation of the registered images in [-1, 1]; -1 if no part of the images overlaps.
    """

    box: Box
    turn_degrees: float
    fit: float


def reduced(image: Image.Image, grid: Grid, times: float) -> Image.Image:
    """Return the image with at most `times` the pixels of `grid` along each side."""
    if image.width <= times * grid[0]:
        return image
    size = (int(times * grid[0]), int(times * grid[1]))
    return image.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)


def resample_part(
    image: Image.Image, box: Box, grid: Grid, window: Window, filter_: Image.Resampling, size: Grid | None = None
) -> Image.Image:
    """Return the pixels of `image` that fall on a window of the grid over a box, or these reduced to `size`."""
    column, row = (box[2] - box[0]) / grid[0], (box[3] - box[1]) / grid[1]
    shares = (
        box[0] + window[0] * column,
        box[1] + window[1] * row,
        box[0] + window[2] * column,
        box[1] + window[3] * row,
    )
    sides = (image.width, image.height, image.width, image.height)
    left, top, right, bottom = (min(max(share * side, 0.0), side) for share, side in zip(shares, sides, strict=True))
    target = size or (window[2] - window[0], window[3] - window[1])
    return image.resize(target, filter_, box=(left, top, right, bottom), reducing_gap=2.0)


def window_within(box: Box, grid: Grid) -> Window:
    """Return the columns and rows of the grid over `box` that lie within the image; 0.3 pixels may stick out."""
    first, last = [], []
    for side, count in enumerate(grid):
        step = (box[side + 2] - box[side]) / count
        first.append(max(0, int(np.ceil(-box[side] / step - 0.3))))
        last.append(min(count, int((1 - box[side]) / step + 0.3)))
    return first[0], first[1], last[0], last[1]


def solve_penalised(rows: np.ndarray, target: np.ndarray, penalty: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the least-squares weights of rows that add up to a target, and what they leave.

    Args:
        rows: float32 (k, n).
        target: float32 (n,).
        penalty: float64 (k, k), added to the normal equations of the mean.

    Returns:
        The mean square that is left as a share of the target's variance (of 1 at least), and float32 (k,) weights.
    """
    normal = (rows @ rows.T).astype(float) / target.size + penalty
    weights = np.linalg.solve(normal, (rows @ target).astype(float) / target.size).astype(np.float32)
    left = float(np.square(weights @ rows - target).mean())
    return left / max(1.0, float(target.var())), weights


def register(larger: Image.Image, smaller: Image.Image) -> Registration:
    """Return how the smaller image lies in the larger one, both of mode L.

    Gauss-Newton at 64, 192 and 384 pixels and at full size fits six affine unknowns, a gain and an offset. At 64
    pixels a tone curve is fitted both ways, and the image that explains more is mapped: where one image is clipped,
    only one direction can be right.
    """
    size = smaller.size
    pyramid = [(smaller, larger)]
    for side in _LEVEL_SIDES:
        if side < 0.75 * max(size):
            grid = (max(12, round(size[0] * side / max(size))), max(12, round(size[1] * side / max(size))))
            finer_smaller, finer_larger = pyramid[0]
            coarse = finer_smaller.resize(grid, Image.Resampling.BILINEAR, reducing_gap=2.0)
            pyramid.insert(0, (coarse, reduced(finer_larger, grid, 2.0)))
    best = Registration(_WHOLE, 0.0, -1.0)
    for start in _first_boxes(*pyramid[0], smooth=len(pyramid) == 1):
        found = _fit_pyramid(pyramid, start)
        best = max(best, found, key=lambda registration: registration.fit)
        if best.fit >= _GOOD_FIT:
            break
    return best


def _fit_pyramid(pyramid: Sequence[tuple[Image.Image, Image.Image]], box: Box) -> Registration:
    """Fit a box from the coarsest size to the finest; each level is the smaller image and the larger image."""
    size = pyramid[-1][0].size
    turn, fit, tone = 0.0, -1.0, None
    for level, (target_image, source) in enumerate(pyramid):
        grid, is_first, is_last = target_image.size, level == 0, level == len(pyramid) - 1
        # Neighbouring pixels are averaged, so that noise does not count as gradient. At 64 pixels there is none left.
        smooth = not is_first or is_last
        target = _pixels(target_image, smooth)
        for step in range(_FIRST_STEPS if is_first else _LATER_STEPS):
            window = window_within(box, grid)
            if min(window[2] - window[0], window[3] - window[1]) < _MIN_WINDOW_PIXELS:
                return Registration(box, 0.0, -1.0)
            x = _pixels(resample_part(source, box, grid, window, Image.Resampling.BILINEAR), smooth)
            y = target[window[1] : window[3], window[0] : window[2]]
            if is_first and step == 2:
                tone = _tone_map(x, y)
            box, shear, fit, moved = _step(x, y, box, grid, window, tone)
            turn = float(np.degrees(shear[1] / size[0] - shear[0] / size[1]))
            settled = moved < (_SETTLED_PIXELS_FULL_SIZE if is_last else _SETTLED_PIXELS)
            if settled and step >= (3 if is_first else 0):
                break
    return Registration(box, turn, fit)


def _pixels(image: Image.Image, smooth: bool) -> np.ndarray:
    return np.asarray(image.filter(_SMOOTHED) if smooth else image)


def _first_boxes(target: Image.Image, source: Image.Image, *, smooth: bool) -> list[Box]:
    """Return the boxes to start from at the coarsest size: the best, the whole image, the second best."""
    grid = target.size
    levels = _pixels(target, smooth)
    centred = levels - float(levels.mean())
    scores = []
    for box in _FIRST_BOXES:
        part = resample_part(source, box, grid, (0, 0, *grid), Image.Resampling.BILINEAR)
        values = _pixels(part, smooth).astype(np.float32)
        scores.append(float((values * centred).sum()) / max(1.0, float(values.std())))
    ranked = [_FIRST_BOXES[number] for number in np.argsort(-np.array(scores), kind="stable")[:2]]
    return list(dict.fromkeys([ranked[0], _WHOLE, ranked[1]]))


def _tone_map(x: np.ndarray, y: np.ndarray) -> tuple[bool, np.ndarray]:
    """Return whether x is mapped to y rather than y to x, and the curve, float32 (256,), that does."""
    forward, backward = (
        solve_penalised(TONE_BASIS[one.ravel()].T, other.ravel().astype(np.float32), TONE_PENALTY)
        for one, other in ((x, y), (y, x))
    )
    maps_x = forward[0] <= backward[0]
    return maps_x, TONE_BASIS @ (forward if maps_x else backward)[1]


def _step(
    x: np.ndarray, y: np.ndarray, box: Box, grid: Grid, window: Window, tone: tuple[bool, np.ndarray] | None
) -> tuple[Box, tuple[float, float], float, float]:
    """Take one Gauss-Newton step.

    Args:
        x: uint8, the larger image's pixels on the window.
        y: uint8, the smaller image's pixels, likewise.
        box: the present box.
        grid: columns and rows of the smaller image.
        window: where x and y lie on the grid.
        tone: result of `_tone_map`, or None.

    Returns:
        The new box, the shear along both axes in pixels from centre to edge, the correlation before the step, and the
        largest move in pixels.
    """
    rows = np.arange(1, x.shape[0] - 1, max(1, x.size // _FIT_PIXELS))
    maps_x, curve = tone if tone is not None else (True, None)

    def level_x(values: np.ndarray) -> np.ndarray:
        return curve[values] if curve is not None and maps_x else values.astype(np.float32)

    def level_y(values: np.ndarray) -> np.ndarray:
        return curve[values] if curve is not None and not maps_x else values.astype(np.float32)

    middle = level_x(x[rows])
    slope_y = (level_x(x[rows + 1]) - level_x(x[rows - 1]))[:, 1:-1] / 2
    slope_x, middle = (middle[:, 2:] - middle[:, :-2]) / 2, middle[:, 1:-1]
    target = level_y(y[rows, 1:-1]).reshape(-1)
    across = ((np.arange(window[0] + 1, window[2] - 1) + 0.5) / grid[0] * 2 - 1).astype(np.float32)[None]
    down = ((rows + window[1] + 0.5) / grid[1] * 2 - 1).astype(np.float32)[:, None]
    terms = np.stack(
        [
            middle,
            np.ones_like(middle),
            slope_x,
            slope_x * across,
            slope_y,
            slope_y * down,
            slope_x * down,
            slope_y * across,
        ]
    ).reshape(8, -1)
    normal = (terms @ terms.T).astype(float) / target.size
    right = (terms @ target).astype(float) / target.size
    spread = max(normal[0, 0] - normal[0, 1] ** 2, 1e-3) * max(float(target.var()), 1e-3)
    fit = float((right[0] - normal[0, 1] * right[1]) / np.sqrt(spread))
    solution = np.linalg.solve(normal + np.diag([1e-6] * 2 + [0.5] * 6), right)
    gain = solution[0] if abs(solution[0]) > 0.05 else 0.05
    moves = np.clip(solution[2:] / gain, -_MAX_MOVE_PIXELS, _MAX_MOVE_PIXELS)
    width, height = (box[2] - box[0]) / grid[0], (box[3] - box[1]) / grid[1]
    moved_box = (
        float(box[0] + (moves[0] - moves[1]) * width),
        float(box[1] + (moves[2] - moves[3]) * height),
        float(box[2] + (moves[0] + moves[1]) * width),
        float(box[3] + (moves[2] + moves[3]) * height),
    )
    return moved_box, (float(moves[4]), float(moves[5])), fit, float(np.abs(moves[:4]).max())
