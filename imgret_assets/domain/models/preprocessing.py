"""Preprocessing: from a decoded image to a network's input.

Belongs here: resizing, cropping, normalising, and how small a decoder may make an image. Not here: decoding
(`domain.images.decode`), which model has which preprocessing (`domain.models.families`).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# A scaled decode leaves at least this many times the size an image is resized to, so that the filter of the resizing
# still does the last halving: vectors then differ little from those of a full decode (docs/guide/models.md).
SCALED_MARGIN = 2
# The ends of an image whose longer side is more than this many times its shorter side are cut off before resizing:
# enlarged whole, a line of one pixel by a million would take gigabytes.
MAX_ASPECT_RATIO = 64
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Fields that were added later, with the value that describes what was done before. A field with this value is left out
# of a space's identity, so that the ids of older spaces stay as they were.
_ADDED_FIELDS = {"decoding": "full", "crop_mode": "center", "border": None}


@dataclass(frozen=True)
class Preprocessing:
    """From an RGB image to a model's input.

    Attributes:
        size: height and width in pixels.
        mean, std: of each channel, for values scaled to 0..1.
        crop: share of the resized image that a crop of its middle keeps; None squeezes the whole image to `size`,
            whatever its proportions.
        interpolation: of the resizing, with antialiasing; a key of `INTERPOLATIONS`.
        decoding: `full`, or `scaled`: a JPEG much larger than `size` is decoded at 1/2, 1/4 or 1/8 of its size.
        crop_mode: how an image is resized before the crop, by timm's names: `center` until it covers size / crop,
            `squash` to exactly size / crop, `border` until it fits into size / crop, with the rest filled with the
            mean colour or `border`.
        border: colour of that rest, 0..255; None for the mean colour.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: float | None = None
    interpolation: str = "bilinear"
    decoding: str = "full"
    crop_mode: str = "center"
    border: tuple[int, int, int] | None = None

    @property
    def min_decoded_size(self) -> tuple[int, int] | None:
        """Smallest width and height that a decoder may give; None where it must give every pixel."""
        if self.decoding == "full":
            return None
        height, width = self._resized_to
        return SCALED_MARGIN * width, SCALED_MARGIN * height

    def resize_and_crop(self, image: Image.Image) -> np.ndarray:
        """Return the pixels of the resized and cropped image, uint8 (height, width, 3): the input of an engine."""
        height, width = self.size
        interpolation = INTERPOLATIONS[self.interpolation]
        if self.crop is None:
            image = image.resize((width, height), interpolation)
        else:
            image = _cut_ends(image)
            image = image.resize(self._resized(image.width, image.height), interpolation)
            image = _crop_middle(image, width, height, self._border)
        return np.asarray(image)

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels uint8 (n, height, width, 3) as float32 (n, 3, height, width): (value / 255 - mean) / std."""
        values = pixels.astype(np.float32) / np.float32(255)
        values = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))

    def apply(self, image: Image.Image) -> np.ndarray:
        """Return the image as a network takes it: float32 (3, height, width), normalised."""
        return self.normalise(self.resize_and_crop(image)[np.newaxis])[0]

    def identity(self) -> dict[str, Any]:
        """Return the fields that make vectors comparable, for hashing."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in _ADDED_FIELDS or value != _ADDED_FIELDS[name]
        }

    @property
    def _resized_to(self) -> tuple[int, int]:
        """Height and width that the resizing aims at, before the crop."""
        height, width = self.size
        return (height, width) if self.crop is None else (math.floor(height / self.crop), math.floor(width / self.crop))

    @property
    def _border(self) -> tuple[int, int, int]:
        if self.border is not None:
            return self.border
        red, green, blue = (round(255 * value) for value in self.mean)
        return (red, green, blue) if self.crop_mode == "border" else (0, 0, 0)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height to which an image of this size is resized; rounded as timm and torchvision do."""
        to_height, to_width = self._resized_to
        if self.crop_mode == "squash":
            return to_width, to_height
        if self.crop_mode == "center" and to_height == to_width:
            shorter = min(width, height)
            return int(to_width * width / shorter), int(to_width * height / shorter)
        choose = max if self.crop_mode == "border" else min
        ratio = choose(height / to_height, width / to_width)
        return max(1, round(width / ratio)), max(1, round(height / ratio))


def _cut_ends(image: Image.Image) -> Image.Image:
    shorter = min(image.size)
    width, height = (min(side, MAX_ASPECT_RATIO * shorter) for side in image.size)
    return image if (width, height) == image.size else _crop_middle(image, width, height, (0, 0, 0))


def _crop_middle(image: Image.Image, width: int, height: int, border: tuple[int, int, int]) -> Image.Image:
    """Return the middle of an image; an image that is too small gets a border of this colour."""
    left, top = _offset(image.width, width), _offset(image.height, height)
    if left >= 0 and top >= 0:
        return image.crop((left, top, left + width, top + height))
    framed = Image.new("RGB", (width, height), border)
    framed.paste(image, (-left, -top))
    return framed


def _offset(length: int, cropped: int) -> int:
    # torchvision rounds the offset of a crop to even and that of a border down.
    return round((length - cropped) / 2) if length >= cropped else -((cropped - length) // 2)
