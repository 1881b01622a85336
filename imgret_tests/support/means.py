"""Means of a collection's vectors, and homes that are set to subtract one.

Belongs here: files with means for tests of `domain.models` and of `domain.embeddings.mean_centring`.
"""

from pathlib import Path

import numpy as np

from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.settings import load_settings

LITE0 = "efficientnet_lite0"


def mean_file(folder: Path, dim: int = 1280, seed: int = 0) -> Path:
    """Write the mean of random vectors of length 1, none of whose numbers is negative, as a network's are."""
    vectors = np.random.default_rng(seed).uniform(0, 1, (50, dim)) ** 4
    mean = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0)
    file = folder / f"mean{dim}-{seed}.npy"
    np.save(file, mean.astype(np.float32))
    return file


def with_centre(home: Home, centre: Path | str | None) -> Home:
    """Open the home again, as a process with this IMGRET_CENTRE does."""
    flags = {"home": home.path, "images": home.settings.images, "centre": centre, "lock_timeout_s": 10}
    return open_home(load_settings(flags))
