"""Orientations: pixels, inverses, and hashes that equal those of a turned image."""

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.duplicates.fingerprints import fingerprint_image
from imgret_assets.domain.duplicates.orientations import ORIENTATIONS, hash_greys, inverse_of
from imgret_tests.support.scenes import scene


@pytest.fixture
def grey(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (64, 64), dtype=np.uint8)


@pytest.mark.parametrize("number", range(len(ORIENTATIONS)))
def test_small_images_are_turned_as_pillow_turns_images(number: int, grey: np.ndarray) -> None:
    orientation, back = ORIENTATIONS[number], ORIENTATIONS[inverse_of(number)]
    turned = np.asarray(Image.fromarray(grey).transpose(orientation.transpose))
    assert np.array_equal(orientation.turn_grey(grey), turned)
    assert np.array_equal(back.turn_grey(turned), grey)
    assert not np.array_equal(turned, grey)


def test_one_transform_gives_the_hashes_of_all_orientations(grey: np.ndarray) -> None:
    hashes = hash_greys(grey[np.newaxis])[:, 0]
    for number, orientation in enumerate(ORIENTATIONS, 1):
        turned = hash_greys(orientation.turn_grey(grey)[np.newaxis])[0, 0]
        assert int(np.bitwise_count(turned ^ hashes[number]).sum()) <= 2, orientation.name
        assert int(np.bitwise_count(turned ^ hashes[0]).sum()) > 64, orientation.name


def test_the_hash_is_the_one_of_fingerprints() -> None:
    fingerprint = fingerprint_image(scene(1))
    assert fingerprint.grey is not None
    assert fingerprint.hash is not None
    own = hash_greys(fingerprint.grey[np.newaxis])[0, 0]
    assert int(np.bitwise_count(own ^ np.frombuffer(fingerprint.hash, np.uint64)).sum()) <= 4
