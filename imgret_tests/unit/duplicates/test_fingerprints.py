"""Fingerprints: what matches and what does not, and the threads that compute them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from imgret_assets.domain.duplicates.fingerprints import (
    GREY_SIDE,
    MAX_GREY_LEVELS,
    correlate,
    fingerprint_bytes,
    fingerprint_contents,
    fingerprint_image,
    measure_colour,
)
from imgret_assets.domain.images.image_status import Status
from imgret_tests.support.scenes import detailed_scene, encode, near_duplicates_of, scene
from imgret_tests.support.tree import put


def grey_of(image: Image.Image) -> np.ndarray:
    grey = fingerprint_image(image).grey
    assert grey is not None
    return grey


def test_correlation_is_symmetric_and_one_for_the_same_image() -> None:
    greys = np.stack([grey_of(scene(seed)) for seed in range(6)])
    correlations = np.stack([correlate(grey, greys) for grey in greys])
    assert correlations.dtype == np.float32
    np.testing.assert_allclose(correlations, correlations.T, atol=1e-5)
    np.testing.assert_allclose(np.diag(correlations), 1.0, atol=1e-5)
    assert correlations[~np.eye(6, dtype=bool)].max() < 0.8


@pytest.mark.parametrize("cut", [0.01, 0.02, 0.04])
def test_a_crop_and_brightness_do_not_count(cut: float) -> None:
    whole = scene(0, (400, 400))
    edge = round(400 * cut)
    cropped = ImageEnhance.Brightness(whole.crop((edge, edge, 400 - edge, 400 - edge))).enhance(0.8)
    assert correlate(grey_of(whole), grey_of(cropped)[np.newaxis])[0] > 0.98


def test_near_duplicates_have_close_hashes() -> None:
    hashes = [fingerprint_bytes(encode(scene(0)), max_pixels=10**6).hash]
    hashes += [fingerprint_bytes(data, max_pixels=10**6).hash for data in near_duplicates_of(scene(0)).values()]
    other = fingerprint_bytes(encode(scene(1)), max_pixels=10**6).hash
    bits = [np.unpackbits(np.frombuffer(one or b"", np.uint8)) for one in [*hashes, other]]
    differing = [int((bits[0] != one).sum()) for one in bits[1:]]
    assert max(differing[:-1]) <= 64 < differing[-1]


def test_an_image_without_structure_is_flat() -> None:
    fingerprint = fingerprint_image(Image.new("RGB", (50, 40), (200, 200, 200)))
    assert (fingerprint.status, fingerprint.hash, fingerprint.grey) == ("flat", None, None)


FORMS = [("JPEG", 20), ("JPEG", 95), ("WEBP", 30), ("WEBP", 90), ("AVIF", 30), ("GIF", 0), ("PNG", 0)]


@pytest.mark.parametrize(("form", "quality"), FORMS)
def test_grey_stays_grey_in_every_form_and_colour_stays_colour(form: str, quality: int) -> None:
    options = {"quality": quality} if quality else {}
    grey = detailed_scene(3).convert("L").convert("RGB")
    marked = grey.copy()
    marked.paste((170, 60, 60), (100, 100, 112, 112))
    levels = [
        fingerprint_bytes(encode(image, form, **options), max_pixels=10**6).colour for image in (grey, marked, scene(1))
    ]
    assert levels[0] is not None
    assert levels[0] <= MAX_GREY_LEVELS
    assert min(level or 0 for level in levels[1:]) > MAX_GREY_LEVELS


def test_a_small_coloured_mark_is_seen_in_a_large_image() -> None:
    large = Image.new("RGB", (5000, 3000), (240, 240, 240))
    assert measure_colour(large) == 0
    large.paste((230, 40, 40), (2501, 1003, 2511, 1013))
    assert measure_colour(large) > 50


def test_an_image_that_can_not_be_decoded_has_its_status() -> None:
    assert fingerprint_bytes(b"no image", max_pixels=10**6).status == Status.NOT_AN_IMAGE
    too_large = fingerprint_bytes(encode(scene(0)), max_pixels=100)
    assert (too_large.status, too_large.hash) == (Status.TOO_LARGE, None)


def test_contents_are_fingerprinted_in_order(tmp_path: Path) -> None:
    import hashlib

    data = {f"{seed}.png": encode(scene(seed, (96, 80))) for seed in range(12)}
    contents = [(hashlib.sha256(one).hexdigest(), [put(tmp_path, path, one)]) for path, one in data.items()]
    contents.insert(5, ("0" * 64, ["missing.png"]))
    fingerprints = list(fingerprint_contents(contents, tmp_path, max_pixels=10**6))
    assert [sha256 for sha256, _ in fingerprints] == [sha256 for sha256, _ in contents]
    assert [one.status for _, one in fingerprints] == [Status.OK] * 5 + [Status.VANISHED] + [Status.OK] * 7
    assert {one.grey.shape for _, one in fingerprints if one.grey is not None} == {(GREY_SIDE, GREY_SIDE)}
    assert [one.hash for _, one in fingerprints if one.hash] == [
        fingerprint_bytes(one, max_pixels=10**6).hash for one in data.values()
    ]
