"""The comparison of image files by their pixels: decodes each at the size that is compared, and compares with threads.

Belongs here: decoding for the comparison, the images that are kept in memory for the next pairs. Not here: what decides
(`domain.duplicates.confirmation`), which pairs are compared (`domain.duplicates.duplicate_search`), scores of earlier
runs (`domain.duplicates.fingerprint_store`).
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from imgret_assets.domain.duplicates.confirmation import COMPARED_SIDE, SOURCE_OVERSAMPLING, Comparison, compare_images
from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.images.image_reader import PIXEL_BUDGET, PixelBudget, open_content
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.runtime.cpu import usable_threads

# Long side in pixels of an image in memory: what the comparison uses of the larger image.
_LOADED_SIDE = int(COMPARED_SIDE * SOURCE_OVERSAMPLING)
# Images that are kept for the next pairs: at most 4.5 MB each. A content is compared with its candidates in a row.
_KEPT_IMAGES = 16


def load_for_comparison(image: Image.Image) -> Image.Image:
    """Return a decoded image at the size at which it is compared: at most 1,228 pixels long."""
    if max(image.size) <= _LOADED_SIDE:
        return image.copy()
    scale = _LOADED_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def compare_bytes(one: bytes, two: bytes, *, max_pixels: int) -> Comparison | None:
    """Compare the images of two files' bytes; None if one can't be decoded."""
    try:
        images = [
            load_for_comparison(decode(data, max_pixels=max_pixels, min_size=(_LOADED_SIDE, _LOADED_SIDE)))
            for data in (one, two)
        ]
    except UnusableImageError:
        return None
    return compare_images(*images)


class PixelComparer:
    """Compares contents by the pixels of their files. Use it as a context manager: it holds threads.

    Args:
        paths_of: paths, relative to the image root, of the files of each content.
        root: the image root.
        max_pixels: an image with more pixels is not decoded.
    """

    def __init__(self, paths_of: Mapping[str, Sequence[str]], root: Path, *, max_pixels: int) -> None:
        self.paths_of, self.root, self.max_pixels = paths_of, root, max_pixels
        self.threads = max(2, usable_threads())
        self._budget = PixelBudget(PIXEL_BUDGET)
        self._images: OrderedDict[str, Image.Image] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="imgret-compare")

    def __enter__(self) -> "PixelComparer":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def compare(self, content: str, others: Sequence[str]) -> list[Comparison | None]:
        """Compare a content with others, with threads; None for each pair of which a file can't be read now."""
        try:
            image = self._image(content)
        except UnusableImageError:
            return [None] * len(others)
        return list(self._pool.map(lambda other: self._compare(content, image, other), others))

    def _compare(self, content: str, image: Image.Image, other: str) -> Comparison | None:
        try:
            other_image = self._image(other)
        except UnusableImageError:
            return None
        # Two images of one size are compared in the order of their contents, so that the result never depends on it.
        return compare_images(*((image, other_image) if content < other else (other_image, image)))

    def _image(self, content: str) -> Image.Image:
        with self._lock:
            if content in self._images:
                self._images.move_to_end(content)
                return self._images[content]
        side = (_LOADED_SIDE, _LOADED_SIDE)
        files = (content, self.paths_of[content], self.root, self._budget)
        with open_content(*files, max_pixels=self.max_pixels, min_size=side) as decoded:
            image = load_for_comparison(decoded)
        with self._lock:
            self._images[content] = image
            while len(self._images) > _KEPT_IMAGES:
                self._images.popitem(last=False)
        return image
