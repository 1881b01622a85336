"""The library that tests of the review share."""

import pytest

from imgret_assets.domain.storage.home import Home
from imgret_tests.support.scenes import encode, near_duplicates_of, scene
from imgret_tests.support.tree import put
from imgret_tests.unit.review.library import put_near_duplicates, refresh


@pytest.fixture
def duplicated(home: Home, settled: None) -> Home:
    """Two scenes with near-duplicates, one of those in two files; a scene in two files; a scene without duplicate."""
    for seed in range(4):
        put(home.images, f"scene{seed}.png", encode(scene(seed)))
    put_near_duplicates(home, 0, "half.png", "recompressed.jpg")
    put_near_duplicates(home, 1, "half.png")
    put(home.images, "again/1-half.png", near_duplicates_of(scene(1))["half.png"])
    put(home.images, "again/scene2.png", encode(scene(2)))
    refresh(home, threshold=-0.9)
    return home
