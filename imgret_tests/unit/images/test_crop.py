import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.images.crop import PERCENT, Crop
from imgret_assets.errors import ImageError, SettingError


@pytest.mark.parametrize(
    ("text", "crop"),
    [
        ("40,20,300,200", Crop(40, 20, 300, 200)),
        (" 40 , 20 ,300, 200 ", Crop(40, 20, 300, 200)),
        ("10%,5%,50%,50%", Crop(10, 5, 50, 50, PERCENT)),
        ("0%,0%,100%,100%", Crop(0, 0, 100, 100, PERCENT)),
        ("12.5%,0%,33.25%,1%", Crop(12.5, 0, 33.25, 1, PERCENT)),
    ],
)
def test_a_text_is_read_and_written_again(text: str, crop: Crop) -> None:
    assert Crop.parse(text) == crop
    assert Crop.parse(str(crop)) == crop


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x,y,width,height"),
        ("1,2,3", "x,y,width,height"),
        ("1,2,3,4,5", "x,y,width,height"),
        ("1,2,three,4", "x,y,width,height"),
        ("10%,10,50,50", "all in|in percent"),
        ("nan,0,1,1", "x,y,width,height"),
        ("inf,0,1,1", "x,y,width,height"),
        ("-1,0,5,5", "starts outside"),
        ("0,0,0,5", "is empty"),
        ("0,0,5,-1", "is empty"),
        ("60%,0%,50%,50%", "ends outside"),
    ],
)
def test_any_other_text_is_an_error(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Crop.parse(text)


def test_pixels_and_percents_are_the_same_rectangle() -> None:
    assert Crop(40, 20, 300, 200).box(400, 400) == (40, 20, 340, 220)
    assert Crop(10, 5, 75, 50, PERCENT).box(400, 400) == (40, 20, 340, 220)
    assert Crop(0, 0, 100, 100, PERCENT).box(7, 5) == (0, 0, 7, 5)


def test_percents_of_a_tiny_image_are_at_least_a_pixel() -> None:
    assert Crop(0, 0, 1, 1, PERCENT).box(3, 3) == (0, 0, 1, 1)
    assert Crop(99.5, 99.9, 0.5, 0.1, PERCENT).box(3, 3) == (2, 2, 3, 3)


@pytest.mark.parametrize("text", ["0,0,41,30", "0,0,40,31", "40,0,1,1", "0,30,1,1", "1000,1000,1,1"])
def test_pixels_outside_the_image_are_an_error(text: str) -> None:
    with pytest.raises(ImageError, match="not inside the image, which has 40 x 30 pixels"):
        Crop.parse(text).box(40, 30)


def test_the_pixels_are_cut_out() -> None:
    pixels = np.arange(30 * 40 * 3, dtype=np.uint32).reshape(30, 40, 3).astype(np.uint8)
    cut = np.asarray(Crop(5, 7, 20, 10).cut(Image.fromarray(pixels)))
    np.testing.assert_array_equal(cut, pixels[7:17, 5:25])


def test_pixels_in_percent_are_the_same_part_in_another_size() -> None:
    crop = Crop(100, 50, 200, 150).in_percent(400, 200)
    assert crop == Crop(25, 25, 50, 75, PERCENT)
    assert crop.in_percent(7, 7) == crop
    with pytest.raises(ImageError, match="not inside the image"):
        Crop(100, 50, 200, 151).in_percent(400, 200)
