"""Hashes of 256 bits for tests of their search."""

import numpy as np


def differing_bits(hashes: np.ndarray) -> np.ndarray:
    """Return in how many bits every two hashes differ, int64 (n, n), counted bit by bit."""
    bits = np.unpackbits(hashes, axis=1).astype(np.int64)
    return (bits[:, np.newaxis] != bits[np.newaxis]).sum(axis=2)


def clustered_hashes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return hashes uint8 (count, 32) around a few centres, some at exactly 64 bits from another and next to that."""
    centres = rng.integers(0, 256, (max(1, count // 8), 32), dtype=np.uint8)
    hashes = centres[rng.integers(len(centres), size=count)]
    for row in range(count):
        flips = rng.choice(256, rng.choice([0, 10, 31, 32, 33, 63, 64, 65]), replace=False)
        bits = np.unpackbits(hashes[row])
        bits[flips] ^= 1
        hashes[row] = np.packbits(bits)
    return hashes
