"""Counting and decoding the frames of files that were made here, in every form with several frames."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.images.frames import count_frames, decode_frames
from imgret_assets.domain.images.image_status import Status, UnusableImageError

FORMS: dict[str, dict[str, Any]] = {
    "GIF": {},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95},
    "TIFF": {"compression": "tiff_deflate"},
    "MPO": {"quality": 95},
}
COLOURS = [(200, 30, 30), (30, 180, 40), (20, 40, 210)]


def sequence(form: str, colours: list[tuple[int, int, int]]) -> bytes:
    first, *rest = [Image.new("RGB", (48, 32), colour) for colour in colours]
    file = io.BytesIO()
    first.save(file, form, save_all=True, append_images=rest, **FORMS[form])
    return file.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_frames_are_counted_and_decoded_in_order(form: str) -> None:
    data = sequence(form, COLOURS)
    assert count_frames(data) == 3
    frames = list(decode_frames(data, max_pixels=10_000))
    assert [frame.mode for frame in frames] == ["RGB"] * 3
    means = np.array([np.asarray(frame).mean(axis=(0, 1)) for frame in frames])
    np.testing.assert_allclose(means, COLOURS, atol=8)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_a_single_picture_has_one_frame(form: str) -> None:
    assert count_frames(sequence(form, COLOURS[:1])) == 1


def test_a_large_frame_is_refused() -> None:
    with pytest.raises(UnusableImageError, match="frame 1 has 48 x 32 pixels") as raised:
        list(decode_frames(sequence("TIFF", COLOURS), max_pixels=1000))
    assert raised.value.status == Status.TOO_LARGE


def test_a_cut_sequence_is_an_error_and_not_a_shorter_one() -> None:
    data = sequence("TIFF", COLOURS)
    with pytest.raises(UnusableImageError):
        list(decode_frames(data[: len(data) // 2], max_pixels=10_000))
