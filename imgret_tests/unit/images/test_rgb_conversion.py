"""Images of all depths as RGB."""

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.images.rgb_conversion import to_rgb


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        (np.array([[0, 30_000, 65_535]], np.uint16), [0, 117, 255]),
        (np.array([[0, 255]], np.uint16), [0, 1]),
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 30_000, 65_535]], np.int32), [0, 117, 255]),
        (np.array([[0, 200_000, 1_000_000]], np.int32), [0, 51, 255]),
        (np.array([[0.0, 0.2, 1.0]], np.float32), [0, 51, 255]),
        (np.array([[-3.0, 2.0, np.nan, np.inf]], np.float32), [0, 255, 0, 0]),
    ],
)
def test_deep_pixel_values_are_scaled_not_clipped(values: np.ndarray, grey: list[int]) -> None:
    pixels = np.asarray(to_rgb(Image.fromarray(values)))
    assert pixels[0].tolist() == [[value] * 3 for value in grey]
