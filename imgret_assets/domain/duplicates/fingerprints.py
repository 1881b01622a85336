"""What tells a copy of a picture from a look-alike: a hash to find it by, a small grey picture to be sure.

Belongs here: looking at one picture, comparing two small grey ones, looking at many files with threads. Not here:
which pictures are compared, and which copy is kept (`domain.duplicates.duplicates_table`); where looks are kept
(`domain.duplicates.fingerprint_store`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from imgret_assets.domain.images.decode import Status, UnusableImageError, decode
from imgret_assets.domain.images.image_reader import PIXEL_BUDGET, Content, PixelBudget, decoded
from imgret_assets.domain.runtime.cpu import usable_threads

GREY_SIDE = 64
# A file that may be there or as expected next time is looked at again.
RETRY = frozenset({Status.VANISHED, Status.UNREADABLE})
FLAT = "flat"
_COMPARED_SIDE = 32
# Grey levels of standard deviation below which there is nothing to compare: noise would decide.
_LEAST_SPREAD = 3.0
_HASH_SIDE = 16
# Enough pixels both ways for the hash, which is made from 64 x 64.
_ENOUGH = (256, 256)
# Parts of a picture that may have been kept by who cropped it: top, left and side as shares; up to 4 percent an edge.
_PARTS = (
    *((cut, cut, 1 - 2 * cut) for cut in (0.0, 0.01, 0.02, 0.03, 0.04)),
    *((top, left, 0.96) for top in (0.0, 0.04) for left in (0.0, 0.04)),
)


@dataclass(frozen=True)
class Look:
    """What is kept of one content.

    Attributes:
        status: `ok`, `flat` where the picture has no structure to compare, else why it can't be decoded.
        hash: perceptual hash, 32 bytes; None unless ok.
        grey: the whole picture as uint8 (64, 64), whatever its shape; None unless ok.
    """

    status: str
    hash: bytes | None = None
    grey: np.ndarray | None = None


def look_at(image: Image.Image) -> Look:
    """Hash and small grey picture of an RGB picture."""
    import imagehash

    grey = np.asarray(image.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BILINEAR))
    if float(grey.std()) < _LEAST_SPREAD:
        return Look(FLAT)
    bits = imagehash.phash(image, hash_size=_HASH_SIDE).hash
    return Look(Status.OK, np.packbits(bits.reshape(-1)).tobytes(), grey)


def look_at_data(data: bytes, *, max_pixels: int) -> Look:
    """Look at one picture by its file's bytes, decoded as `look_at_files` does; of more than `max_pixels` none is."""
    try:
        return look_at(decode(data, max_pixels=max_pixels, at_least=_ENOUGH))
    except UnusableImageError as error:
        return Look(error.status)


def look_at_files(
    contents: Iterable[Content], root: Path, *, max_pixels: int, pixel_budget: int = PIXEL_BUDGET
) -> Iterator[tuple[str, Look]]:
    """Look at each content once, by threads, as many files in flight as there are threads, twice.

    Args:
        contents: for each its sha256 and the relative paths that have it.
        root: the image root.
        max_pixels: a picture with more pixels is not decoded.
        pixel_budget: pixels that all threads may have decoded at a time.

    Yields:
        Each content's sha256 and what was seen, in their order.
    """
    budget = PixelBudget(pixel_budget)
    threads = max(2, usable_threads())
    waiting: deque[tuple[str, Future[Look]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="imgret-look") as pool:
        try:
            for sha, paths in contents:
                waiting.append((sha, pool.submit(_look_at_content, sha, paths, root, max_pixels, budget)))
                if len(waiting) >= 2 * threads:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _look_at_content(sha: str, paths: Sequence[str], root: Path, max_pixels: int, budget: PixelBudget) -> Look:
    try:
        with decoded(sha, paths, root, budget, max_pixels=max_pixels, at_least=_ENOUGH) as picture:
            return look_at(picture)
    except UnusableImageError as error:
        return Look(error.status)


def correlations(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How well pictures fit on each other: the best correlation of one whole with a part of the other.

    Brightness and contrast don't matter, nor a crop of up to 4 percent at each edge.

    Args:
        one: uint8 (64, 64).
        others: uint8 (n, 64, 64).

    Returns:
        float32 (n,) in [-1, 1]; the same if the two change places.
    """
    mine, theirs = _parts_of(one[np.newaxis])[0], _parts_of(others)
    best = np.maximum((theirs @ mine[0]).max(axis=1), np.einsum("nk,pk->np", theirs[:, 0], mine).max(axis=1))
    return np.clip(best, -1.0, 1.0).astype(np.float32)


def _parts_of(grey: np.ndarray) -> np.ndarray:
    """Every part of each picture, float32 (n, parts, 1024), mean 0 and length 1."""
    down, across = _samplers()
    parts = down @ grey.astype(np.float32)[:, np.newaxis] @ across
    parts = parts.reshape(len(grey), len(_PARTS), -1)
    parts -= parts.mean(axis=-1, keepdims=True)
    return parts / np.maximum(np.linalg.norm(parts, axis=-1, keepdims=True), 1e-6)


@lru_cache(maxsize=1)
def _samplers() -> tuple[np.ndarray, np.ndarray]:
    """For each part the matrices that cut it out and average it to 32 x 32, from the left and from the right."""
    down = np.stack([_sampler(top, side) for top, _, side in _PARTS])
    across = np.stack([_sampler(left, side).T for _, left, side in _PARTS])
    return down, across


def _sampler(start: float, length: float) -> np.ndarray:
    edges = (start + length * np.arange(_COMPARED_SIDE + 1) / _COMPARED_SIDE) * GREY_SIDE
    pixel = np.arange(GREY_SIDE)
    overlap = np.minimum(edges[1:, np.newaxis], pixel + 1) - np.maximum(edges[:-1, np.newaxis], pixel)
    return (np.clip(overlap, 0, None) / (edges[1] - edges[0])).astype(np.float32)
