"""Preprocessing against torchvision and timm, to the pixel."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from timm.data.transforms_factory import create_transform
from torchvision import transforms

from imgret_assets.domain.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from imgret_tests.support.pictures import picture
from imgret_tests.support.torch_models import (
    SIZES,
)


@pytest.mark.parametrize("size", SIZES)
def test_squeezing_is_torchvision_s(size: tuple[int, int]) -> None:
    image = picture(1, size)
    theirs = transforms.Compose(
        [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    )
    mine = Preprocessing((224, 224), IMAGENET_MEAN, IMAGENET_STD).apply(image)
    assert (mine.shape, mine.dtype, mine.flags.c_contiguous) == ((3, 224, 224), np.float32, True)
    np.testing.assert_allclose(mine, theirs(image).numpy(), rtol=0, atol=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("crop", "interpolation", "side"), [(0.875, "bicubic", 224), (0.95, "bilinear", 240), (1.0, "bicubic", 64)]
)
def test_cropping_is_timm_s(size: tuple[int, int], crop: float, interpolation: str, side: int) -> None:
    image = picture(1, size)
    theirs = create_transform((3, side, side), crop_pct=crop, interpolation=interpolation)
    mine = Preprocessing((side, side), IMAGENET_MEAN, IMAGENET_STD, crop, interpolation).apply(image)
    np.testing.assert_allclose(mine, theirs(image).numpy(), rtol=0, atol=1e-6)  # type: ignore[operator,union-attr]


def test_cropping_is_timm_s_for_sizes_of_every_remainder() -> None:
    """Rounding a scale instead of a product once in a while gives a picture one pixel smaller."""
    theirs = create_transform((3, 16, 16), crop_pct=0.875, interpolation="bilinear")
    mine = Preprocessing((16, 16), IMAGENET_MEAN, IMAGENET_STD, 0.875, "bilinear")
    wrong = []
    for width in range(17, 80, 3):
        for height in range(17, 80, 5):
            image = picture(1, (width, height))
            if not np.allclose(mine.apply(image), theirs(image).numpy(), rtol=0, atol=1e-6):  # type: ignore[operator,union-attr]
                wrong.append((width, height))
    assert wrong == []


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_a_line_of_pixels_is_not_enlarged_whole(crop_mode: str) -> None:
    """Enlarged whole to 256 pixels' height it would be one of 26 million by 256."""
    line = Image.new("RGB", (100_000, 1), (10, 200, 30))
    mine = Preprocessing((224, 224), IMAGENET_MEAN, IMAGENET_STD, 0.875, "bicubic", crop_mode=crop_mode)
    pixels = mine.resize_and_crop(line)
    assert pixels.shape == (224, 224, 3)
    assert (pixels[112, 112] == (10, 200, 30)).all()


@pytest.mark.parametrize(
    ("crop", "size", "crop_mode", "least"),
    [
        (None, (224, 160), "center", (320, 448)),
        (0.875, (224, 224), "center", (512, 512)),
        (0.9, (90, 180), "squash", (400, 200)),
        (1.0, (90, 180), "border", (360, 180)),
    ],
)
def test_a_scaled_decode_leaves_twice_the_size_of_the_resizing(
    crop: float | None, size: tuple[int, int], crop_mode: str, least: tuple[int, int]
) -> None:
    full = Preprocessing(size, IMAGENET_MEAN, IMAGENET_STD, crop, crop_mode=crop_mode)
    assert full.min_decoded_size is None
    assert replace(full, decoding="scaled").min_decoded_size == least
