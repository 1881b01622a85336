"""Enlargements: found for each kernel and through JPEG, and never claimed of an original beside its reduced copy."""

import io
from itertools import cycle

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from imgret_assets.domain.duplicates.enlargement import is_enlargement, may_be_enlargement
from imgret_tests.support.artwork import page, words
from imgret_tests.support.scenes import detailed_scene, encode

KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
FORMS = {"png": ("PNG", {}), **{f"jpeg{quality}": ("JPEG", {"quality": quality}) for quality in (30, 60, 85, 95)}}


def saved(image: Image.Image, form: str) -> tuple[Image.Image, list[int] | None]:
    """Return an image as a file gives it back in grey, and the file's table of quantisation steps."""
    name, options = FORMS[form]
    with Image.open(io.BytesIO(encode(image, name, **options))) as opened:
        table = opened.quantization[0] if form != "png" else None  # type: ignore[attr-defined]
        return opened.convert("L"), table


def resized(image: Image.Image, factor: float, kernel: str) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), KERNELS[kernel])


def drawing(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (400, 300), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(30):
        points = [int(value) for value in rng.integers(0, 400, 4)]
        draw.line(points, fill=tuple(int(level) for level in rng.integers(0, 200, 3)), width=int(rng.integers(1, 4)))
    return image


def noisy(image: Image.Image, levels: float) -> Image.Image:
    noise = np.random.default_rng(3).normal(0, levels, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).round().clip(0, 255).astype(np.uint8))


def dark(image: Image.Image) -> Image.Image:
    return image.point(lambda level: level * 0.15)


ORIGINALS = {
    "sharp": detailed_scene(1),
    "slightly soft": detailed_scene(2).filter(ImageFilter.GaussianBlur(0.7)),
    "soft": detailed_scene(2).filter(ImageFilter.GaussianBlur(1.5)),
    "very soft": detailed_scene(2).filter(ImageFilter.GaussianBlur(3)),
    "soft and noisy": noisy(detailed_scene(3).filter(ImageFilter.GaussianBlur(2)), 2),
    "noisy": noisy(detailed_scene(3), 10),
    "night": noisy(dark(detailed_scene(4)), 2.5),
    "drawing": drawing(5),
    "page": page(words(1, 150)),
    "scan": noisy(page(words(2, 150)).filter(ImageFilter.GaussianBlur(0.7)), 3),
}


@pytest.mark.parametrize(
    ("factor", "form"), [(1.25, "png"), (1.5, "png"), (3, "png"), (1.25, "jpeg95"), (2, "jpeg95"), (4, "jpeg95")]
)
@pytest.mark.parametrize("kernel", KERNELS)
def test_an_enlargement_has_no_more_detail_than_what_it_was_made_from(kernel: str, factor: float, form: str) -> None:
    for source in (detailed_scene(7, (180, 130)), drawing(8)):
        enlarged, table = saved(resized(source, factor, kernel), form)
        assert is_enlargement(enlarged, source.convert("L"), table)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
def test_losses_of_jpeg_in_the_larger_file_are_no_detail(kernel: str) -> None:
    """The losses alone would say that the larger file has something of its own."""
    source, _ = saved(detailed_scene(7, (180, 130)), "png")
    enlarged, table = saved(resized(detailed_scene(7, (180, 130)), 1.25, kernel), "jpeg95")
    assert is_enlargement(enlarged, source, table)
    assert not is_enlargement(enlarged, source)


@pytest.mark.parametrize("name", ORIGINALS)
def test_an_original_is_no_enlargement_of_its_reduced_copy(name: str) -> None:
    """Each form with another kernel and factor; soft originals in coarse JPEG are the hard ones."""
    kernels = cycle(("lanczos", "bicubic", "lanczos", "bilinear", "nearest"))
    factors = cycle((1.2, 1.25, 1.5, 2, 3, 4, 1.33))
    for form in FORMS:
        original, table = saved(ORIGINALS[name], form)
        for copy_form in ("png", "png", "jpeg85"):
            kernel, factor = next(kernels), next(factors)
            copy, _ = saved(resized(original.convert("RGB"), 1 / factor, kernel), copy_form)
            assert not is_enlargement(original, copy, table), (form, kernel, factor, copy_form)


@pytest.mark.parametrize("name", ["soft", "very soft", "soft and noisy", "night"])
def test_coarse_jpeg_takes_the_same_from_a_soft_original_as_from_its_copy(name: str) -> None:
    """Through JPEG with the tables of the original its copy, enlarged, is nearly equal to the original."""
    for form in ("jpeg30", "jpeg60"):
        original, table = saved(ORIGINALS[name], form)
        for kernel in ("lanczos", "bicubic"):
            copy = resized(original.convert("RGB"), 1 / 1.2, kernel).convert("L")
            assert not is_enlargement(original, copy, table), (form, kernel)


def test_no_pixel_outside_the_smaller_image_counts_as_its_detail() -> None:
    """264 / 211 is rounded so that the last column seems to lie beyond the edge."""
    original = detailed_scene(2, (264, 153)).filter(ImageFilter.GaussianBlur(2))
    copy = original.resize((211, 122), Image.Resampling.BOX).convert("L")
    assert not is_enlargement(original.convert("L"), copy)


def test_a_picture_with_detail_outside_an_enlarged_part_is_no_enlargement() -> None:
    """Most detail lies in a part that was pasted in, at twice its size."""
    inset = np.random.default_rng(0).integers(0, 256, (290, 290), dtype=np.uint8)
    original = np.asarray(detailed_scene(9, (1800, 1200)).convert("L")).copy()
    original[:580, :580] = inset.repeat(2, axis=0).repeat(2, axis=1)
    copy = Image.fromarray(original).resize((900, 600), Image.Resampling.BOX)
    assert not is_enlargement(Image.fromarray(original), copy)
    assert is_enlargement(copy.resize((1800, 1200), Image.Resampling.BICUBIC), copy)


def test_blocks_of_pixels_as_opencv_repeats_them_are_found() -> None:
    source = np.asarray(detailed_scene(7, (200, 150)).convert("L"))
    rows, columns = (np.arange(round(side * 1.7)) * 10 // 17 for side in source.shape)
    assert is_enlargement(Image.fromarray(source[rows[:, None], columns]), Image.fromarray(source))


def test_other_brightness_is_no_detail() -> None:
    source = detailed_scene(7, (200, 150)).convert("L").point(lambda level: 40 + level * 0.6)
    enlarged = source.resize((400, 300), Image.Resampling.BICUBIC).point(lambda level: level * 0.8)
    assert is_enlargement(enlarged, source)


def test_an_image_without_any_detail_is_not_judged() -> None:
    large, small = (Image.new("L", size, 99) for size in ((400, 300), (200, 150)))
    assert is_enlargement(large, small) is is_enlargement(small, small) is False
    ramp = Image.linear_gradient("L")
    assert not is_enlargement(ramp.resize((900, 900)), ramp.resize((700, 700)))


@pytest.mark.parametrize(
    ("larger", "smaller", "expected"),
    [
        ((240, 180), (200, 150), True),
        ((239, 180), (200, 150), False),
        ((240, 179), (200, 150), False),
        ((200, 150), (240, 180), False),
        ((100, 100), (7, 9), False),
    ],
)
def test_both_sides_are_longer_by_a_fifth(larger: tuple[int, int], smaller: tuple[int, int], expected: bool) -> None:
    assert may_be_enlargement(larger, smaller) is expected
