"""A rectangle of an image.

Belongs here: reading it from a text, its pixels in an image of a given size, cutting it out. Not here: the crops of a
model's preprocessing (`domain.models.preprocessing`), near-duplicates that are crops of one another
(`domain.duplicates`).
"""

import math
from dataclasses import dataclass

from PIL import Image

from imgret_assets.errors import ImageError, SettingError

PIXELS, PERCENT = "pixels", "percent"
_EXPECTED = "x,y,width,height in pixels of the upright image, such as 40,20,300,200, or in percent: 10%,5%,50%,50%"


@dataclass(frozen=True)
class Crop:
    """A rectangle of the upright image, that is, after the rotation that its EXIF data demand.

    Attributes:
        x, y: distance of its left edge from the image's left edge, and of its top edge from the image's top edge.
        width, height: its size, greater than zero.
        unit: of all four: `pixels`, or `percent` of the image's width (x, width) and height (y, height).
    """

    x: float
    y: float
    width: float
    height: float
    unit: str = PIXELS

    def __post_init__(self) -> None:
        if self.unit not in (PIXELS, PERCENT):
            raise SettingError(f"unit of the crop is {self.unit!r}", expected=f"{PIXELS} or {PERCENT}")
        values = (self.x, self.y, self.width, self.height)
        if not all(map(math.isfinite, values)):
            raise SettingError(f"crop is {self}", expected=_EXPECTED)
        if self.x < 0 or self.y < 0:
            raise SettingError(f"crop {self} starts outside the image", expected="x and y of at least 0")
        if self.width <= 0 or self.height <= 0:
            raise SettingError(f"crop {self} is empty", expected="a width and a height greater than 0")
        if self.unit == PERCENT and (self.x + self.width > 100 or self.y + self.height > 100):
            raise SettingError(
                f"crop {self} ends outside the image", expected="x + width and y + height of at most 100%"
            )

    @classmethod
    def parse(cls, text: str) -> "Crop":
        """Return the crop of a text: four numbers with commas between, all in pixels or all with a percent sign.

        Raises:
            SettingError: the text is something else, or a rectangle that lies outside of every image.
        """
        values = [value.strip() for value in text.split(",")]
        percents = [value.endswith("%") for value in values]
        if len(values) != 4 or any(percents) != all(percents):
            raise SettingError(f"crop is {text[:100]!r}", expected=_EXPECTED)
        try:
            x, y, width, height = (float(value.removesuffix("%")) for value in values)
        except ValueError as error:
            raise SettingError(f"crop is {text[:100]!r}", expected=_EXPECTED) from error
        return cls(x, y, width, height, PERCENT if all(percents) else PIXELS)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        sign = "%" if self.unit == PERCENT else ""
        return ",".join(f"{value:g}{sign}" for value in (self.x, self.y, self.width, self.height))

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom in pixels of an image of this size; at least one pixel.

        Raises:
            ImageError: it is not wholly inside the image.
        """
        across, down = (width / 100, height / 100) if self.unit == PERCENT else (1.0, 1.0)
        left, top = int(self.x * across), int(self.y * down)
        right, bottom = round((self.x + self.width) * across), round((self.y + self.height) * down)
        if left >= width or top >= height or right > width or bottom > height:
            raise ImageError(
                f"crop {self} is not inside the image, which has {width} x {height} pixels after its rotation",
                expected=f"x + width of at most {width}, y + height of at most {height}",
            )
        return left, top, max(right, left + 1), max(bottom, top + 1)

    def in_percent(self, width: int, height: int) -> "Crop":
        """Return the same part of an image of this size in percent, for the same image in another size.

        Raises:
            ImageError: it is not wholly inside the image.
        """
        if self.unit == PERCENT:
            return self
        self.box(width, height)
        across, down = 100 / width, 100 / height
        return Crop(self.x * across, self.y * down, self.width * across, self.height * down, PERCENT)

    def cut(self, image: Image.Image) -> Image.Image:
        """Return this part of an upright image.

        Raises:
            ImageError: it is not wholly inside the image.
        """
        return image.crop(self.box(*image.size))
