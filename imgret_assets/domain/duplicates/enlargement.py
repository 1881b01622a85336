"""Whether an image is an enlargement of another: more pixels without more detail.

Belongs here: the measure of two images of which one has more pixels. Not here: decoding
(`domain.duplicates.pixel_comparison`), which of them is kept (`domain.duplicates.keepers`).

The smaller image is enlarged with each usual kernel. If the larger one was made from it, one of the results equals it
but for rounding and the losses of JPEG; the latter are equal too once the result has gone through JPEG with the tables
of the larger file. A true original differs by all the detail that its reduced copy has lost. What is left is measured
relative to the finest detail of the smaller image: without any, nothing can be told, and the answer is no.

docs/guide/duplicates.md has the rates.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

# Changes to what decides here increment the number: pairs are then measured again.
ENLARGEMENT_METHOD = "kernels-1"
# Sides that differ by a smaller factor are not compared: a reduced copy loses too little.
MIN_FACTOR = 1.2
# What an enlargement leaves at most, relative to the finest detail of the smaller image. Reduced copies of soft, noisy,
# compressed, dark and drawn originals leave 0.32 and more.
_MAX_RATIO = 0.2
# Levels of that detail below which nothing is told.
_MIN_DETAIL = 0.5
# JPEG takes the same from the copy of a soft original, enlarged, as it has taken from the original. So what is left
# after it counts only where the smaller image has detail of so many levels, and the tables of the larger file have
# steps of at most so much on average (quality 73 and better). Reduced copies then leave 0.33 and more, else nothing.
_MIN_DETAIL_FOR_JPEG, _MAX_MEAN_STEP = 3.0, 32.0
# What is left after JPEG is measured for kernels that leave at most this ratio without it.
_MAX_RATIO_BEFORE_JPEG = 1.5
# What a kernel may leave elsewhere, relative to what it leaves where most detail is.
_MAX_MORE_ELSEWHERE = 1.5
_SMOOTH_KERNELS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
}
# The nearest pixel, by the middle of a pixel (Pillow) and by its edge (OpenCV).
_NEAREST_MIDDLE, _NEAREST_EDGE = "nearest by middle", "nearest by edge"
_KERNELS = (*_SMOOTH_KERNELS, _NEAREST_MIDDLE, _NEAREST_EDGE)
# Long side in pixels of the part of the larger image that is compared, and the positions along a side where it may lie.
_WINDOW, _POSITIONS = 512, 5
# Pixels of the smaller image beside the part, which the kernels reach.
_MARGIN = 4
# Detail that is lost if the smaller image is reduced by this factor is its finest.
_FINEST_FACTOR = 1.5
_FINEST_KERNELS = (
    (Image.Resampling.BOX, Image.Resampling.NEAREST),
    (Image.Resampling.LANCZOS, Image.Resampling.LANCZOS),
    (Image.Resampling.BICUBIC, Image.Resampling.BICUBIC),
)
# Levels that rounding leaves.
_ROUNDING = 0.3
_JPEG_BLOCK = 8
# Part of an image: left, top, right, bottom.
_Window = tuple[int, int, int, int]


def may_be_enlargement(larger: tuple[int, int], smaller: tuple[int, int]) -> bool:
    """Return whether the sizes (width, height) allow an image to be an enlargement of another by MIN_FACTOR or more."""
    return min(smaller) >= _JPEG_BLOCK and all(
        one >= MIN_FACTOR * other for one, other in zip(larger, smaller, strict=True)
    )


def is_enlargement(larger: Image.Image, smaller: Image.Image, luma_table: Sequence[int] | None = None) -> bool:
    """Return whether an image has no more detail than an enlargement of another; False where it can't be told.

    Args:
        larger: the image with more pixels, grey (mode L), upright and in full size.
        smaller: the other, likewise.
        luma_table: the 64 quantisation steps of brightness of the larger file, as Pillow orders them, if it is a JPEG.
    """
    if not may_be_enlargement(larger.size, smaller.size):
        return False
    is_fine = luma_table is not None and sum(luma_table) <= _MAX_MEAN_STEP * len(luma_table)
    window = _detailed_window(larger.size, smaller)
    finest = _finest_detail(smaller.crop(_part_of(smaller, larger.size, window, 0)))
    rests = [(kernel, _rest(larger, smaller, window, kernel, finest)) for kernel in _KERNELS]
    for kernel, rest in rests:
        if rest.ratio <= _MAX_RATIO and rest.detail >= _MIN_DETAIL:
            return _is_explained_everywhere(larger, smaller, kernel, rest.levels)
    for kernel, rest in sorted(rests, key=lambda entry: entry[1].ratio):
        if is_fine and rest.ratio <= _MAX_RATIO_BEFORE_JPEG and rest.detail >= _MIN_DETAIL_FOR_JPEG:
            after_jpeg = _rest(larger, smaller, window, kernel, finest, luma_table)
            if after_jpeg.ratio <= _MAX_RATIO:
                return _is_explained_everywhere(larger, smaller, kernel, after_jpeg.levels, luma_table)
    return False


@dataclass(frozen=True)
class _Rest:
    """What an enlargement does not explain of a part of the larger image.

    Attributes:
        levels: root mean square of the difference.
        detail: finest detail of the smaller image there, in levels of the larger one.
    """

    levels: float
    detail: float

    @property
    def ratio(self) -> float:
        return self.levels / (self.detail + _ROUNDING)


def _rest(
    larger: Image.Image,
    smaller: Image.Image,
    window: _Window,
    kernel: str,
    finest: float,
    luma_table: Sequence[int] | None = None,
) -> _Rest:
    """Measure what a kernel leaves on a window of the larger image, with JPEG of these tables or without it.

    `finest` is the finest detail of the smaller image there, in its own levels.
    """
    target = np.asarray(larger.crop(window), np.float32)
    enlarged = _enlarged(smaller, larger.size, window, kernel)
    gain, offset = _levels(enlarged, target)
    explained = gain * enlarged + offset
    if luma_table is not None:
        explained = _through_jpeg(explained, luma_table)
    return _Rest(_root_mean_square(target - explained), abs(gain) * finest)


def _part_of(smaller: Image.Image, size: tuple[int, int], window: _Window, margin: int) -> _Window:
    """Return the whole pixels of the smaller image that a window of the size shows, and so many around them."""
    scale_x, scale_y = smaller.width / size[0], smaller.height / size[1]
    left, top, right, bottom = window
    return (
        max(0, int(left * scale_x) - margin),
        max(0, int(top * scale_y) - margin),
        min(smaller.width, int(np.ceil(right * scale_x)) + margin),
        min(smaller.height, int(np.ceil(bottom * scale_y)) + margin),
    )


def _is_explained_everywhere(
    larger: Image.Image, smaller: Image.Image, kernel: str, levels: float, luma_table: Sequence[int] | None = None
) -> bool:
    """Return whether a kernel leaves as little elsewhere as on the window with most detail.

    The part with most detail may be one that was pasted in.

    Args:
        larger: as in `is_enlargement`.
        smaller: as in `is_enlargement`.
        kernel: the kernel.
        levels: what it leaves on that window.
        luma_table: as in `is_enlargement`, if the losses of JPEG explain the window.
    """
    for top in range(0, larger.height, _WINDOW):
        for left in range(0, larger.width, _WINDOW):
            window = left, top, min(left + _WINDOW, larger.width), min(top + _WINDOW, larger.height)
            finest = _finest_detail(smaller.crop(_part_of(smaller, larger.size, window, 0)))
            rest = _rest(larger, smaller, window, kernel, finest, luma_table)
            if rest.levels > max(_MAX_RATIO * (rest.detail + _ROUNDING), _MAX_MORE_ELSEWHERE * levels):
                return False
    return True


def _enlarged(smaller: Image.Image, size: tuple[int, int], window: _Window, kernel: str) -> np.ndarray:
    """Return a window of what a kernel makes of the smaller image at a size: float32 (rows, columns)."""
    left, top, right, bottom = window
    scale_x, scale_y = smaller.width / size[0], smaller.height / size[1]
    around = _part_of(smaller, size, window, _MARGIN)
    source = smaller.crop(around)
    if kernel in _SMOOTH_KERNELS:
        box = (
            left * scale_x - around[0],
            top * scale_y - around[1],
            right * scale_x - around[0],
            bottom * scale_y - around[1],
        )
        resized = source.resize((right - left, bottom - top), _SMOOTH_KERNELS[kernel], box=box)
        return np.asarray(resized, np.float32)
    if kernel == _NEAREST_MIDDLE:
        # Where the middle of a pixel lies between two, rounding decides: so whole lines go through Pillow.
        columns, rows = (_nearest_by_middle(side, count) for side, count in zip(smaller.size, size, strict=True))
        columns, rows = columns[left:right], rows[top:bottom]
    else:
        columns = (np.arange(left, right) * scale_x).astype(int)
        rows = (np.arange(top, bottom) * scale_y).astype(int)
    return np.asarray(source, np.float32)[rows[:, None] - around[1], columns - around[0]]


def _nearest_by_middle(side: int, count: int) -> np.ndarray:
    """Return the pixel of a line that each pixel of the enlarged line shows: int (count,)."""
    line = Image.fromarray(np.arange(side, dtype=np.int32)[None])
    return np.asarray(line.resize((count, 1), Image.Resampling.NEAREST))[0]


def _levels(source: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Return the gain and the offset in levels that bring `source` closest to `target`."""
    source_mean, target_mean = float(source.mean()), float(target.mean())
    spread = float(np.square(source).mean()) - source_mean**2
    common = float((source * target).mean()) - source_mean * target_mean
    gain = common / spread if spread > 1e-3 else 1.0
    return gain, target_mean - gain * source_mean


def _through_jpeg(levels: np.ndarray, luma_table: Sequence[int]) -> np.ndarray:
    """Return grey levels, float32 (rows, columns), after JPEG with a table of quantisation steps."""
    buffer = io.BytesIO()
    image = Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
    image.save(buffer, "JPEG", qtables=[list(luma_table)])
    return np.asarray(Image.open(buffer), np.float32)


def _finest_detail(image: Image.Image) -> float:
    """Return the levels (root mean square) that a grey image loses if it is reduced by _FINEST_FACTOR."""
    pixels = np.asarray(image, np.float32)
    size = (max(1, round(image.width / _FINEST_FACTOR)), max(1, round(image.height / _FINEST_FACTOR)))
    return min(
        _root_mean_square(pixels - np.asarray(image.resize(size, down).resize(image.size, up), np.float32))
        for down, up in _FINEST_KERNELS
    )


def _detailed_window(size: tuple[int, int], smaller: Image.Image) -> _Window:
    """Return the part of an image of a size where the smaller image has most detail.

    It starts at whole blocks of JPEG.
    """
    starts = []
    for side in size:
        free = max(0, side - _WINDOW)
        steps = (free * step // (_POSITIONS - 1) for step in range(_POSITIONS))
        starts.append(sorted({step // _JPEG_BLOCK * _JPEG_BLOCK for step in steps}))
    windows = [
        (left, top, min(size[0], left + _WINDOW), min(size[1], top + _WINDOW))
        for top in starts[1]
        for left in starts[0]
    ]
    return max(windows, key=lambda window: _detail_within(window, size, smaller)) if windows[1:] else windows[0]


def _detail_within(window: _Window, size: tuple[int, int], smaller: Image.Image) -> float:
    """Return the mean difference between neighbouring pixels of the smaller image on a window of the larger one."""
    scale = (smaller.width / size[0], smaller.height / size[1]) * 2
    left, top, right, bottom = (int(edge * factor) for edge, factor in zip(window, scale, strict=True))
    part = np.asarray(smaller.crop((left, top, max(right, left + 2), max(bottom, top + 2))), np.int16)
    return float(np.abs(np.diff(part)).mean())


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))
