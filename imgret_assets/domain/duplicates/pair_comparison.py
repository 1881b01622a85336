"""Comparing two image files as a run does when it looks for near-duplicates.

Belongs here: two files, one of which may be in no library. Not here: the search over a whole library
(`domain.duplicates.duplicate_search`), each measure (`domain.duplicates.fingerprints`,
`domain.duplicates.pixel_comparison`), the explanation of a pair (`domain.search.explain`).
"""

import hashlib
from io import BytesIO

import numpy as np

from imgret_assets.domain.duplicates.confirmation import NEAR_VERDICTS
from imgret_assets.domain.duplicates.duplicate_search import MIN_CORRELATION, have_like_proportions
from imgret_assets.domain.duplicates.fingerprints import Fingerprint, correlate, fingerprint_bytes
from imgret_assets.domain.duplicates.keepers import RADIUS_BITS
from imgret_assets.domain.duplicates.pixel_comparison import compare_bytes
from imgret_assets.domain.duplicates.usable_images import UsableImage
from imgret_assets.domain.images.decode import read_header


def compare_fingerprints(a: Fingerprint, b: Fingerprint) -> tuple[int | None, float | None]:
    """Return differing bits and correlation of two fingerprints; None where an image has nothing to measure."""
    bits = correlation = None
    if a.hash is not None and b.hash is not None:
        x, y = (np.frombuffer(hash_bytes, np.uint8) for hash_bytes in (a.hash, b.hash))
        bits = int(np.bitwise_count(x ^ y).sum())
    if a.grey is not None and b.grey is not None:
        correlation = float(correlate(a.grey, b.grey[np.newaxis])[0])
    return bits, correlation


def may_be_near(phash_bits: int | None, correlation: float | None) -> bool:
    """Return True if the fingerprints allow two images to be near-duplicates, so that their pixels decide."""
    if phash_bits is None or correlation is None:
        return False
    return phash_bits <= RADIUS_BITS and correlation >= MIN_CORRELATION


class FileComparer:
    """Compares one file with others; the file is read and measured once.

    Args:
        data: the file's bytes, of a usable image.
        max_pixels: images with more pixels are refused.

    Raises:
        UnusableImageError: the bytes are no usable image; also by `is_near`, for the other file.
    """

    def __init__(self, data: bytes, *, max_pixels: int) -> None:
        self._data = data
        self._max_pixels = max_pixels
        self._fingerprint = fingerprint_bytes(data, max_pixels=max_pixels)
        self._facts = self._facts_of(data)

    def is_near(self, other: bytes) -> bool:
        """Return True if another file is a near-duplicate of this one, by the measures of a run."""
        measures = compare_fingerprints(self._fingerprint, fingerprint_bytes(other, max_pixels=self._max_pixels))
        if not may_be_near(*measures):
            return False
        facts = self._facts_of(other)
        if not have_like_proportions(self._facts, facts):
            return False
        # In the order in which a run compares two images.
        (_, first), (_, second) = sorted([(self._facts.sha256, self._data), (facts.sha256, other)])
        comparison = compare_bytes(first, second, max_pixels=self._max_pixels)
        return comparison is not None and comparison.verdict in NEAR_VERDICTS

    def _facts_of(self, data: bytes) -> UsableImage:
        header = read_header(BytesIO(data), max_pixels=self._max_pixels)
        return UsableImage("", hashlib.sha256(data).hexdigest(), len(data), header.width, header.height)
