"""The comparison of image files by their pixels: decodes each at the size that is compared, and compares with threads.

Belongs here: decoding for the comparison, the images that are kept in memory for the next pairs. Not here: what decides
(`domain.duplicates.confirmation`, `domain.duplicates.enlargement`), which pairs are compared
(`domain.duplicates.duplicate_search`), scores of earlier runs (`domain.duplicates.fingerprint_store`).
"""

import io
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from imgret_assets.domain.duplicates.confirmation import (
    COMPARED_SIDE,
    DIFFERENT,
    FRAMES,
    NEAR_VERDICTS,
    SOURCE_OVERSAMPLING,
    Comparison,
    compare_images,
)
from imgret_assets.domain.duplicates.enlargement import is_enlargement
from imgret_assets.domain.images.decode import count_frames, decode, decode_frames
from imgret_assets.domain.images.image_reader import (
    PIXEL_BUDGET,
    PixelBudget,
    content_bytes,
    decode_within,
    read_content,
)
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.image_roots import AnyRoot
from imgret_assets.settings import DEFAULT_MAX_BYTES

# Long side in pixels of an image in memory: what the comparison uses of the larger image.
_LOADED_SIDE = int(COMPARED_SIDE * SOURCE_OVERSAMPLING)
# Images that are kept for the next pairs: at most 4.5 MB each. A content is compared with its candidates in a row.
_KEPT_IMAGES = 16
# Frames of one file that are compared: a minute of work. Longer animations are to be looked at.
_MAX_FRAMES = 500


def load_for_comparison(image: Image.Image) -> Image.Image:
    """Return a decoded image at the size at which it is compared: at most 1,228 pixels long."""
    if max(image.size) <= _LOADED_SIDE:
        return image.copy()
    scale = _LOADED_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def compare_bytes(
    one: bytes, two: bytes, *, max_pixels: int, transpose: Image.Transpose | None = None
) -> Comparison | None:
    """Compare the images of two files' bytes, all their frames; None if one can't be decoded.

    Args:
        one: the bytes of the one file.
        two: the bytes of the other.
        max_pixels: an image with more pixels is not decoded.
        transpose: what is done to the image of `one` first; files of several frames are then different.
    """
    try:
        images = [
            load_for_comparison(decode(data, max_pixels=max_pixels, min_size=(_LOADED_SIDE, _LOADED_SIDE)))
            for data in (one, two)
        ]
        if transpose is not None:
            return _compare_turned(images[0], images[1], transpose, count_frames(one) > 1 or count_frames(two) > 1)
        comparison = compare_images(*images)
    except UnusableImageError:
        return None
    if comparison.verdict in NEAR_VERDICTS:
        return compare_further_frames(comparison, one, two, max_pixels=max_pixels)
    return comparison


def _compare_turned(
    turned: Image.Image, other: Image.Image, transpose: Image.Transpose, has_further_frames: bool
) -> Comparison:
    if has_further_frames:
        return Comparison(DIFFERENT, "files of several frames are not turned", 0.0)
    return compare_images(turned.transpose(transpose), other)


def compare_further_frames(first: Comparison, one: bytes, two: bytes, *, max_pixels: int) -> Comparison:
    """Compare all frames of two files whose first frames are near-duplicates.

    A file of several frames is a near-duplicate only of a file whose frames are all near-duplicates of its own, in
    order.

    Args:
        first: the result of comparing the first frames.
        one: the bytes of the one file.
        two: the bytes of the other.
        max_pixels: a frame with more pixels is not decoded.

    Returns:
        `first`, or a comparison with the verdict `frames`.
    """
    try:
        return _compare_further_frames(first, one, two, max_pixels)
    except UnusableImageError as error:
        return Comparison(FRAMES, f"not all frames can be decoded ({error.reason})", first.excess)


def _compare_further_frames(first: Comparison, one: bytes, two: bytes, max_pixels: int) -> Comparison:
    counts = count_frames(one), count_frames(two)
    if counts == (1, 1):
        return first
    if counts[0] != counts[1]:
        return Comparison(FRAMES, f"one file has {max(counts):,} frames, the other {min(counts):,}", first.excess)
    if counts[0] > _MAX_FRAMES:
        return Comparison(FRAMES, f"of {counts[0]:,} frames only the first were compared", first.excess)
    frames = zip(*(decode_frames(data, max_pixels=max_pixels) for data in (one, two)), strict=True)
    for number, pair in enumerate(frames, 1):
        comparison = compare_images(*map(load_for_comparison, pair))
        # Frames without any structure, such as black ones, fit nothing: equal pixels are enough.
        if comparison.verdict not in NEAR_VERDICTS and not _are_equal(*pair):
            return Comparison(FRAMES, f"frame {number:,} of {counts[0]:,} differs", comparison.excess)
    return first


def _are_equal(one: Image.Image, two: Image.Image) -> bool:
    return one.size == two.size and one.tobytes() == two.tobytes()


def _luma_table(data: bytes) -> list[int] | None:
    """Return the quantisation steps of brightness of a JPEG as Pillow orders them; None for any other file."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            table = getattr(image, "quantization", {}).get(0)
    except Exception:  # noqa: BLE001, RUF100 - decoders raise any error on odd files
        return None
    return None if table is None else list(table)


@dataclass(frozen=True)
class _Loaded:
    """The first frame of a file at the size at which it is compared, and whether further ones follow."""

    image: Image.Image
    has_further_frames: bool


class PixelComparer:
    """Compares contents by the pixels of their files. Use it as a context manager: it holds threads.

    Args:
        paths_of: paths, relative to the image root, of the files of each content.
        root: the image roots.
        max_pixels: an image with more pixels is not decoded.
        frames_of: number of frames of the contents for which it is known; those of others are counted.
        max_bytes: a file with more bytes is not read.
    """

    def __init__(
        self,
        paths_of: Mapping[str, Sequence[str]],
        root: AnyRoot,
        *,
        max_pixels: int,
        frames_of: Mapping[str, int] | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self.paths_of, self.root, self.max_pixels, self.max_bytes = paths_of, root, max_pixels, max_bytes
        self.frames_of = frames_of or {}
        self.threads = max(2, usable_threads())
        self._budget = PixelBudget(PIXEL_BUDGET)
        self._images: OrderedDict[str, _Loaded] = OrderedDict()
        self._lock = threading.Lock()
        # The frames of one pair at a time are in memory.
        self._frames_lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="imgret-compare")

    def __enter__(self) -> "PixelComparer":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def compare(self, content: str, others: Sequence[str]) -> list[Comparison | None]:
        """Compare a content with others, with threads; None for each pair of which a file can't be read now."""
        try:
            loaded = self._load(content)
        except UnusableImageError:
            return [None] * len(others)
        return list(self._pool.map(lambda other: self._compare(content, loaded, other), others))

    def _compare(self, content: str, loaded: _Loaded, other: str) -> Comparison | None:
        try:
            other_loaded = self._load(other)
        except UnusableImageError:
            return None
        # Two images of one size are compared in the order of their contents, so that the result never depends on it.
        pair = (loaded, other_loaded) if content < other else (other_loaded, loaded)
        comparison = compare_images(*(each.image for each in pair))
        if comparison.verdict not in NEAR_VERDICTS or not any(each.has_further_frames for each in pair):
            return comparison
        with self._frames_lock:
            try:
                one, two = (self._read(each) for each in sorted((content, other)))
            except UnusableImageError:
                return None
            return compare_further_frames(comparison, one, two, max_pixels=self.max_pixels)

    def compare_oriented(self, one: str, two: str, transpose: Image.Transpose) -> Comparison | None:
        """Compare a content, turned, with another one; None if a file can't be read now.

        Only first frames are compared, and files of several frames are different.
        """
        try:
            turned, other = self._load(one), self._load(two)
        except UnusableImageError:
            return None
        has_frames = turned.has_further_frames or other.has_further_frames
        return _compare_turned(turned.image, other.image, transpose, has_frames)

    def measure_enlargement(self, content: str, others: Sequence[str]) -> list[bool | None]:
        """Return for each of some smaller contents whether a content is an enlargement of it, with threads.

        The first frames are compared in full size. None for each pair of which a file can't be read now.
        """
        try:
            larger, luma_table = self._load_grey(content)
        except UnusableImageError:
            return [None] * len(others)

        def measure(other: str) -> bool | None:
            try:
                return is_enlargement(larger, self._load_grey(other)[0], luma_table)
            except UnusableImageError:
                return None

        return list(self._pool.map(measure, others))

    def _load_grey(self, content: str) -> tuple[Image.Image, list[int] | None]:
        """Return the first frame in grey with all its pixels, a quarter of the memory of colours; and `_luma_table`."""
        paths = self.paths_of[content]
        with (
            content_bytes(content, paths, self.root, self._budget, max_bytes=self.max_bytes) as data,
            decode_within(content, self._budget, data, max_pixels=self.max_pixels, min_size=None) as decoded,
        ):
            return decoded.convert("L"), _luma_table(data)

    def _read(self, content: str) -> bytes:
        return read_content(content, self.paths_of[content], self.root, max_bytes=self.max_bytes)

    def _load(self, content: str) -> _Loaded:
        with self._lock:
            if content in self._images:
                self._images.move_to_end(content)
                return self._images[content]
        side = (_LOADED_SIDE, _LOADED_SIDE)
        paths = self.paths_of[content]
        with content_bytes(content, paths, self.root, self._budget, max_bytes=self.max_bytes) as data:
            with decode_within(content, self._budget, data, max_pixels=self.max_pixels, min_size=side) as decoded:
                image = load_for_comparison(decoded)
            try:
                has_further_frames = (self.frames_of.get(content) or count_frames(data)) > 1
            except UnusableImageError:
                # Comparing all frames says what can't be decoded.
                has_further_frames = True
        loaded = _Loaded(image, has_further_frames)
        with self._lock:
            self._images[content] = loaded
            while len(self._images) > _KEPT_IMAGES:
                self._images.popitem(last=False)
        return loaded
