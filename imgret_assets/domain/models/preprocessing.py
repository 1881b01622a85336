"""From a decoded picture to a network's input.

Belongs here: sizes, cropping, normalisation, and how much of a picture a decoder has to leave. Not here: decoding
(`domain.images.decode`), which model has which preprocessing (`domain.models.networks`).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# A scaled decode leaves at least this many times the size a picture is resized to, so that the resizing's own
# filter still does the last halving: vectors then differ little from those of a full decode (docs/guide/models.md).
SCALED_MARGIN = 2
# A picture with a longer side than this many shorter ones loses its ends before it is resized: enlarged whole, a line
# of one pixel by a million would take gigabytes.
LONGEST = 64
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Fields that came later. They are said only where they differ from what was done before they existed, so that the
# ids of older spaces stay as they were.
_LATER = {"decoding": "full", "crop_mode": "center"}


@dataclass(frozen=True)
class Preprocessing:
    """From an RGB picture to a model's input.

    Attributes:
        size: height and width in pixels.
        mean, std: of each channel, for values scaled to 0..1.
        crop: share of the resized picture that a crop of its middle keeps; None squeezes the whole picture to `size`,
            whatever its proportions.
        interpolation: of the resizing, with antialiasing; a key of `INTERPOLATIONS`.
        decoding: `full`, or `scaled`: a JPEG much larger than `size` is decoded at 1/2, 1/4 or 1/8 of its size.
        crop_mode: how a picture is resized before the crop, as timm names it: `center` until it covers size / crop,
            `squash` to exactly that, `border` until it fits into it, the rest filled with the mean's colour.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: float | None = None
    interpolation: str = "bilinear"
    decoding: str = "full"
    crop_mode: str = "center"

    @property
    def decoded_at_least(self) -> tuple[int, int] | None:
        """Width and height that a decoder has to leave; None where it has to give every pixel."""
        if self.decoding == "full":
            return None
        height, width = self._resized_to
        return SCALED_MARGIN * width, SCALED_MARGIN * height

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The picture resized and cropped, uint8 (height, width, 3); what engines take."""
        height, width = self.size
        filtering = INTERPOLATIONS[self.interpolation]
        if self.crop is None:
            image = image.resize((width, height), filtering)
        else:
            image = _without_ends(image)
            image = image.resize(self._resized(image.width, image.height), filtering)
            image = _middle(image, width, height, self._border)
        return np.asarray(image)

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 (n, height, width, 3) as float32 (n, 3, height, width): (value / 255 - mean) / std."""
        values = pixels.astype(np.float32) / np.float32(255)
        values = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))

    def apply(self, image: Image.Image) -> np.ndarray:
        """The picture as a network sees it: float32 (3, height, width), normalised."""
        return self.normalise(self.pixels(image)[np.newaxis])[0]

    def identity(self) -> dict[str, Any]:
        """What of it makes vectors comparable, for hashing."""
        return {key: value for key, value in asdict(self).items() if key not in _LATER or _LATER[key] != value}

    @property
    def _resized_to(self) -> tuple[int, int]:
        """Height and width of what is resized to, before the crop."""
        height, width = self.size
        return (height, width) if self.crop is None else (math.floor(height / self.crop), math.floor(width / self.crop))

    @property
    def _border(self) -> tuple[int, int, int]:
        red, green, blue = (round(255 * value) for value in self.mean)
        return (red, green, blue) if self.crop_mode == "border" else (0, 0, 0)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which a picture of this size is resized; rounded as timm and torchvision round."""
        to_height, to_width = self._resized_to
        if self.crop_mode == "squash":
            return to_width, to_height
        if self.crop_mode == "center" and to_height == to_width:
            shorter = min(width, height)
            return int(to_width * width / shorter), int(to_width * height / shorter)
        choose = max if self.crop_mode == "border" else min
        ratio = choose(height / to_height, width / to_width)
        return max(1, round(width / ratio)), max(1, round(height / ratio))


def _without_ends(image: Image.Image) -> Image.Image:
    shorter = min(image.size)
    width, height = (min(side, LONGEST * shorter) for side in image.size)
    return image if (width, height) == image.size else _middle(image, width, height, (0, 0, 0))


def _middle(image: Image.Image, width: int, height: int, border: tuple[int, int, int]) -> Image.Image:
    """The middle of a picture; where it is too small, with a border."""
    left, top = _offset(image.width, width), _offset(image.height, height)
    if left >= 0 and top >= 0:
        return image.crop((left, top, left + width, top + height))
    framed = Image.new("RGB", (width, height), border)
    framed.paste(image, (-left, -top))
    return framed


def _offset(there: int, wanted: int) -> int:
    # torchvision rounds a crop's offset to even and a border's down.
    return round((there - wanted) / 2) if there >= wanted else -((wanted - there) // 2)
