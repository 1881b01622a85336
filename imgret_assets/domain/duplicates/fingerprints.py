"""Fingerprints of images: a perceptual hash that finds near-duplicates, a small grey image that confirms them, colour.

Belongs here: the fingerprint of one image, how much colour it has, the correlation of two small grey images,
fingerprinting many files with threads. Not here: which images are compared (`domain.duplicates.duplicate_search`),
storing fingerprints (`domain.duplicates.fingerprint_store`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops

from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.images.image_reader import PIXEL_BUDGET, ContentFiles, PixelBudget, open_content
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.image_roots import AnyRoot
from imgret_assets.settings import DEFAULT_MAX_BYTES

GREY_SIDE = 64
FLAT = "flat"
# Names how `Fingerprint.colour` is measured. With another name it is measured again, and nothing else.
COLOUR_METHOD = "spread512-2"
# An image whose channels differ by no more is grey. Lossy formats make up to 3 levels of grey, and nobody sees 6.
MAX_GREY_LEVELS = 6
_COLOUR_SIDE = 512
# Pixels that tell at once that an image is in colour.
_SAMPLED = (32, 32)
_COMPARED_SIDE = 32
# Standard deviation in grey levels. Below it an image has no structure to compare: noise would decide.
_MIN_SPREAD = 3.0
_HASH_SIDE = 16
# A JPEG decoder may reduce an image to this size: still enough for the hash, which is computed from 64 x 64 pixels.
_DECODE_AT_LEAST = (256, 256)
# The parts of an image that are compared, as (top, left, side) in shares of the image: the whole, centred crops and
# corner crops that lose up to 4 percent at an edge.
_PARTS = (
    *((cut, cut, 1 - 2 * cut) for cut in (0.0, 0.01, 0.02, 0.03, 0.04)),
    *((top, left, 0.96) for top in (0.0, 0.04) for left in (0.0, 0.04)),
)


@dataclass(frozen=True)
class Fingerprint:
    """The fingerprint of one content.

    Attributes:
        status: `ok`; `flat` if the image has no structure to compare; otherwise why it can't be decoded.
        hash: perceptual hash, 32 bytes; None unless `ok`.
        grey: the whole image as uint8 (64, 64), whatever its aspect ratio; None unless `ok`.
        colour: levels by which the channels of a pixel differ (`measure_colour`); None unless `ok`.
    """

    status: str
    hash: bytes | None = None
    grey: np.ndarray | None = None
    colour: int | None = None


def fingerprint_image(image: Image.Image) -> Fingerprint:
    """Return the fingerprint of a decoded RGB image."""
    # Heavy: its hash loads scipy, which a query never needs.
    import imagehash

    grey = np.asarray(image.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BILINEAR))
    if float(grey.std()) < _MIN_SPREAD:
        return Fingerprint(FLAT)
    bits = imagehash.phash(image, hash_size=_HASH_SIDE).hash
    return Fingerprint(Status.OK, np.packbits(bits.reshape(-1)).tobytes(), grey, measure_colour(image))


def measure_colour(image: Image.Image) -> int:
    """Return by how many levels the channels of a pixel of an RGB image differ, 0 to 255.

    Up to `MAX_GREY_LEVELS` it is the most of all pixels; of an image in colour, the most of some of them. A large image
    is first reduced to 512 to 1,023 pixels, which leaves a coloured mark of a few pixels visible.
    """
    factor = max(1, max(image.size) // _COLOUR_SIDE)
    small = image.reduce(factor) if factor > 1 else image
    some = np.asarray(small.resize(_SAMPLED, Image.Resampling.NEAREST), np.int16)
    red, green, blue = some[..., 0], some[..., 1], some[..., 2]
    of_some = max(int(np.abs(one - two).max()) for one, two in ((red, green), (green, blue), (blue, red)))
    if of_some > MAX_GREY_LEVELS:
        return of_some
    red, green, blue = small.split()
    lightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    _, levels = ImageChops.subtract(lightest, darkest).getextrema()
    return int(levels)  # type: ignore[arg-type]


def fingerprint_bytes(data: bytes, *, max_pixels: int) -> Fingerprint:
    """Return the fingerprint of an image file's bytes, decoded as `fingerprint_contents` decodes files.

    An image with more than `max_pixels` pixels is not decoded.
    """
    try:
        return fingerprint_image(decode(data, max_pixels=max_pixels, min_size=_DECODE_AT_LEAST))
    except UnusableImageError as error:
        return Fingerprint(error.status)


def fingerprint_contents(
    contents: Iterable[ContentFiles],
    root: AnyRoot,
    *,
    max_pixels: int,
    max_bytes: int = DEFAULT_MAX_BYTES,
    pixel_budget: int = PIXEL_BUDGET,
) -> Iterator[tuple[str, Fingerprint]]:
    """Fingerprint each content once with a thread pool; at most two files per thread are in flight.

    Args:
        contents: the sha256 of each content and the relative paths of the files that have it.
        root: the image roots.
        max_pixels: an image with more pixels is not decoded.
        max_bytes: a file with more bytes is not read.
        pixel_budget: pixels that all threads together may have decoded at a time.

    Yields:
        The sha256 and the fingerprint of each content, in the order of `contents`.
    """
    budget = PixelBudget(pixel_budget)
    threads = max(2, usable_threads())
    in_flight: deque[tuple[str, Future[Fingerprint]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="imgret-fingerprint") as pool:
        try:
            for sha256, paths in contents:
                task = pool.submit(_fingerprint_content, sha256, paths, root, max_pixels, max_bytes, budget)
                in_flight.append((sha256, task))
                if len(in_flight) >= 2 * threads:
                    first, future = in_flight.popleft()
                    yield first, future.result()
            while in_flight:
                first, future = in_flight.popleft()
                yield first, future.result()
        finally:
            for _, future in in_flight:
                future.cancel()


def _fingerprint_content(
    sha256: str, paths: Sequence[str], root: AnyRoot, max_pixels: int, max_bytes: int, budget: PixelBudget
) -> Fingerprint:
    opened = open_content(
        sha256, paths, root, budget, max_pixels=max_pixels, min_size=_DECODE_AT_LEAST, max_bytes=max_bytes
    )
    try:
        with opened as image:
            return fingerprint_image(image)
    except UnusableImageError as error:
        return Fingerprint(error.status)


def correlate(grey: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return how well a small grey image matches each of several others.

    The match is the best correlation of one whole image with a part of the other (`_PARTS`). So differences in
    brightness and contrast don't count, nor does a crop of up to 4 percent at each edge.

    Args:
        grey: uint8 (64, 64).
        candidates: uint8 (n, 64, 64).

    Returns:
        Correlations, float32 (n,) in [-1, 1]; symmetric in the two images up to rounding.
    """
    parts, candidate_parts = _parts_of(grey[np.newaxis])[0], _parts_of(candidates)
    whole_in_candidate = (candidate_parts @ parts[0]).max(axis=1)
    candidate_in_parts = np.einsum("nk,pk->np", candidate_parts[:, 0], parts).max(axis=1)
    return np.clip(np.maximum(whole_in_candidate, candidate_in_parts), -1.0, 1.0).astype(np.float32)


def _parts_of(greys: np.ndarray) -> np.ndarray:
    """Return every part of each image, float32 (n, parts, 1024), each with mean 0 and norm 1."""
    down, across = _samplers()
    parts = down @ greys.astype(np.float32)[:, np.newaxis] @ across
    parts = parts.reshape(len(greys), len(_PARTS), -1)
    parts -= parts.mean(axis=-1, keepdims=True)
    return parts / np.maximum(np.linalg.norm(parts, axis=-1, keepdims=True), 1e-6)


@lru_cache(maxsize=1)
def _samplers() -> tuple[np.ndarray, np.ndarray]:
    """Return the matrices that cut out each part and average it to 32 x 32 pixels.

    Both are float32: (parts, 32, 64) multiplies an image from the left, (parts, 64, 32) from the right.
    """
    down = np.stack([_sampler(top, side) for top, _, side in _PARTS])
    across = np.stack([_sampler(left, side).T for _, left, side in _PARTS])
    return down, across


def _sampler(start: float, length: float) -> np.ndarray:
    """Return the matrix float32 (32, 64) that averages a stretch of 64 pixels (in shares) to 32 pixels, by area."""
    edges = (start + length * np.arange(_COMPARED_SIDE + 1) / _COMPARED_SIDE) * GREY_SIDE
    pixel = np.arange(GREY_SIDE)
    overlap = np.minimum(edges[1:, np.newaxis], pixel + 1) - np.maximum(edges[:-1, np.newaxis], pixel)
    return (np.clip(overlap, 0, None) / (edges[1] - edges[0])).astype(np.float32)
